#!/usr/bin/env bats
# tok-encode --chat: messages through the model's own template.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common
bats_require_minimum_version 1.5.0

setup() {
    export LLM_MODEL=$DATA/tokenizers/bpe-qwen2
    cd "$BATS_TEST_TMPDIR"
}

ids() { tok-encode --chat "$@" | grep -v '^#'; }

# Every case of every chat.json as a line of requests, and the lines that tok-encode must answer with.
cases() { # FOLDER FILTER
    python3 - "$DATA/tokenizers/$1/chat.json" "$2" <<'EOF'
import json, sys
folder = sys.argv[1].rsplit("/", 1)[0]
control = [t["content"] for t in json.load(open(folder + "/tokenizer.json"))["added_tokens"] if not t["content"].isspace()]
with open("in", "w") as requests, open("want", "w") as want:
    for case in json.load(open(sys.argv[1])):
        if sys.argv[2] == "plain" and any(c in m["content"] for c in control for m in case["messages"]):
            continue
        print(json.dumps({k: case[k] for k in ("messages", "add_generation_prompt")}), file=requests)
        print(" ".join(map(str, case["ids"])) if case["ids"] is not None else "! " + case["error"], file=want)
EOF
}

@test "goldens: ids with --trust-content, errors included" {
    for dir in "$DATA"/tokenizers/*/chat.json; do
        name=$(basename "$(dirname "$dir")")
        cases "$name" all
        tok-encode -m "$DATA/tokenizers/$name" -j --chat --trust-content in 2>err | grep -v '^#' | sed 's/: [^:]*: line [0-9]*$//' >got || true
        diff got want || { echo "$name"; return 1; }
    done
}

@test "goldens: without it too, where no message holds control text" {
    for dir in "$DATA"/tokenizers/*/chat.json; do
        name=$(basename "$(dirname "$dir")")
        cases "$name" plain
        tok-encode -m "$DATA/tokenizers/$name" -j --chat in 2>err | grep -v '^#' | sed 's/: [^:]*: line [0-9]*$//' >got || true
        diff got want || { echo "$name"; return 1; }
    done
}

@test "an array, an object and a JSON line give the same ids" {
    messages='[{"role":"user","content":"Hi"}]'
    echo "$messages" | ids >want
    echo "{\"messages\":$messages}" | ids | diff - want
    echo "{\"messages\":$messages}" | ids -j | diff - want
    echo "{\"messages\":$messages}" | tok-encode -j | grep -v '^#' | diff - want
    echo "{\"messages\":$messages, \"add_generation_prompt\": false}" | ids >short
    echo "$messages" | ids --no-generation-prompt | diff - short
    run ! diff -q short want
}

@test "control text in a message stays text" {
    [ "$(echo '[{"role":"user","content":"<|im_end|>"}]' | ids | tr ' ' '\n' | grep -cx 1302)" -eq 2 ]
    [ "$(echo '[{"role":"user","content":"<|im_end|>"}]' | ids --trust-content | tr ' ' '\n' | grep -cx 1302)" -eq 3 ]
    # neither whole nor joined to what the template writes
    [ "$(echo '[{"role":"user","content":"x<|im_"},{"role":"end|>","content":"y"}]' | ids | tr ' ' '\n' | grep -cx 1302)" -eq 3 ]
}

@test "a token that the template ends an answer with, and the model's files do not name, is told to the sampler" {
    cp -r "$LLM_MODEL" m # <|im_end|> is id 1302
    echo '[{"role":"user","content":"Hi"}]' >in
    end() { tok-encode -m m --chat in 2>/dev/null | sed -n 's/^#@ //p'; }
    [ "$(end)" = end_id=1302 ]
    fails 0 'id 1302 (<|im_end|>) ends a message' tok-encode -v -m m --chat in
    echo '{"eos_token_id": 1302, "x": NaN}' >m/config.json
    [ "$(end)" = '' ]
    echo '{"eos_token_id": [5, 6]}' >m/generation_config.json # goes before config.json
    [ "$(end)" = end_id=1302 ]
    echo '{"eos_token_id": [5, 1302]}' >m/generation_config.json
    [ "$(end)" = '' ]
    # A template that refuses what is tried, or writes no such token, has no say.
    rm m/config.json m/generation_config.json
    cp m/chat_template.jinja was 2>/dev/null || true
    printf '{%% if messages[0].content == "a" %%}{{ raise_exception("no") }}{%% endif %%}<|im_start|>{{ messages[0].content }}' >m/chat_template.jinja
    [ "$(end)" = '' ]
    printf '{%% for m in messages %%}{{ m.content }}.{%% endfor %%}' >m/chat_template.jinja
    [ "$(end)" = '' ]
    printf '{%% for m in messages %%}{{ m.content }}\n<|im_end|>{%% endfor %%}' >m/chat_template.jinja
    [ "$(end)" = end_id=1302 ]
    # Not of texts, and not of a chat whose record failed.
    [ "$(printf '{"text":"Hi"}\n{"messages":[]}\n' | tok-encode -m m -j 2>/dev/null | grep -c end_id)" = 0 ]
}

@test "plain added tokens in a message are found, special ones and those of the template stay text" {
    cp -r "$LLM_MODEL" m # <tool_call> (1303) is added and not special, <|im_end|> is special
    rm -f m/chat_template.jinja
    printf '{%% for m in messages %%}{{ m.content }}{%% endfor %%}' >m/chat_template.jinja
    count() { echo "[{\"role\":\"user\",\"content\":\"$1\"}]" | tok-encode -q -m m --chat | grep -v '^#' | tr ' ' '\n' | grep -cx "$2"; }
    [ "$(count 'a <tool_call> b' 1303)" -eq 1 ]
    [ "$(count 'a <|im_end|> b' 1302)" -eq 0 ]
    # The template writes it: it has a meaning, and stays text in a message.
    printf '{%% for m in messages %%}{{ m.content }}<tool_call>{%% endfor %%}' >m/chat_template.jinja
    [ "$(count 'a <tool_call> b' 1303)" -eq 1 ]
    # Neither is it made of a message's text and the template's.
    printf '{%% for m in messages %%}<tool{{ m.content }}{%% endfor %%}' >m/chat_template.jinja
    [ "$(count '_call> b' 1303)" -eq 0 ]
}

@test "a role of letters is the template's own word, another is not" {
    cp -r "$LLM_MODEL" m
    printf '{%% for m in messages %%}<|{{ m.role }}|>{%% endfor %%}' >m/chat_template.jinja
    role() { echo "[{\"role\":\"$1\",\"content\":\"\"}]" | tok-encode -q -m m --chat | grep -v '^#'; }
    [ "$(role im_end)" = 1302 ]
    printf '{%% for m in messages %%}{{ m.role }}{%% endfor %%}' >m/chat_template.jinja
    [ "$(role '<|im_end|>')" != 1302 ]
}

@test "arguments of a tool call as a string of JSON are an object to the template" {
    mkdir m
    printf '{%% for c in messages[0].tool_calls %%}{{ c.function.arguments | tojson }}{%% endfor %%}' >m/chat_template.jinja
    args() { jq -nc --arg a "$1" '[{role:"assistant",tool_calls:[{function:{name:"f",arguments:$a}}]}]' | tok-encode -m m --chat --render; }
    [ "$(args '{"port": "Brest"}')" = '{"port": "Brest"}' ]
    [ "$(args 'not JSON')" = '"not JSON"' ]
    [ "$(args '{"a": 1')" = '"{\"a\": 1"' ]
    [ "$(args '[1]')" = '"[1]"' ]
}

@test "a broken tool_use template stops only who has tools" {
    mkdir m
    echo '{"chat_template": [{"name": "tool_use", "template": "{% if %}"}, {"name": "default", "template": "D"}]}' >m/tokenizer_config.json
    [ "$(echo '[{"role":"user","content":"x"}]' | tok-encode -m m --chat --render)" = D ]
    fails 65 'm/tokenizer_config.json: line 1' tok-encode -m m --chat --render < <(echo '{"messages":[{"role":"user"}],"tools":[{"type":"function"}]}')
}

# A model folder m whose template is the argument.
template() { # TEXT
    rm -rf m
    mkdir m
    printf '%s' "$1" >m/chat_template.jinja
}

render() { tok-encode -m m --chat --render "$@"; }

hi='[{"role":"user","content":"Hi"}]'

@test "--template chooses by name or file, a record by name" {
    mkdir m
    echo '{"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R {{ x }}"}]}' >m/tokenizer_config.json
    printf 'F {{ messages[0].content }}' >my.jinja
    [ "$(render --template rag <<<"$hi")" = 'R ' ]
    [ "$(render --template my.jinja <<<"$hi")" = 'F Hi' ]
    [ "$(render --template default <<<"{\"messages\":$hi,\"tools\":[{}]}")" = D ] # tools choose nothing then
    [ "$(render <<<"{\"messages\":$hi,\"chat_template\":\"rag\",\"x\":1}")" = 'R 1' ]
    [ "$(render --template my.jinja <<<"{\"messages\":$hi,\"chat_template\":\"rag\"}")" = 'R ' ]
    [ "$(render <<<"{\"messages\":$hi,\"chat_template\":null}")" = D ]
    fails 65 "the model has no chat template 'x': it has default, tool_use, rag" render <<<"{\"messages\":$hi,\"chat_template\":\"x\"}"
    # A record names a template and brings none: a template's text is trusted.
    fails 65 "no chat template '{{ 1 }}'" render <<<"{\"messages\":$hi,\"chat_template\":\"{{ 1 }}\"}"
    fails 66 "it has default, tool_use, rag: and there is no such file" render --template none <<<"$hi"
    # The name is no data of the record.
    [ "$(tok-encode -m m -j --chat --render <<<"{\"messages\":$hi,\"chat_template\":\"rag\"}")" = '{"text": "R "}' ]
    # Files in a folder of their own; then tokenizer_config.json has no say.
    mkdir m/additional_chat_templates
    printf 'A' >m/additional_chat_templates/a.jinja
    [ "$(render --template a <<<"$hi")" = A ]
    fails 65 "the model has no chat template 'default': choose one with --template: a" render <<<"$hi"
    # What processors have, if there is nothing else.
    mkdir p
    echo '{"chat_template": "P"}' >p/chat_template.json
    [ "$(tok-encode -m p --chat --render <<<"$hi")" = P ]
    echo '{"chat_template": "C"}' >p/tokenizer_config.json
    [ "$(tok-encode -m p --chat --render <<<"$hi")" = C ]
    # A template for a model that has none.
    rm -r m/additional_chat_templates m/tokenizer_config.json
    [ "$(render --template my.jinja <<<"$hi")" = 'F Hi' ]
}

@test "a broken template stops nobody who does not want it" {
    mkdir m
    echo '{"chat_template": [{"name": "default", "template": "{% if %}"}, {"name": "b", "template": "B"}]}' >m/tokenizer_config.json
    [ "$(render --template b <<<"$hi")" = B ]
    [ "$(render <<<"{\"messages\":$hi,\"chat_template\":\"b\"}")" = B ]
    fails 65 'm/tokenizer_config.json: line 1' render <<<"$hi"
    fails 65 'm/tokenizer_config.json: line 1' render --template default <<<"$hi"
}

@test "--set: JSON or text, and the record's own value wins" {
    template '{{ a }} {{ b | tojson }} {{ enable_thinking }} {{ tools | length if tools }}'
    [ "$(render --set a=x --set 'b={"c": [1, 2]}' --set enable_thinking=false <<<"$hi")" = 'x {"c": [1, 2]} False ' ]
    [ "$(render --set a= --set 'b=1 2' <<<"$hi")" = ' "1 2"  ' ]
    [ "$(render --set a=1 --set a=2 --set 'b="1"' <<<"$hi")" = '2 "1"  ' ]
    [ "$(render --set a=x --set b=1 <<<"{\"messages\":$hi,\"a\":\"y\"}")" = 'y 1  ' ]
    [ "$(render --set a=x --set b=1 <<<"{\"messages\":$hi,\"chat_template_kwargs\":{\"a\":\"z\"}}")" = 'z 1  ' ]
    [ "$(render --set a=1 --set b=1 --set 'tools=[{"type":"function"}]' <<<"$hi")" = '1 1  1' ]
    [ "$(tok-encode -m m -j --chat --render --set a=$'q"\\' --set b=1 <<<"{\"messages\":$hi}")" = '{"text": "q\"\\ 1  "}' ]
    fails 2 "expected KEY=VALUE, found 'a'" render --set a
    fails 2 "expected KEY=VALUE, found '=a'" render --set =a
    fails 2 '"messages" cannot be set' render --set 'messages=[]'
    fails 2 '--set goes with --chat or -j' tok-encode -m m --set a=1
    fails 65 'tools must be an array of objects: --set' render --set tools=1 <<<"$hi"
}

@test "--system puts a message before those that have none" {
    template '{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}'
    [ "$(render --system 'Be "brief".' <<<"$hi")" = '[system:Be "brief".][user:Hi]' ]
    [ "$(render --system S <<<'[{"role":"system","content":"own"},{"role":"user","content":"Hi"}]')" = '[system:own][user:Hi]' ]
    [ "$(render --system S <<<'[{"role":"developer","content":"own"}]')" = '[developer:own]' ]
    [ "$(render --system '' <<<"$hi")" = '[system:][user:Hi]' ]
    [ "$(printf '{"messages":%s}\n{"messages":%s}\n' "$hi" "$hi" | render -j --system S | sort -u)" = '{"text": "[system:S][user:Hi]"}' ]
    fails 2 'not valid UTF-8' render --system $'\xff'
}

@test "the last message is continued" {
    template '{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}'
    talk='[{"role":"user","content":"Name a port."},{"role":"assistant","content":"Sure: Bre"}]'
    [ "$(render --continue <<<"$talk")" = '<user>Name a port.</><assistant>Sure: Bre' ]
    [ "$(render <<<"{\"messages\":$talk,\"continue_final_message\":true}")" = '<user>Name a port.</><assistant>Sure: Bre' ]
    [ "$(render --continue <<<"{\"messages\":$talk,\"continue_final_message\":false}")" = '<user>Name a port.</><assistant>Sure: Bre</><assistant>' ]
    [ "$(render --continue <<<"{\"messages\":$talk,\"continue_final_message\":null}")" = '<user>Name a port.</><assistant>Sure: Bre' ]
    # White space at the end stays where the template leaves it, and goes where it trims.
    [ "$(render --continue <<<'[{"role":"a","content":"b \n"}]'; echo .)" = $'<a>b \n.' ]
    template '{% for m in messages %}<{{ m.role }}> {{ m.content | trim }}</>{% endfor %}'
    [ "$(render --continue <<<'[{"role":"a","content":"b \n"}]'; echo .)" = '<a> b.' ]
    # Parts, and another member.
    template '{% for m in messages %}{{ m.reasoning_content }}|{% for p in m.content %}{{ p.text }};{% endfor %}{% endfor %}'
    [ "$(render --continue <<<'[{"role":"a","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}]')" = '|x;y' ]
    [ "$(render <<<'{"messages":[{"role":"a","content":[],"thinking":"why"}],"continue_final_message":"reasoning_content"}')" = why ]
    fails 65 'the last message has no "thinking"' render <<<"{\"messages\":$hi,\"continue_final_message\":\"thinking\"}"
    fails 65 '"content" of the last message has no text' render --continue <<<'[{"role":"a","content":[{"type":"image"}]}]'
    fails 65 'the template does not use "name"' render <<<'{"messages":[{"role":"a","name":"n"}],"continue_final_message":"name"}'
    fails 65 'exclude each other' render --continue <<<"{\"messages\":$hi,\"add_generation_prompt\":true}"
    template '{{ messages[0].content | upper }} {{ messages | length }}'
    fails 65 'the template does not write the last message as it is: m/chat_template.jinja' render --continue <<<"$hi"
}

@test "a list of texts is one text for a template that prints it" {
    parts='[{"role":"user","content":[{"type":"text","text":"Tide"},{"type":"text","text":"at Brest?"}]}]'
    image='[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]}]'
    for t in '{{ messages[0].content }}' "{{ '' + messages[0]['content'] }}" '{% set c = messages[0].content.strip() %}{{ c }}' \
        '{% if messages[0].content is string %}{{ messages[0].content }}{% endif %}' '{{ messages[0].content[:] }}'; do
        template "$t"
        [ "$(render <<<"$parts")" = $'Tide\nat Brest?' ] || { echo "$t"; return 1; }
        fails 65 'a part of type "image_url", and the chat template takes only text' render <<<"$image"
    done
    # Templates that take it apart: in a loop, under another name, in a macro, by a filter.
    for t in '{% for p in messages[0].content %}<{{ p.text }}>{% endfor %}' \
        "{% set c = messages[0]['content'] %}{% for p in c %}<{{ p['text'] }}>{% endfor %}" \
        '{% macro show(c) %}{% for p in c %}<{{ p.text }}>{% endfor %}{% endmacro %}{{ show(messages[0].content) }}' \
        "{% for p in messages[0].content | default([]) %}<{{ p.text }}>{% endfor %}" \
        "<{{ messages[0].content | map(attribute='text') | join('><') }}>"; do
        template "$t"
        [ "$(render <<<"$parts")" = '<Tide><at Brest?>' ] || { echo "$t"; return 1; }
        [[ "$(render <<<"$image")" == '<a><'* ]]
    done
    # One that does both prints the text where it prints.
    template "{% for m in messages %}{% if m.role == 'user' %}{% for p in m.content %}<{{ p.text }}>{% endfor %}{% else %}{{ m.content }}, {{ m.content.strip() }}, {{ m.content + '.' }}, {{ m.content | trim }}{% endif %}{% endfor %}"
    [ "$(render <<<'[{"role":"system","content":[{"type":"text","text":"S"}]},{"role":"user","content":[{"type":"text","text":"U"}]}]')" = 'S, S, S., S<U>' ]
}

@test "arguments of a tool call print as they came, and are an object" {
    call() { jq -nc --arg a "$1" '[{role:"assistant",tool_calls:[{function:{name:"f",arguments:$a}}]}]'; }
    template '{% set a = messages[0].tool_calls[0].function.arguments %}{{ a }} {{ "" + a }} {{ a ~ "" }} {{ a | tojson }} {{ a.port }} {% for k, v in a.items() %}{{ k }}={{ v }}{% endfor %} {{ a is mapping }}'
    [ "$(call '{"port":"Brest"}' | render)" = '{"port":"Brest"} {"port":"Brest"} {"port":"Brest"} {"port": "Brest"} Brest port=Brest True' ]
    # Without arguments.
    [ "$(call '' | render)" = '   {}   True' ]
    # A member goes before a method of strings.
    template '{% set a = messages[0].tool_calls[0].function.arguments %}{{ a.title }}{{ a.format }}'
    [ "$(call '{"title":"T","format":3}' | render)" = T3 ]
}

@test "strftime_now as Python on Linux, dict.fromkeys" {
    export SOURCE_DATE_EPOCH=1720501443 # 2024-07-09 05:04:03
    at() { template "{{ strftime_now('$1') }}" && render <<<"$hi"; }
    [ "$(at '%-d|%e|%_d|%05d|%-I:%M%p|%^a|%#B')" = '9| 9| 9|00009|5:04AM|TUE|JULY' ]
    [ "$(at '[%Z|%z|%:z|%-z]%f|%s')" = '[|||]000000|1720501443' ]
    [ "$(at '%P %k %l %G-%V %u %j %C %h %D %T %R')" = 'am  5  5 2024-28 2 191 20 Jul 07/09/24 05:04:03 05:04' ]
    [ "$(at '%Q %E %+ %')" = '%Q %E %+ %' ]
    [ "$(at '%10Y|%5%|%%d|é%n')" = $'0000002024|    %|%d|é' ]
    [ "$(at '')" = '' ]
    fails 65 'the result is too long' at '%70000d'
    template "{{ dict.fromkeys(['a', 'b'], 0) }} {{ dict.fromkeys('x') }} {{ dict.items({'k': 1}) | list }} {{ dict.get({'k': 2}, 'k') }} {{ dict.update is defined }}"
    [ "$(render <<<"$hi")" = "{'a': 0, 'b': 0} {'x': None} [('k', 1)] 2 False" ]
    template "{{ dict.items() }}"
    fails 65 "TypeError: descriptor 'items'" render <<<"$hi"
}

@test "a template's limits can be set" {
    template '{% for i in range(1000) %}{% set x = "a" * 100000 %}{% endfor %}done'
    fails 65 'the template takes more than 67108864 bytes of memory' render <<<"$hi"
    [ "$(render --template-memory 256 <<<"$hi")" = 'done' ]
    template '{% for i in range(1000) %}{{ i }}{% endfor %}'
    fails 65 'the template takes more than 500 steps' render --template-steps 500 <<<"$hi"
    fails 2 '--template-memory' render --template-memory 0
    fails 2 '--template-steps' render --template-steps x
}

@test "special tokens of the model's files are variables, and the map goes before the config" {
    template '{% for t in [bos_token, eos_token, image_token, audio_token, boi_token, pad_token] %}{{ t }}|{% endfor %}{{ add_bos_token }}'
    echo '{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": true}, "image_token": "<img>", "add_bos_token": true, "pad_token": null,
           "boi_token": {"__type": "AddedToken", "content": "<boi>"}, "extra_special_tokens": {"audio_token": "<snd>"}, "x": NaN}' >m/tokenizer_config.json
    [ "$(render <<<"$hi")" = '<s>|</s>|<img>|<snd>|<boi>||' ]
    echo '{"eos_token": "<end>", "bos_token": null, "pad_token": {"content": "<pad>"}, "image_token": "<other>"}' >m/special_tokens_map.json
    [ "$(render <<<"$hi")" = '|<end>|<img>|<snd>|<boi>|<pad>|' ]
    # added_tokens_decoder makes the map irrelevant.
    jq '. + {added_tokens_decoder: {}}' <<<'{"bos_token": "<s>"}' >m/tokenizer_config.json
    [ "$(render <<<"$hi")" = '<s>||||||' ]
    # A variable of the request goes before all.
    [ "$(render --set bos_token=B <<<"$hi")" = 'B||||||' ]
    echo '{"bos_token": ' >m/tokenizer_config.json
    fails 65 'm/tokenizer_config.json: line 2, byte 15' render --template m/chat_template.jinja <<<"$hi"
}

@test "--render prints exactly the text, and needs no tokenizer" {
    mkdir m
    printf '{%% for m in messages %%}{{ m.role }}: {{ m.content }}{%% endfor %%} {{ eos_token }}' >m/chat_template.jinja
    echo '{"eos_token": {"content": "</s>", "special": true}}' >m/tokenizer_config.json
    [ "$(echo '[{"role":"user","content":"a\nb"}]' | tok-encode -m m --chat --render; echo .)" = $'user: a\nb </s>.' ]
    [ "$(echo '{"messages":[{"role":"user","content":"a\nb"}],"id":3}' | tok-encode -m m -j --chat --render)" = '{"text": "user: a\nb </s>", "id": 3}' ]
}

@test "which template: the file wins, tools choose tool_use" {
    mkdir m
    echo '{"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]}' >m/tokenizer_config.json
    render() { tok-encode -m m --chat --render; }
    [ "$(echo '[{"role":"user","content":"x"}]' | render)" = D ]
    [ "$(echo '{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}' | render)" = T ]
    [ "$(echo '{"messages":[{"role":"user","content":"x"}],"tools":null}' | render)" = D ]
    echo F >m/chat_template.jinja
    [ "$(echo '{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}' | render)" = F ]
}

@test "variables: tools, documents, template arguments, null members" {
    mkdir m
    cat >m/chat_template.jinja <<'EOF'
{{ tools | tojson }} {{ documents[0].title }} {{ enable_thinking }} {{ depth }} {{ messages[0].name is defined }} {{ messages[0] | length }}
EOF
    echo '{"messages":[{"role":"user","content":"x","name":null}],"tools":[{"a":1.50}],"documents":[{"title":"T"}],"enable_thinking":false,"chat_template_kwargs":{"depth":3}}' >in
    [ "$(tok-encode -m m --chat --render in)" = '[{"a": 1.5}] T False 3 False 2' ]
}

@test "errors name the line, and a bad line of many fails alone" {
    mkdir m
    printf 'a\n{{ raise_exception("no " ~ messages[0].role) }}' >m/chat_template.jinja
    fails 65 'no user: m/chat_template.jinja: line 2' tok-encode -m m --chat --render < <(echo '[{"role":"user","content":"x"}]')
    printf 'a\n\n{%% if %%}' >m/chat_template.jinja
    fails 65 'line 3' tok-encode -m m --chat --render < <(echo '[]')
    printf '{"messages":[]}\n{"messages":[{"role":"user","content":"Hi"}]}\n{"messages":3}\n{"text":"x"}\n[1' >in
    run --separate-stderr tok-encode -j --chat in
    [ "$status" -eq 1 ]
    [[ ${lines[1]} == "! messages is empty"* && ${lines[2]} == "#@ end_id=1302" && ${lines[3]} == 1301* && ${lines[4]} == "! "* ]]
    [[ ${lines[5]} == '! no "messages"'* && ${lines[6]} == "! "* ]]
}

@test "a template that never ends is stopped" {
    mkdir m
    printf '{%% for a in range(100000) %%}{%% for b in range(100000) %%}{%% set c = a ~ b %%}{%% endfor %%}{%% endfor %%}' >m/chat_template.jinja
    fails 65 'the template takes more than' tok-encode -m m --chat --render < <(echo '[{"role":"user"}]')
    printf '{%% macro f() %%}{{ f() }}{%% endmacro %%}{{ f() }}' >m/chat_template.jinja
    fails 65 'nests deeper' tok-encode -m m --chat --render < <(echo '[{"role":"user"}]')
    printf '{{ "a" * 9000000000 }}' >m/chat_template.jinja
    fails 65 'bytes' tok-encode -m m --chat --render < <(echo '[{"role":"user"}]')
}

@test "wrong usage, no template, a full disk" {
    fails 2 'not with -l' tok-encode --chat -l
    fails 2 'goes with --chat' tok-encode --render
    fails 66 'no chat template' tok-encode --chat -m "$DATA/tokenizers/bpe-gpt2-prefix" < <(echo '[]')
    fails 74 '' sh -c 'echo "[{\"role\":\"user\",\"content\":\"x\"}]" | tok-encode --chat --render >/dev/full'
}

# A checkout whose models are stand-ins: llm-forward waits as long as it is told, tok-decode always says the same.
stand_in() { # SECONDS
    mkdir -p root/examples root/build/bin
    cp "$ROOT/examples/chat" root/examples/
    cp "$BIN/tok-encode" root/build/bin/
    printf '#!/bin/sh\ncat >/dev/null\nexec sleep %s\n' "$1" >root/build/bin/llm-forward
    printf '#!/bin/sh\ncat >/dev/null\n' >root/build/bin/llm-sample
    printf '#!/bin/sh\nprintf "Fine, thanks."\ncat\n' >root/build/bin/tok-decode
    chmod +x root/build/bin/*
}

@test "examples/chat: question and answer are kept, and the history goes on" {
    stand_in 0
    run env BUILD=build root/examples/chat -s 'Be "brief".' talk.json < <(printf 'How are you?\n\nAnd now?\n')
    [ "$status" -eq 0 ]
    [ "$output" = $'Fine, thanks.\nFine, thanks.' ]
    [ "$(jq -r '.[].role' talk.json | tr '\n' ' ')" = 'system user assistant user assistant ' ]
    [ "$(jq -r '.[0].content, .[3].content, .[4].content' talk.json)" = $'Be "brief".\nAnd now?\nFine, thanks.' ]
    echo 'More?' | env BUILD=build root/examples/chat talk.json
    [ "$(jq length talk.json)" -eq 7 ]
}

@test "examples/chat: Ctrl-C stops an answer, not the chat" {
    stand_in 60
    python3 - <<'EOF'
import os, signal, subprocess, time
chat = subprocess.Popen(["root/examples/chat", "talk.json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                        start_new_session=True, env={**os.environ, "BUILD": "build"},
                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
for question in ("one", "two"):
    chat.stdin.write(question + "\n")
    chat.stdin.flush()
    assert chat.stdout.read(13) == "Fine, thanks."
    os.killpg(chat.pid, signal.SIGINT)
    assert chat.stdout.read(1) == "\n"
chat.stdin.close()
assert chat.wait(20) == 0
EOF
    [ "$(jq -r '.[].content' talk.json | tr '\n' ' ')" = 'one Fine, thanks. two Fine, thanks. ' ]
}

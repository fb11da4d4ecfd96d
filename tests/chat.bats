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
    ! diff -q short want
}

@test "control text in a message stays text" {
    [ "$(echo '[{"role":"user","content":"<|im_end|>"}]' | ids | tr ' ' '\n' | grep -cx 1302)" -eq 2 ]
    [ "$(echo '[{"role":"user","content":"<|im_end|>"}]' | ids --trust-content | tr ' ' '\n' | grep -cx 1302)" -eq 3 ]
    # neither whole nor joined to what the template writes
    [ "$(echo '[{"role":"user","content":"x<|im_"},{"role":"end|>","content":"y"}]' | ids | tr ' ' '\n' | grep -cx 1302)" -eq 3 ]
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
    [[ ${lines[1]} == "! messages is empty"* && ${lines[2]} == 1301* && ${lines[3]} == "! "* ]]
    [[ ${lines[4]} == "#@ text=x" && ${lines[5]} == '! no "messages"'* && ${lines[6]} == "! "* ]]
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
    fails 2 'go with --chat' tok-encode --render
    fails 66 'no chat template' tok-encode --chat -m "$DATA/tokenizers/bpe-gpt2-prefix" < <(echo '[]')
    fails 74 '' sh -c 'echo "[{\"role\":\"user\",\"content\":\"x\"}]" | tok-encode --chat --render >/dev/full'
}

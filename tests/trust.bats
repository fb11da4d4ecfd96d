#!/usr/bin/env bats
# Text of a conversation never becomes a control token, whatever the tokenizer's model is.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common
bats_require_minimum_version 1.5.0

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# A folder with TOKENIZER.JSON and a template that puts each message between brackets.
folder() { # TOKENIZER.JSON
    rm -rf model
    mkdir model
    cp "$1" model/tokenizer.json
    echo '{"chat_template": "{% for m in messages %}[{{ m.content }}]{% endfor %}"}' >model/tokenizer_config.json
}

# Prints each id of a special added token that the token's own text in a message gave.
leaks() {
    python3 - <<'PY'
import json, subprocess
special = [t for t in json.load(open("model/tokenizer.json"))["added_tokens"] if t["special"]]
texts = [(t["id"], s) for t in special for s in
         (t["content"], f"x{t['content']}y", t["content"] * 2, f" {t['content']} .", f"a\n{t['content']}")]
lines = [json.dumps({"messages": [{"role": "user", "content": s}]}) for _, s in texts]
lines.append(json.dumps({"messages": [{"role": "user", "content": "q"}]}))
run = subprocess.run(["tok-encode", "-q", "-m", "model", "-j", "--chat"], input="\n".join(lines) + "\n",
                     capture_output=True, text=True)
out = [line.split() for line in run.stdout.splitlines() if not line.startswith("#")]
assert len(out) == len(lines) and run.returncode == 0, run.stderr
for (token, text), ids in zip(texts, out):
    if ids.count(str(token)) > out[-1].count(str(token)):
        print(f"{text!r} gives {token}: {' '.join(ids)}")
PY
}

# A tokenizer whose model has </s> in its vocabulary, as a word and as merges.
toy() { # MODEL-JSON [PRE-TOKENIZER-JSON]
    cat >toy.json <<JSON
{"version": "1.0", "added_tokens": [{"id": 1, "content": "</s>", "single_word": false, "lstrip": false,
 "rstrip": false, "normalized": false, "special": true}], "normalizer": null, "pre_tokenizer": ${2:-null},
 "post_processor": null, "decoder": null, "model": $1}
JSON
    folder toy.json
}

@test "special tokens of every tokenizer stay text in messages" {
    for t in "$DATA"/tokenizers/*/tokenizer.json; do
        folder "$t"
        run leaks
        [ "$status" -eq 0 ] && [ -z "$output" ] || { echo "$t: $output"; return 1; }
    done
}

@test "BPE: neither ignore_merges nor merges make a control token of text" {
    vocab='{"[": 0, "</s>": 1, "<": 2, "/": 3, "s": 4, ">": 5, "]": 6, "q": 7, "x": 8, "y": 9, " ": 10, ".": 11, "a": 12, "\n": 13, "</": 14, "s>": 15}'
    merges='["< /", "s >", "</ s>"]'
    for ignore in true false; do
        toy "{\"type\": \"BPE\", \"vocab\": $vocab, \"merges\": $merges, \"ignore_merges\": $ignore}"
        run leaks
        [ "$status" -eq 0 ] && [ -z "$output" ] || { echo "$output"; return 1; }
        # The parts are merged as far as the control token allows; trusted text still gives it.
        echo '{"messages": [{"role": "user", "content": "</s>"}]}' >in
        run -0 tok-encode -q -m model -j --chat in
        [ "$(grep -v '^#' <<<"$output")" = "0 14 15 6" ]
        run -0 tok-encode -q -m model -j --chat --trust-content in
        [ "$(grep -v '^#' <<<"$output")" = "0 1 6" ]
    done
}

@test "WordLevel and WordPiece: a word that is a control token's text is unknown" {
    for type in WordLevel WordPiece; do
        more=
        [ "$type" = WordLevel ] || more='"continuing_subword_prefix": "##", "max_input_chars_per_word": 100,'
        toy "{\"type\": \"$type\", $more \"vocab\": {\"<unk>\": 0, \"</s>\": 1, \"[\": 2}, \"unk_token\": \"<unk>\"}" '{"type": "WhitespaceSplit"}'
        run leaks
        [ "$status" -eq 0 ] && [ -z "$output" ] || { echo "$type: $output"; return 1; }
    done
}

@test "a Precompiled map whose replacement begins inside a character is refused" {
    python3 - "$DATA"/tokenizers/unigram-t5/tokenizer.json <<'PY'
import base64, json, struct, sys
# A trie with the key "a", whose value is 1: the second byte of the text C3 A9.
units = [0] * 512
units[0] = 256 << 10
units[256 ^ ord("a")] = ord("a") | 1 << 8 | 128 << 10
units[(256 ^ ord("a")) ^ 128] = 1 << 31 | 1
raw = struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + "é\0".encode()
t = json.load(open(sys.argv[1]))
t["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(raw).decode()}
json.dump(t, open("bad.json", "w"))
PY
    echo a >in
    run -65 tok-encode -m bad.json in
    [[ $output == *"text that begins inside a character: bad.json: line 1, byte "* ]]
}

@test "normalizers and templates of a tokenizer.json cannot take all memory" {
    toy '{"type": "WordLevel", "vocab": {"<unk>": 0, "</s>": 1}, "unk_token": "<unk>"}'
    python3 - <<'PY'
import json
base = json.load(open("toy.json"))
def write(name, **members):
    json.dump({**base, **members}, open(name, "w"))
double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
write("normalizer.json", normalizer={"type": "Sequence", "normalizers": [double] * 34})
special = {"SpecialToken": {"id": "x", "type_id": 0}}
write("template.json", post_processor={"type": "TemplateProcessing", "single": [special] * 200, "pair": [],
      "special_tokens": {"x": {"id": "x", "ids": [1] * 1000, "tokens": ["x"] * 1000}}})
text = {"Sequence": {"id": "A", "type_id": 0}}
write("copies.json", pre_tokenizer={"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated", "invert": False},
      post_processor={"type": "TemplateProcessing", "single": [text] * 200, "pair": [], "special_tokens": {}})
open("a", "w").write("a" * 100000)
PY
    run -65 within_memory 1000000 timeout 20 tok-encode -m normalizer.json a
    [[ $output == *"the normalizers make more than "* ]]
    run -65 within_memory 1000000 timeout 20 tok-encode -m template.json a
    [[ $output == *"the template adds more than 4096 ids"* ]]
    run -65 within_memory 1000000 timeout 20 tok-encode -m copies.json a
    [[ $output == *"tokens, more than 16777216"* ]]
}

@test "--system, --set, parts and arguments of calls give no control token" {
    vocab='{"[": 0, "</s>": 1, "<": 2, "/": 3, "s": 4, ">": 5, "]": 6, "q": 7, "\n": 8}'
    toy "{\"type\": \"BPE\", \"vocab\": $vocab, \"merges\": []}"
    with() { # TEMPLATE REQUEST [OPTION...]
        printf '%s' "$1" >model/chat_template.jinja
        printf '%s' "$2" >request
        tok-encode -q -m model --chat "${@:3}" request | grep -v '^#'
    }
    q='[{"role":"user","content":"q"}]' text='</s>'
    [ "$(with '{% for m in messages %}[{{ m.content }}]{% endfor %}' "$q" --system "$text")" = '0 2 3 4 5 6 0 7 6' ]
    [ "$(with '{{ x }}' "$q" --set "x=$text")" = '2 3 4 5' ]
    [ "$(with '{{ x.y }}' "$q" --set "x={\"y\": \"$text\"}")" = '2 3 4 5' ]
    [ "$(with '{{ bos_token }}' "$q" --set "bos_token=$text")" = '2 3 4 5' ]
    [ "$(with '{{ messages[0].content }}' "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"$text\"},{\"type\":\"text\",\"text\":\"q\"}]}]")" = '2 3 4 5 8 7' ]
    # Two parts do not join to one, nor a part and the template's text.
    [ "$(with '{{ messages[0].content | replace("\n", "") }}' '[{"role":"user","content":["</", "s>"]}]')" = '2 3 4 5' ]
    [ "$(with '{{ messages[0].content }}s>' "$q" --continue | tr -d '\n')" = 7 ]
    [ "$(with '{{ messages[0].content }}s>' '[{"role":"user","content":"</"}]')" = '2 3 4 5' ]
    call='[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"</s>\": 1}"}}]}]'
    [[ "$(with '{{ messages[0].tool_calls[0].function.arguments }}' "$call" 2>&1)" != *' 1 '* ]]
    [ "$(with '{% for k in messages[0].tool_calls[0].function.arguments %}{{ k }}{% endfor %}' "$call")" = '2 3 4 5' ]
    # The template's own token is one, and a file's template is the operator's.
    [ "$(with '</s>{{ messages[0].content }}' "$q")" = '1 7' ]
    printf '</s>' >mine
    [ "$(with '' "$q" --template mine)" = 1 ]
}

@test "chat_control_tokens names the added tokens that messages cannot write" {
    toy '{"type": "WordLevel", "vocab": {"<unk>": 0, "</s>": 1, "[": 2, "]": 3}, "unk_token": "<unk>"}'
    jq '.added_tokens += [{"id": 4, "content": "<a>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false},
                          {"id": 5, "content": "<b>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}]' \
        model/tokenizer.json >t.json
    mv t.json model/tokenizer.json
    count() { echo '{"messages":[{"role":"user","content":"<a><b>"}]}' | tok-encode -q -m model -j --chat | grep -v '^#' | tr ' ' '\n' | grep -cx "$1"; }
    printf '{%% for m in messages %%}[{{ m.content }}]{%% if false %%}<a>{%% endif %%}{# <b> #}{%% endfor %%}' >model/chat_template.jinja
    [ "$(count 4)" = 0 ] && [ "$(count 5)" = 1 ] # the template writes <a>; a comment is not written
    echo '{"chat_control_tokens": ["<b>"]}' >model/tokenizer_config.json
    [ "$(count 4)" = 1 ] && [ "$(count 5)" = 0 ]
    echo '{"chat_control_tokens": []}' >model/tokenizer_config.json
    [ "$(count 4)" = 1 ] && [ "$(count 5)" = 1 ]
}

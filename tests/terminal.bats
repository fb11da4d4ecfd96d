#!/usr/bin/env bats
# A stranger's bytes do not reach the terminal as control characters, and cannot forge a line.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common
bats_require_minimum_version 1.5.0

setup() {
    cd "$BATS_TEST_TMPDIR"
    export LLM_MODEL=$DATA/tiny
    ESC=$'\033' CSI=$'\xc2\x9b' # CSI is U+009B, a C1 control character
}

# Runs a command with stdin, stdout and stderr on a terminal, and leaves all that it wrote in the file tty.
on_terminal() { # COMMAND
    command -v script >/dev/null || skip "script(1) is not installed"
    script -qec "stty -opost; $1" /dev/null </dev/null >tty || true
}

# Fails if the file has a control character but newline, tab and CR, or a character of C1.
is_clean() { # FILE
    python3 - "$1" <<'PY'
import re, sys
text = open(sys.argv[1], "rb").read().decode()  # must be UTF-8
bad = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text)
assert not bad, repr(text)
PY
}

@test "the terminal of these tests sees control characters" {
    on_terminal "printf 'a\033]0;x\007'"
    run ! is_clean tty
    [ "$(cat tty)" = "a${ESC}]0;x"$'\a' ]
}

@test "tok-decode: text for a terminal has no control characters, text for a pipe is as it was" {
    printf 'x\033]52;c;aGk=\007%sm\177\ttab\nline' "$CSI" >text
    tok-encode text >ids
    tok-decode ids >plain
    cmp text plain
    for options in "" -l -0 --special; do
        on_terminal "tok-decode $options ids"
        tr -d '\0' <tty >seen
        is_clean seen
        grep -q 'x\\u001b]52;c;aGk=\\u0007\\u009bm\\u007f' seen
    done
    on_terminal "tok-decode ids"
    [[ $(cat tty) == *$'\ttab\nline'* ]]
}

@test "tok-decode: JSON for a terminal is JSON still" {
    printf 'x\033]0;\007%sm' "$CSI" >text
    tok-encode text | tok-decode -j >plain
    tok-encode text >ids
    on_terminal "tok-decode -j ids"
    is_clean tty
    [ "$(jq -c .text tty)" = "$(jq -c .text plain)" ]
}

@test "tok-encode --render and attributes on a terminal" {
    mkdir model
    cp "$LLM_MODEL/tokenizer.json" model
    echo '{"chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}' >model/tokenizer_config.json
    printf '[{"role": "user", "content": "\\u001b]0;x\\u0007\\u009b31m"}]' >chat
    tok-encode -m model --chat --render chat >plain
    [ "$(cat plain)" = "${ESC}]0;x"$'\a'"${CSI}31m" ]
    on_terminal "tok-encode -m model --chat --render chat"
    is_clean tty
    grep -qF '\u001b]0;x\u0007\u009b31m' tty
    printf '{"text": "a", "id": "\\u009b31m"}\n' >record
    on_terminal "tok-encode -m model -j record"
    is_clean tty
    grep -qF 'id=\u009b31m' tty
}

@test "messages: names with newlines, C0 and C1 are one line, on a terminal and in a file" {
    cp -r "$DATA/tiny" model
    jq '. + {"evil\nllm-forward: forged\u009b31m\u001b[m": 1}' "$DATA/tiny/config.json" >model/config.json
    run --separate-stderr sh -c 'echo 1 2 | llm-forward -m model --no-return'
    printf '%s' "$stderr" >message
    is_clean message
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == 'llm-forward: evil\nllm-forward: forged\u009b31m\u001b[m '* ]]
    st-inspect --spec model >spec
    is_clean spec
    on_terminal "st-inspect --spec model"
    is_clean tty
    on_terminal "llm-forward -m 'no${ESC}[31m
such' </dev/null"
    is_clean tty
    grep -qF 'no\u001b[31m\nsuch' tty
}

@test "messages: raise_exception and the reason of a failed sequence" {
    mkdir model
    cp "$LLM_MODEL/tokenizer.json" model
    printf '%s' '{{ raise_exception("a\ntok-encode: forged\u009b[m") }}' >model/chat_template.jinja
    echo '[{"role": "user", "content": "x"}]' >chat
    run --separate-stderr tok-encode -m model --chat chat
    [ "$status" -eq 65 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == *'a\ntok-encode: forged'* ]]
    echo '{"messages": [{"role": "user", "content": "x"}]}' >records
    run --separate-stderr tok-encode -m model -j records
    [ "$status" -eq 1 ] && [ "${#stderr_lines[@]}" -eq 1 ]
    printf '! %s31m %s]0;x\a\n' "$CSI" "$ESC" >failed
    run --separate-stderr tok-decode failed
    printf '%s' "$stderr" >message
    is_clean message
    run --separate-stderr sh -c 'llm-forward --no-return failed | llm-inspect'
    printf '%s' "$stderr$output" >message
    is_clean message
}

@test "llm-inspect: tokens with C1 on a terminal, and the return address of a stream" {
    printf '%s' "$CSI" >text
    tok-encode text | llm-forward --no-return -a >frames
    on_terminal "llm-inspect -k 3 frames"
    is_clean tty
    on_terminal "llm-inspect -j -k 3 frames"
    is_clean tty
    # An address with escape sequences in the header, where it has none.
    echo 1 | llm-forward --no-return >frames
    python3 - <<'PY'
data = bytearray(open("frames", "rb").read())
evil = b"/tmp/\x1b]0;x\x07\x1b[31m/socket"
data[104:104 + len(evil)] = evil  # logits(5)
open("evil", "wb").write(data)
PY
    run --separate-stderr llm-inspect -v evil
    printf '%s' "$stderr" >message
    is_clean message
    [[ $stderr == *'/tmp/\u001b]0;x\u0007\u001b[31m'* ]]
}

@test "llm-sample and llm-score: attributes and reasons with C1 on a terminal" {
    printf '#@ id=%s31m\n1 2 3\n! %s31m\n' "$CSI" "$CSI" | llm-forward --no-return -a >frames || true
    llm-sample -q -n 1 frames >plain || true
    grep -qF "#@ id=${CSI}31m" plain
    grep -qF "! ${CSI}31m" plain
    on_terminal "llm-sample -q -n 1 frames"
    is_clean tty
    grep -qF '#@ id=\u009b31m' tty
    grep -qF '! \u009b31m' tty
    llm-score -q -j frames >plain || true
    grep -qF "\"id\": \"${CSI}31m\"" plain
    on_terminal "llm-score -q -j frames"
    is_clean tty
    head -n 1 tty >line
    [ "$(jq -c .id line)" = "$(head -n 1 plain | jq -c .id)" ]
}

@test "doc-chunk, llm-embed, vec-index, vec-search: documents, attributes and ids with C1 on a terminal" {
    bert=$DATA/embed/bert
    printf '# head%s31m\n\ntext \033]0;x\a%sm\n' "$CSI" "$CSI" >doc.md
    doc-chunk doc.md >plain
    on_terminal "doc-chunk doc.md"
    is_clean tty
    [ "$(jq -c '[.text, .head]' tty)" = "$(jq -c '[.text, .head]' plain)" ]
    printf '#@ id=%s31m note=%sm\n3 4 5\n! %s]0;x\a\n' "$CSI" "$CSI" "$CSI" >ids
    llm-embed -q -m "$bert" ids >vectors || true
    on_terminal "llm-embed -j -m $bert ids"
    is_clean tty
    grep -qF '\u009b31m' tty
    on_terminal "llm-embed -m $bert ids >/dev/null"
    is_clean tty
    on_terminal "vec-index -v -i index vectors"
    is_clean tty
    for command in "vec-index -i index --list" "vec-search -i index vectors" "vec-search -j -i index vectors"; do
        on_terminal "$command"
        is_clean tty
        grep -qF '\u009b31m' tty
    done
}

@test "vec-prefix: chunks and questions with C1 on a terminal" {
    "$ROOT/tests/lib/toy-embedder" "$ROOT" embedder
    printf '{"id": "a", "text": "the cat \\u009b31m is red"}\n' >texts
    tok-encode -j -m embedder texts | llm-embed -m embedder | vec-index -q -i index --records texts
    printf '{"text": "where is the cat\\u001b]0;x\\u0007?"}\n' >questions
    on_terminal "vec-prefix -m embedder -i index questions"
    is_clean tty
    grep -qF 'u009b31m' tty
}

@test "llm-serve: what requests and engines say reaches its terminal escaped" {
    on_terminal "llm-serve -m 'no${ESC}[31m
such' --engine x"
    is_clean tty
    on_terminal "llm-serve -m $DATA/tiny --engine x --name 'a${CSI}31m' -m $DATA/tiny --engine x --name 'a${CSI}31m'"
    is_clean tty
    grep -qF 'a\u009b31m' tty
}

#!/usr/bin/env bats
# Files that a stranger may have made, disks and files that change, streams that were cut.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common
bats_require_minimum_version 1.5.0

setup() {
    cd "$BATS_TEST_TMPDIR"
    export LLM_MODEL=$DATA/tiny
}

# A copy of the tiny model.
copy() { # FOLDER
    rm -rf "$1"
    cp -r "$DATA/tiny" "$1"
    chmod -R u+w "$1"
}

# A tokenizer.json of two tokens with other members.
toy() { # FILE MEMBERS-JSON
    python3 - "$@" <<'PY'
import json, sys
t = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
     "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1}, "unk_token": "<unk>"}}
json.dump({**t, **json.loads(sys.argv[2])}, open(sys.argv[1], "w"))
PY
}

# ---- Special files ----

@test "a FIFO, a socket or a device in a model's folder is refused, not waited for" {
    copy m
    for f in config.json generation_config.json model.safetensors; do
        mv "m/$f" saved 2>/dev/null || true
        mkfifo "m/$f"
        fails 66 "not a regular file: m/$f" timeout 10 sh -c 'echo 1 | llm-forward -m m --no-return'
        rm "m/$f"
        ln -s /dev/zero "m/$f"
        fails 66 "not a regular file: m/$f" timeout 10 sh -c 'echo 1 | llm-forward -m m --no-return'
        rm "m/$f"
        [ ! -e saved ] || mv saved "m/$f"
    done
    for f in tokenizer.json tokenizer_config.json chat_template.jinja; do
        mv "m/$f" saved 2>/dev/null || true
        mkfifo "m/$f"
        fails 66 "not a regular file: m/$f" timeout 10 sh -c 'echo "[]" | tok-encode -m m --chat'
        rm "m/$f"
        python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "m/$f"
        fails 66 "not a regular file: m/$f" timeout 10 sh -c 'echo "[]" | tok-encode -m m --chat'
        rm "m/$f"
        [ ! -e saved ] || mv saved "m/$f"
    done
    mv m/tokenizer.json saved
    mkfifo m/tokenizer.json
    fails 66 "not a regular file" timeout 10 tok-decode -m m /dev/null
    fails 66 "not a regular file" timeout 10 sh -c 'echo 1 | llm-forward -m m --no-return'
    rm m/tokenizer.json
    mkfifo m/shard.safetensors
    echo '{"weight_map": {"a": "shard.safetensors"}}' >m/model.safetensors.index.json
    fails 66 "not a regular file" timeout 10 st-inspect m/model.safetensors.index.json
    mkfifo g.gguf
    fails 66 "not a regular file" timeout 10 st-convert g.gguf out
}

@test "a FIFO in place of an index, a statistics file, a template or an embedding model's file" {
    bert=$DATA/embed/bert
    llm-embed -m "$bert" "$bert/ids" >vectors
    mkfifo fifo
    echo '{"text": "a"}' >records
    no_wait() { fails 66 "not a regular file: $1" timeout 10 "${@:2}"; }
    no_wait fifo vec-index -i fifo vectors
    no_wait fifo vec-index -i fifo --list
    no_wait fifo vec-index -i index --records fifo vectors
    no_wait fifo vec-search -i fifo vectors
    vec-index -q -i index vectors
    no_wait fifo vec-search -i index --bm25 --records fifo vectors
    no_wait fifo vec-prefix -i fifo -m "$bert" records
    no_wait fifo vec-prefix -i index -m "$bert" --template fifo records
    no_wait fifo st-quantize --stats fifo "$LLM_MODEL" small
    [ ! -e small ]
    for f in modules.json config.json model.safetensors 1_Pooling/config.json sentence_bert_config.json tokenizer.json; do
        rm -rf m
        cp -rL "$bert" m
        chmod -R u+w m
        rm -f "m/$f"
        mkfifo "m/$f"
        no_wait "m/$f" llm-embed -m m "$bert/ids"
    done
    copy m
    rm m/config.json
    mkfifo m/config.json
    no_wait m/config.json st-quantize m small
    copy m
    rm m/tokenizer.json
    mkfifo m/tokenizer.json
    no_wait m/tokenizer.json llm-serve -m m --engine sock
    no_wait m/tokenizer.json doc-chunk -m m records
}

@test "operands and lists may be pipes" {
    st-inspect --hash "$LLM_MODEL" >list
    st-inspect --check <(cat list) "$LLM_MODEL"
    st-inspect --check - "$LLM_MODEL" <list
    [ "$(tok-encode <(printf a) | tok-decode)" = a ]
}

@test "a link to nothing or a folder in place of an optional file is an error" {
    copy m
    for f in generation_config.json tokenizer.json; do
        rm -rf "m/$f"
        ln -s nowhere "m/$f"
        fails 66 "cannot open m/$f" sh -c 'echo 1 | llm-forward -m m --no-return'
        rm "m/$f"
        mkdir "m/$f"
        fails 66 "is a folder: m/$f" sh -c 'echo 1 | llm-forward -m m --no-return'
        rmdir "m/$f"
    done
    copy m
    for f in tokenizer_config.json special_tokens_map.json chat_template.jinja; do
        rm -rf "m/$f"
        ln -s nowhere "m/$f"
        fails 66 "cannot open m/$f" sh -c 'echo "[]" | tok-encode -m m --chat'
        rm "m/$f"
    done
}

@test "st-convert copies no file that a link brings in from elsewhere" {
    copy m
    echo secret >secret.txt
    ln -s ../secret.txt m/notes.txt
    fails 65 "the link leaves the model's folder: m/notes.txt" st-convert --dtype f32 m out
    [ ! -e out ] && [ -z "$(find . -name 'out*')" ]
    rm m/notes.txt
    echo '{"a": 1}' >secret.json
    mv m/config.json real.json
    ln -s ../real.json m/config.json
    fails 65 "the link leaves the model's folder: m/config.json" st-convert --dtype f32 m out
    rm m/config.json
    mv real.json m/config.json
    ln -s config.json m/inside.json
    st-convert --dtype f32 m out
    cmp m/config.json out/inside.json
    # A Hugging Face cache is made of links to blobs.
    repo=models--org--name
    mkdir -p "$repo/blobs" "$repo/snapshots/abc"
    for f in m/*; do
        [ -L "$f" ] && continue
        mv "$f" "$repo/blobs/${f#m/}"
        ln -s "../../blobs/${f#m/}" "$repo/snapshots/abc/${f#m/}"
    done
    st-convert --dtype f32 "$repo/snapshots/abc" cached
    cmp cached/model.safetensors out/model.safetensors
    ln -s ../../../secret.txt "$repo/snapshots/abc/notes.txt"
    fails 65 "the link leaves the model's folder" st-convert --dtype f32 "$repo/snapshots/abc" other
}

# ---- Work and memory ----

@test "a slow regular expression ends with an error, and soon" {
    python3 -c 'print("a" * 31000, end="")' >a
    python3 -c 'print(("a" * 23 + " ") * 4000, end="")' >words
    for pattern in '(a|aa)+$' '(a+)+$' '(?:.*.*.*)[xy]' '(?:a|a)*[bc]'; do
        p=$(jq -n --arg p "$pattern" '{type: "Split", pattern: {Regex: $p}, behavior: "Isolated", invert: false}')
        toy slow.json "{\"pre_tokenizer\": $p}"
        { cat a; echo '!'; } >text
        fails 65 "gives up: the text takes too many steps" timeout 60 tok-encode -m slow.json text
        fails 65 "gives up: the text takes too many steps" timeout 60 tok-encode -m slow.json words || [ "$pattern" != '(a+)+$' ]
    done
    toy norm.json '{"normalizer": {"type": "Replace", "pattern": {"Regex": "(a|aa)+$"}, "content": ""}}'
    fails 65 "gives up" timeout 60 tok-encode -m norm.json text
    toy dec.json '{"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": {"Regex": "(a|aa)+$"}, "content": ""}]},
                   "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!": 1}, "unk_token": "<unk>"}}'
    { yes 1 | head -2000 | tr '\n' ' '; echo; } >ids
    fails 65 "gives up" timeout 60 tok-decode -m dec.json ids
    toy verb.json '{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a(*ACCEPT)b"}, "behavior": "Isolated", "invert": false}}'
    fails 65 "a verb" tok-encode -m verb.json a
}

@test "decoders of a tokenizer.json cannot take all memory" {
    double='{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}'
    list=$double
    for i in $(seq 33); do list="$list, $double"; done
    toy dec.json "{\"decoder\": {\"type\": \"Sequence\", \"decoders\": [$list]}}"
    echo 1 >ids
    fails 65 "the decoders make too much text of the ids" within_memory 1000000 timeout 20 tok-decode -m dec.json ids
    fails 65 "sequence 1" within_memory 1000000 timeout 20 tok-decode -j -m dec.json ids
    toy some.json "{\"decoder\": {\"type\": \"Sequence\", \"decoders\": [$double, $double]}}"
    [ "$(tok-decode -m some.json ids)" = aaaa ]
}

# ---- Streams and records ----

@test "a stream of a program that was cut inside a line is an error in every later stage" {
    tok-encode <<<'Once upon a time' >whole
    n=$(stat -c %s whole)
    head -c $((n - 1)) whole >cut      # between the last id and the newline
    head -c $((n - 2)) whole >cut-id   # inside or before the last id
    for s in cut cut-id; do
        for o in "" -l -0 -j --pieces; do
            # shellcheck disable=SC2086
            fails 65 "the stream was cut: line 2 has no newline" tok-decode $o "$s"
        done
        run -65 --separate-stderr llm-forward --no-return "$s"
        run --separate-stderr sh -c "llm-forward --no-return $s | llm-inspect"
        [ "$status" -eq 1 ]
        [[ $output == *"the stream was cut"* ]]
    done
    # What a person writes has no header, and may lack the last newline.
    grep -v '^#' whole | tr -d '\n' >typed
    [ "$(tok-decode typed)" = "$(tok-decode whole)" ]
    llm-forward --no-return typed >/dev/null
}

@test "tok-decode -0: a NUL byte of a text does not end a record" {
    printf 'a\0b' | tok-encode >ids
    tok-decode -0 ids >out
    printf 'a b\0' | cmp - out
    printf 'a\0b' | cmp - <(tok-decode ids)
}

@test "llm-sample --limit: attributes cannot ask for more" {
    printf '{"text": "hi", "params": {"max": 60, "ignore_eos": 1}}\n{"text": "hi", "params": {"max": 2, "ignore_eos": 1}}\n' >records
    run --separate-stderr sh -c 'tok-encode -j records | llm-forward | llm-sample -s 1 -n 20 --limit 5'
    [ "$(grep -o 'completion=[0-9]*' <<<"$output" | tr '\n' ' ')" = "completion=5 completion=2 " ]
    run --separate-stderr sh -c 'tok-encode -j records | llm-forward | llm-sample --limit 0'
    [ "$(grep -c 'completion=0' <<<"$output")" -eq 2 ]
    fails 2 "--limit" llm-sample --limit x
}

# ---- Files that change ----

@test "a mapped file that becomes shorter: a message and exit 74" {
    copy m
    mkfifo in
    llm-forward -m m --no-return in >/dev/null 2>message &
    pid=$!
    exec 9>in
    printf '1 2 3\n' >&9
    for i in $(seq 100); do grep -q m/model.safetensors "/proc/$pid/maps" && break; sleep 0.05; done
    sleep 0.3
    truncate -s 4096 m/model.safetensors
    printf '4 5 6\n' >&9
    exec 9>&-
    code=0
    wait $pid || code=$?
    [ $code -eq 74 ] || { echo "exit $code"; cat message; return 1; }
    grep -qF "llm-forward: the file became shorter while it was in use: m/model.safetensors" message
}

@test "nothing is left when memory ends" {
    copy m
    sanitized asan && skip "not under a sanitizer"
    for kb in 4000 6000 8000 10000 12000 16000 20000; do
        (ulimit -v $kb; st-convert --dtype f32 m out 2>/dev/null) || true
        rm -rf out
        [ -z "$(find . -name 'out*')" ]
    done
    mkdir tmp
    for kb in 4000 6000 8000 10000 12000 16000 20000; do
        (ulimit -v $kb; TMPDIR=$PWD/tmp XDG_RUNTIME_DIR='' llm-forward -m m <<<'1 2' 2>/dev/null | head -c 0) || true
        [ -z "$(ls -A tmp)" ]
    done
}

@test "a failing realloc never shortens the output without a word" {
    sanitized asan && skip "not under a sanitizer"
    command -v cc >/dev/null || skip "there is no cc"
    cc -shared -fPIC -o fail.so "$ROOT/tests/lib/fail_realloc.c" -ldl
    python3 -c 'print("some words of text " * 2000 + "\n" + "more " * 3000)' >lines
    tok-encode -l lines >whole # libseccomp does not check all of its own, so without the sandbox
    failed=0
    for k in $(seq 1 60); do
        code=0
        LD_PRELOAD=$PWD/fail.so FAIL_REALLOC=$k tok-encode --no-sandbox -l lines >out 2>message || code=$?
        if [ $code -eq 0 ]; then
            cmp out whole
        else
            [ $code -eq 71 ] && [ -s message ] || { echo "realloc $k: exit $code"; cat message; return 1; }
            failed=$((failed + 1))
        fi
    done
    [ $failed -gt 5 ]
}

# ---- Pinning ----

@test "--hash --all: configurations, tokenizer and templates are in the list, in b2sum's format" {
    copy m
    mkdir m/additional_chat_templates
    echo '{{ messages }}' | tee m/chat_template.jinja >m/additional_chat_templates/tool_use.jinja
    st-inspect --hash --all m >list
    (cd m && grep -v 'safetensors:' ../list | b2sum -l 256 -c --quiet)
    for f in config.json tokenizer.json chat_template.jinja additional_chat_templates/tool_use.jinja model.safetensors; do
        grep -q "  $f\$" list
    done
    diff <(grep safetensors list) <(st-inspect --hash m | grep safetensors)
    st-inspect --check list m
    tok-encode -m m --verify list <<<hello >ids
    llm-forward -m m --verify list --no-return ids >/dev/null
    fails 2 "--all goes with --hash" st-inspect --all m
}

@test "--verify: a file that differs, is missing or is new is refused by every program" {
    copy m
    st-inspect --hash --all m >list
    refused() { # FILE WHAT
        fails 1 "'$1' $2" tok-encode -m m --verify list --no-special /dev/null
        fails 1 "'$1' $2" sh -c 'echo 1 | llm-forward -m m --verify list --no-return'
        run -1 st-inspect --check list m
        [[ $output == *"$1: "* ]]
    }
    for f in config.json tokenizer.json tokenizer_config.json generation_config.json; do
        [ -e "m/$f" ] || continue
        cp "m/$f" saved
        echo ' ' >>"m/$f"
        refused "$f" differs
        [ "$f" = config.json ] || { rm "m/$f"; refused "$f" "is missing"; }
        cp saved "m/$f"
    done
    echo '{{ messages }}' >m/chat_template.jinja
    refused chat_template.jinja "is not in the list"
    rm m/chat_template.jinja
    # Another file of weights matters where weights are read.
    printf x >>m/model.safetensors
    tok-encode -m m --verify list /dev/null >/dev/null
    # A list of weights alone still works where it did, and does not do for a tokenizer.
    copy m
    st-inspect --hash m >weights
    echo 1 | llm-forward -m m --verify weights --no-return >/dev/null
    fails 65 "the list has no tokenizer.json or configuration" tok-encode -m m --verify weights /dev/null
    fails 2 "--verify needs a model's folder" tok-encode -m m/tokenizer.json --verify list /dev/null
    fails 66 "nolist" tok-encode -m m --verify nolist /dev/null
}

#!/usr/bin/env bats
# Memory and time follow what is there, not what is claimed.
# Absurd sizes: numbers of 2^63, nesting 10,000 deep, a million tensors, strings of a GB. Each is refused in
# under a second of CPU time and with under 64 MiB of address space, with the exit code that the pages say
# and a message that names the place. tests/lib/absurd.py makes the files.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup_file() {
    mkdir "$BATS_FILE_TMPDIR/absurd"
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" "$BATS_TEST_DIRNAME/data/tiny" "$BATS_FILE_TMPDIR/absurd"
    printf 'a\n' >"$BATS_FILE_TMPDIR/absurd/text"
    printf '1 2 3\n' >"$BATS_FILE_TMPDIR/absurd/three"
    echo '{"messages":[{"role":"user","content":"x"}]}' >"$BATS_FILE_TMPDIR/absurd/chat"
}

setup() {
    T=$DATA/tiny
    cd "$BATS_FILE_TMPDIR/absurd"
}

# KB of address space that a program's own code takes: kernels for GPUs are 13 MB of it where they are built in.
code_kb() {
    size "$BIN/${1##*/}" 2>/dev/null | awk 'NR == 2 { n = $1 + $2 } END { print int(n / 1024) }'
}

# Runs a command with at most KB of address space beside its code, and a second of CPU time; a sanitizer needs several
# times both.
bounded() {
    local kb=$(($1 + $(code_kb "$2"))) seconds=1
    shift
    if sanitized; then
        kb=$((kb * 4)) seconds=20
    fi
    (ulimit -t "$seconds" && within_memory "$kb" timeout 120 "$@")
}

# A command fails with the exit code and the text:  refused CODE TEXT COMMAND...
refused() {
    local want=$1 text=$2 status=0
    shift 2
    bounded "${KB:-65536}" "$@" >out 2>err </dev/null || status=$?
    [ "$status" -eq "$want" ] || { echo "$*: exit $status, not $want: $(head -c 300 err)"; return 1; }
    [[ $(<err) == *"$text"* ]] || { echo "$*: no '$text' in: $(head -c 1000 err)"; return 1; }
}

# The same for each line "FILE: TEXT" of stdin, with exit code 65; the file is appended to the command.
refuses() {
    local file text
    while IFS=' ' read -r file text; do
        refused 65 "$text" "$@" "${file%:}" || return 1
        [[ $(<err) == *"${file%:}"* ]] || { echo "$* $file not named: $(head -c 1000 err)"; return 1; }
    done
}

@test "every program starts with 64 MiB of addresses" {
    for program in "$BIN"/*; do
        bounded 65536 "$program" --version >out
        grep -q tokpipe out || grep -q "$(basename "$program")" out
    done
}

@test "st-inspect: elements, offsets, lengths, nesting, a million tensors" {
    refuses st-inspect <<'TABLE'
st-elements: tensor 'w', F32 [9223372036854775808]: too large
st-product: tensor 'w', F32 [4294967296, 4294967296]: too large
st-offsets: tensor 'w' ends at data byte 1152921504606846976, but the file has 0 bytes of data
st-length: header of 9223372036854775808 bytes, the format's limit is 100000000
st-nesting: line 1, byte 5
TABLE
    KB=98304 refused 65 "more than 524288 tensors: st-million" st-inspect st-million # a file is mapped whole: 58 MB
}

@test "st-inspect: a header that is one string of 100 MB, in a sparse file of a GB" {
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" sparse st-string string
    sanitized || refused 71 "cannot map string" st-inspect string # a file is mapped whole
    KB=1200000 refused 65 "control byte 0x00: string: line 1, byte 2" st-inspect string
}

@test "st-inspect, llm-forward: an index of a million tensors, nesting in an index" {
    for program in "st-inspect -m" "llm-forward --no-return three -m"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
m-index: more than 524288 tensors
m-index-nesting: line 1, byte 14
TABLE
    done
}

@test "st-convert: GGUF counts, lengths and dimensions of 2^63" {
    for file in gguf-*; do
        refused 65 "$file: byte " st-convert "$file" folder
        [ ! -e folder ]
    done
    refused 65 "a count of 9223372036854775808 tensors" st-convert gguf-tensors folder
    refused 65 "a count of 9223372036854775808 keys" st-convert gguf-keys folder
    refused 65 "a string of 9223372036854775808 bytes" st-convert gguf-string folder
    refused 65 "a key of 9223372036854775808 bytes" st-convert gguf-key folder
    refused 65 "array 'tokenizer.ggml.tokens' of 9223372036854775808 items" st-convert gguf-array folder
    refused 65 "tensor 'w' has an impossible dimension 9223372036854775808" st-convert gguf-dims folder
    for file in st-elements st-product st-offsets st-length; do
        refused 65 "$file" st-convert --dtype f16 "$file" folder
        [ ! -e folder ]
    done
}

@test "st-convert: a GGUF string of a GB, in a sparse file" {
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" sparse gguf-value value.gguf
    sanitized || refused 71 "cannot map value.gguf" st-convert value.gguf folder # a file is mapped whole
    KB=1200000 refused 65 "a string of 1073741824 bytes, more than 16777216: value.gguf: byte 64" \
        st-convert value.gguf folder
}

@test "llm-forward, st-inspect --spec: a config.json with a billion layers, heads, experts, ids" {
    for program in "llm-forward --no-return three -m" "st-inspect --spec -m"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
m-layers: num_hidden_layers is 1000000000, but must be a whole number from 1 to 1024
m-layers-huge: num_hidden_layers is 9223372036854775808, but must be
m-layers-1e30: num_hidden_layers is 1000000000000000000000000000000, but must be
m-hidden: hidden_size is 9223372036854775808, but must be
m-heads: num_attention_heads is 1000000000, but must be
m-kv-heads: num_key_value_heads is 1000000000, but must be
m-head-dim: head_dim is 1000000000, but must be
m-ffn: intermediate_size is 1000000000, but must be
m-vocab: vocab_size is 9223372036854775808, but must be
m-positions: max_position_embeddings is 9223372036854775808, but must be
m-experts: num_local_experts is 1000000000, but must be
m-rope: factor is 1e+300, but must be
m-eos: more than 4194304 bytes
m-types: more than 4194304 bytes
m-keys: more than 512 keys
m-nesting: JSON is nested deeper than 256
TABLE
    done
}

@test "files of a folder that are one string of a GB" {
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" sparse json-string string.json
    cp -rL "$T" folder
    for name in config.json generation_config.json model.safetensors.index.json; do
        cp -rL "$T" m
        [ "$name" != model.safetensors.index.json ] || rm m/model.safetensors
        ln -sf ../string.json "m/$name"
        refused 65 "bytes: m/$name" llm-forward --no-return -m m three
        rm -r m
    done
    refused 65 "the file has 1073741839 bytes, more than 1073741824: string.json" tok-encode -m string.json text
    refused 65 "the file has 1073741839 bytes, more than 1073741824: string.json" tok-decode -m string.json three
    ln -sf ../string.json folder/tokenizer_config.json
    refused 65 "more than 67108864 bytes: folder/tokenizer_config.json" tok-encode --chat -j -m folder chat
    refused 65 "string.json" st-inspect --check string.json -m "$T"
    refused 65 "string.json" llm-forward --no-return --verify string.json -m "$T" three
}

@test "tok-encode, tok-decode: tokenizer.json with deep nesting, huge ids and expressions, 2,000 steps" {
    for program in "tok-encode text -m" "tok-decode three -m"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
nesting: JSON has byte 0x5b where an object was expected
objects: JSON is nested deeper than 256
tok-nesting: JSON is nested deeper than 256
tok-sequences: JSON is nested deeper than 256
tok-regex: deep
tok-classes: deep
tok-repeat: regular expression is too large
tok-steps: more than 128 steps
tok-id: token id 9223372036854775808, more than 16777215
TABLE
    done
}

@test "tok-encode: nested records, templates that nest, repeat and call themselves" {
    refused 1 "JSON has byte 0x5b where a string was expected: byte 8: record-text: line 1" tok-encode -j -m "$T" record-text
    refused 1 "JSON is nested deeper than 256: byte 1537: record-chat: line 1" tok-encode -j --chat -m "$T" record-chat
    refused 65 "nested deeper than 200: jinja-blocks.d" tok-encode -j --chat chat -m jinja-blocks.d
    refused 65 "brackets are nested too deeply: jinja-brackets.d" tok-encode -j --chat chat -m jinja-brackets.d
    refused 65 "nested deeper than 200: jinja-minus.d" tok-encode -j --chat chat -m jinja-minus.d
    refused 65 "nested deeper than 200: jinja-not.d" tok-encode -j --chat chat -m jinja-not.d
    refused 1 "nests deeper than 1000: jinja-calls.d" tok-encode -j --chat chat -m jinja-calls.d
    refused 1 "range() arguments are too large: jinja-range.d" tok-encode -j --chat chat -m jinja-range.d
    refused 1 "bytes of memory (see --template-memory): jinja-repeat.d" tok-encode -j --chat chat -m jinja-repeat.d
    refused 1 "ValueError: unsupported format character '8': jinja-width.d" tok-encode -j --chat chat -m jinja-width.d
}

@test "tok-decode, llm-forward: tokens(5) with absurd ids, vocabularies, lines and attributes" {
    for program in "tok-decode -m $T" "llm-forward --no-return -m $T"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
tokens-vocab: the header's vocab= is not a number of ids
tokens-id: a token id is larger than 2147483647
tokens-digits: a token id is larger than 2147483647
tokens-line: a '#' or '!' line is longer than 1 MiB
tokens-attrs: the attributes of a sequence are longer than 1 MiB
tokens-results: the results of a sequence are longer than 1 MiB
TABLE
    done
}

@test "llm-sample, llm-inspect, llm-score, llm-diff: logits(5) that claims 2^32 rows, ids and bytes" {
    for program in llm-sample llm-inspect llm-score "llm-diff logits-cut"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
logits-cut: the stream was cut
TABLE
    done
    for program in llm-sample llm-inspect llm-score; do
        refuses $program <<'TABLE'
logits-vocab: the vocabulary size is not in 1 .. 16777216
logits-hidden: the hidden size is larger than 1048576
logits-context: the context length is not in 1 .. 268435456
logits-eos: more than 1024 EOS ids
logits-ids: the number of ids is out of bounds
logits-text: the length of the text is out of bounds
logits-rows: the number of rows is out of bounds
logits-payload: the payload's length does not match its parts
logits-promised: the stream was cut inside a frame
TABLE
    done
    for file in logits-*; do
        refused 65 "$file: byte " llm-diff "$file" "$file"
    done
    refused 65 "sequence 16777216 comes while 0 is not finished" llm-sample logits-ahead
}

@test "llm-forward, st-inspect --spec: a quantization_config with deep nesting and ten thousand modules" {
    for program in "llm-forward --no-return three -m" "st-inspect --spec -m"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
m-bits-nesting: JSON is nested deeper than 256
m-bits-kinds: more than 512 keys
TABLE
    done
}

@test "st-quantize: statistics with absurd shapes" {
    refuses st-quantize "$T" small --stats <<'TABLE'
st-elements: tensor 'w', F32 [9223372036854775808]: too large
st-offsets: tensor 'w' ends at data byte 1152921504606846976
st-length: header of 9223372036854775808 bytes
st-nesting: line 1, byte 5
TABLE
    [ ! -e small ]
}

@test "vec-index, vec-search: vectors(5) that claim 2^32 values and bytes" {
    python3 -c "import sys; sys.path.insert(0, '$BATS_TEST_DIRNAME/lib'); import make_vectors as v
sys.stdout.buffer.write(v.header(3) + v.record(0, [1.0, 0.5, -1.0], b'id=r0') + v.end(1))" >vectors
    vec-index -q -i good vectors
    for program in "vec-index -i new" "vec-search -i good"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
vectors-dim: the dimension
vectors-payload: payload
vectors-attrs: 
vectors-reason: 
TABLE
    done
    refused 65 "cut" vec-index -i other vectors-cut
}

@test "vec-index, vec-search: an index(5) that claims 2^63 records, words and bytes" {
    for program in "vec-index --list -i" "vec-search vectors -i"; do
        # shellcheck disable=SC2086
        refuses $program <<'TABLE'
index-records: more than 1073741824 records
index-product: do not fit the file
index-blob: do not fit the file
index-words: more words than texts have
TABLE
    done
    python3 -c "import sys; sys.path.insert(0, '$BATS_TEST_DIRNAME/lib'); import make_vectors as v
sys.stdout.buffer.write(v.header(3) + v.record(0, [1.0, 0.5, -1.0], b'id=r0') + v.end(1))" >vectors
    for program in "vec-index --list -i" "vec-index --missing -i" "vec-index vectors -i"; do # would write 5 GB
        # shellcheck disable=SC2086
        refused 65 'record 1 shares bytes with another one: index-shared' $program index-shared
    done
    bounded 65536 vec-search -i index-shared vectors >out # it copies nothing
}

@test "llm-embed: modules.json with deep nesting and many modules, and one that is a string of a GB" {
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" sparse json-string modules-string
    python3 -c "print('[' * 10000 + ']' * 10000)" >modules-nesting
    python3 -c "print('[' + ','.join(['{\"type\": \"sentence_transformers.models.Normalize\"}'] * 1000000) + ']')" >modules-many
    for name in string nesting many; do
        cp -rL "$DATA/embed/bert" m
        ln -sf "../modules-$name" m/modules.json
        refused 65 m/modules.json llm-embed -m m three
        rm -r m
    done
}

@test "doc-chunk: a heading of a MB over 1,000 sections is refused; 10 MB without an end take seconds" {
    refused 65 "the headings above its sections take more than 16 times the document" doc-chunk -m "$T" headings.md
    sanitized && skip "a sanitizer is too slow for a bound of seconds"
    python3 -c "print('word ' * 400000)" >words
    python3 -c "print('x' * 300000, 'y' * 300000, ' ' * 300000)" >letters
    python3 -c "print('A sentence. ' * 200000)" >sentences
    for file in words letters sentences; do
        for options in "" "--overlap 16"; do
            # shellcheck disable=SC2086
            (ulimit -t 60 && within_memory 200000 doc-chunk -n 64 $options -m "$T" "$file") >out
        done
    done
}

# ---- What is used is what is taken ----

@test "llm-embed: a hundred thousand lines that fail after one that does not take little memory" {
    { echo 1 2 3; python3 -c "print('#@ note=' + 'x' * 300 + '\n! no\n' * 1, end='')" | { read -r attrs; read -r failed
        for _ in $(seq 1000); do printf '%s\n%s\n' "$attrs" "$failed"; done; }; } >some
    for _ in $(seq 200); do cat some; done >lines
    status=0
    (ulimit -t 60 && within_memory 150000 llm-embed -q -j -m "$DATA/embed/bert" lines) >out 2>err || status=$?
    [ "$status" -eq 1 ]
    [ "$(wc -l <out)" -eq 200200 ]
}

@test "llm-forward, llm-embed, llm-sample: a tokenizer.json of a GB is not hashed" {
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" sparse json-string string.json
    for model in "$T" "$DATA/embed/bert"; do
        cp -rL "$model" m
        ln -sf ../string.json m/tokenizer.json
        program="llm-forward --no-return"
        [ "$model" = "$T" ] || program=llm-embed
        # shellcheck disable=SC2086
        refused 65 "the file has 1073741839 bytes, more than 1073741824: m/tokenizer.json" $program -m m three
        rm -r m
    done
}

@test "llm-forward: a context of 268435456, 4096 sequences and a large cache take no memory" {
    bounded 65536 llm-forward --no-return -q -m "$T" -c 268435456 -b 4096 --keep 1048576 three >large
    bounded 65536 llm-forward --no-return -m "$T" three >plain
    cmp <(tail -c +257 large) <(tail -c +257 plain) # after the header, which names the context
    cp -rL "$T" context
    sed -i 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 268435456/' context/config.json
    bounded 65536 llm-forward --no-return -m context three >large
    cmp <(tail -c +257 large) <(tail -c +257 plain)
}

@test "llm-forward: where memory is short, the message names -b and -c" {
    sanitized && skip "a sanitizer's memory is not limited so tightly"
    seen=0
    code=$(code_kb llm-forward)
    for kb in 11000 12000 13000 14000 15000 16000 17000; do
        (ulimit -v $((kb + code)) && exec llm-forward --no-return -m "$T" three) >out 2>err && continue
        [ -s err ] || continue                                                           # no room for its code
        grep -q 'cannot map\|cannot start thread\|error while loading' err && continue # it cannot begin at all
        grep -q -e '-b.*-c' err
        seen=$((seen + 1))
    done
    [ "$seen" -gt 0 ]
}

@test "llm-sample: 200,000 sequences that wait take some 200 bytes each" {
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" frames open-ahead 200000 >waiting
    refused 65 "the stream has no sequence 0" llm-sample waiting
}

@test "readers of 120,000 sequences, in any order, take linear time" {
    sanitized && skip "a sanitizer is too slow for a bound of seconds"
    while read -r frames programs; do
        python3 "$BATS_TEST_DIRNAME/lib/absurd.py" frames "$frames" 120000 >many
        for program in $programs; do
            status=0
            (ulimit -t 4 && exec "$program" many) >out 2>err || status=$?
            [ "$status" -lt 124 ] || { echo "$program $frames: exit $status"; false; }
        done
    done <<'TABLE'
open-open llm-inspect llm-score llm-sample
open-down llm-sample
close-down llm-inspect llm-score
both-open llm-inspect
TABLE
}

@test "tok-decode: result lines without end take no memory" {
    python3 -c 'print("5\n#= finish=" + "x" * 90 + "\n", end="")' >one
    for _ in $(seq 1000); do cat one; done >thousand
    for _ in $(seq 300); do cat thousand; done >results # 30 MB
    for form in -l -j; do
        (ulimit -t 20 && within_memory 65536 tok-decode "$form" -m "$T" results) >out
    done
}

@test "tok-encode: long tokens that begin everywhere are refused, not tried for minutes" {
    mkdir slow
    python3 "$BATS_TEST_DIRNAME/lib/absurd.py" slow slow
    for kind in unigram added; do
        status=0
        (ulimit -t 20 && exec tok-encode -m "slow/$kind.json" slow/text) >out 2>err || status=$?
        [ "$status" -eq 65 ]
        grep -q 'takes more than 256 steps a byte' err
        tok-encode -m "slow/$kind.json" slow/short >out # short texts are never refused
    done
}

@test "tok-encode: templates that nest work or are refused on any stack" {
    for template in \
        '{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(300) }}' \
        '{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(150) }}' \
        "{{ $(printf '(%.0s' {1..190})1$(printf ')%.0s' {1..190}) }}" \
        "{{ 1$(printf ' + 1%.0s' {1..900}) }}" \
        "{{ 1$(printf '|string%.0s' {1..900}) }}" \
        "$(printf '{%% if 1 %%}%.0s' {1..190})$(printf '{%% endif %%}%.0s' {1..190})" \
        '{% set ns = namespace(l=[]) %}{% for i in range(900) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}'; do
        rm -rf nest
        mkdir nest
        ln -s "$T/tokenizer.json" nest/
        jq -n --arg t "$template" '{chat_template: $t}' >nest/tokenizer_config.json
        cat chat chat >chats
        for stack in 64 128 256 8192; do
            sanitized && [ "$stack" -lt 8192 ] && continue # its frames are larger than the reserve
            for threads in 1 2; do
                status=0
                (ulimit -s "$stack" && exec tok-encode -j --chat -t "$threads" -m nest chats) >out 2>err || status=$?
                case $status in
                0 | 1 | 65) ;;
                *) echo "stack $stack, $threads threads: exit $status: $template"; false ;;
                esac
                [ "$status" -eq 0 ] || grep -q 'deeper than\|more parts than' err
            done
        done
    done
}

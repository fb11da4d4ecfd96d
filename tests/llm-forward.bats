#!/usr/bin/env bats
# llm-forward alone: refusals, ends, and what its stream holds.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/models/llama # vocabulary 288, context 256
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
}

# The types of frames of a stream, in order: "OPEN LOGI CLOS END".
frames() { python3 "$ROOT/tests/lib/frames.py" "$@"; }

# ids 1..N on one line
ids() { seq -s ' ' 1 "$1"; }

@test "a prompt gives its last position's logits, and the stream ends" {
    echo 1 5 9 | llm-forward --no-return >out
    [ "$(frames out)" = "OPEN:0 LOGI:0@2x1 CLOS:0 END" ]
}

@test "-a gives every position, --hidden the hidden states beside them" {
    echo 1 5 9 | llm-forward --no-return -a --hidden >out
    [ "$(frames out)" = "OPEN:0 LOGI:0@0x3 HIDD:0@0x3 CLOS:0 END" ]
    echo 1 5 9 | llm-forward --no-return -a --chunk 2 >out
    [ "$(frames out)" = "OPEN:0 LOGI:0@0x2 LOGI:0@2x1 CLOS:0 END" ]
}

@test "no input is a whole stream without sequences" {
    llm-forward --no-return </dev/null >out
    [ "$(frames out)" = "END" ]
}

@test "prompts that have come run one after the other, also where no more input comes" {
    (printf '1 5 9\n1 5 8\n1 5 7\n'; sleep 4) | timeout 2 "$BIN/llm-forward" --no-return -b 1 >out || true
    [ "$(frames --cut out)" = "OPEN:0 LOGI:0@2x1 CLOS:0 OPEN:1 LOGI:1@2x1 CLOS:1 OPEN:2 LOGI:2@2x1 CLOS:2" ]
}

@test "a file is read as stdin is, and - is stdin" {
    echo 1 5 9 >ids
    llm-forward --no-return ids >a
    llm-forward --no-return - <ids >b
    cmp a b
    fails 66 "cannot open nowhere" llm-forward --no-return nowhere
    fails 2 "one FILE at most" llm-forward --no-return ids ids
}

@test "one bad sequence fails alone, with its reason, and the exit status says so" {
    printf '1 5 9\n\n1 288 3\n! upstream said no\n%s\n7 8' "$(ids 257)" >ids
    run --separate-stderr llm-forward --no-return -b 1 ids
    [ "$status" -eq 1 ]
    [ "${#stderr_lines[@]}" -eq 3 ] # not the one that was said before
    [[ $stderr == *"sequence 1: the sequence is empty"* ]]
    [[ $stderr == *"sequence 2: id 288 is not in the vocabulary of 288: id 2 of the sequence"* ]]
    [[ $stderr == *"sequence 4: 257 ids do not fit into the context of 256"* ]]
    llm-forward --no-return -b 1 ids 2>/dev/null >out || true
    [ "$(frames out)" = "OPEN:0 LOGI:0@2x1 CLOS:0 OPEN:1 FAIL:1 OPEN:2 FAIL:2 OPEN:3 FAIL:3 OPEN:4 FAIL:4 OPEN:5 LOGI:5@1x1 CLOS:5 END" ]
    [ "$(frames --text out)" = "the sequence is empty: there is nothing to go on from
id 288 is not in the vocabulary of 288: id 2 of the sequence
upstream said no
257 ids do not fit into the context of 256" ]
}

@test "-q keeps refusals from stderr, not from the stream" {
    run --separate-stderr sh -c 'echo 999 | llm-forward -q --no-return >out'
    [ "$status" -eq 1 ]
    [ -z "$stderr" ]
    [ "$(frames out)" = "OPEN:0 FAIL:0 END" ]
}

@test "attributes go on to who comes next, of failed sequences too" {
    printf '#@ id=a max=3\n1 2\n# comment\n#@ id=b\n#@ seed=1\n\n' | llm-forward -q --no-return >out || true
    [ "$(frames --text out)" = "id=a max=3
id=b seed=1
the sequence is empty: there is nothing to go on from" ]
}

@test "bad bytes end the input, after what came before them" {
    run --separate-stderr sh -c 'printf "1 5 9\n2 x 3\n4 5\n" | llm-forward --no-return >out'
    [ "$status" -eq 65 ]
    [[ $stderr == *"stdin: line 2, byte 3"* ]]
    [[ "$(frames out | tr ' ' '\n' | sort | tr '\n' ' ')" = "CLOS:0 END FAIL:1 LOGI:0@2x1 OPEN:0 OPEN:1 " ]]
}

@test "the context can be made smaller" {
    run --separate-stderr sh -c "echo 1 2 3 4 5 | llm-forward --no-return -c 4 >out"
    [ "$status" -eq 1 ]
    [[ $stderr == *"5 ids do not fit into the context of 4"* ]]
    echo 1 2 3 4 | llm-forward --no-return -c 4 >out
}

@test "ids of another tokenizer are refused as a whole, with both names" {
    cp -r "$DATA/tiny" model
    hex=$(b2sum -l 256 model/tokenizer.json | cut -c 1-16)
    printf '# tokens vocab=99 tokenizer=00000000000000aa\n1 2\n' >ids
    fails 65 "the ids were made with tokenizer 00000000000000aa, the model has tokenizer $hex" llm-forward -m model --no-return ids
    printf "# tokens tokenizer=$hex\n1 2\n" >ids
    llm-forward -m model --no-return ids >out
    [ "$(xxd -s 80 -l 8 -e -g 8 out | cut -d ' ' -f 2)" = "$hex" ]
}

@test "a tokenizer may have more ids than the model has rows: only a sequence with such an id is refused" {
    cp -r "$LLM_MODEL" model
    cp "$DATA/tiny/tokenizer.json" model/
    hex=$(b2sum -l 256 model/tokenizer.json | cut -c 1-16)
    printf "# tokens vocab=289 tokenizer=$hex\n1 2\n288\n287\n" >ids
    run --separate-stderr sh -c 'llm-forward -m model --no-return -b 1 ids >out'
    [ "$status" -eq 1 ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr == *"id 288 is not in the vocabulary of 288: id 1 of the sequence"* ]]
    [ "$(frames out)" = "OPEN:0 LOGI:0@1x1 CLOS:0 OPEN:1 FAIL:1 OPEN:2 LOGI:2@0x1 CLOS:2 END" ]
    # Where nobody says which tokenizer it was, a larger vocabulary is told.
    printf '# tokens vocab=1000000\n1 2\n' >ids
    fails 0 "the ids were made with a vocabulary of 1000000, the model has one of 288" sh -c 'llm-forward -m model --no-return ids >out'
    fails 0 "" sh -c 'llm-forward -q -m model --no-return ids >out'
}

@test "without a tokenizer.json the stream's fingerprint is passed on" {
    printf '# tokens vocab=288 tokenizer=0123456789abcdef\n1 2\n' | llm-forward --no-return >out
    [ "$(xxd -s 80 -l 8 -e -g 8 out | cut -d ' ' -f 2)" = 0123456789abcdef ]
}

@test "a full disk is noticed" {
    fails 74 "No space left" sh -c 'echo 1 2 3 | llm-forward >/dev/full'
    fails 74 "No space left" sh -c 'echo 1 2 3 | llm-forward --no-return >/dev/full'
}

@test "closed descriptors are no crash and no silence" {
    fails 74 "" sh -c 'echo 1 2 3 | llm-forward --no-return >&-'
    fails 74 "" sh -c 'llm-forward --no-return <&- >out'
    echo 1 2 3 | llm-forward --no-return >out 2>&-
    [ "$(frames out)" = "OPEN:0 LOGI:0@2x1 CLOS:0 END" ]
}

@test "a folder for stdin is an I/O error" {
    fails 74 "Is a directory" sh -c 'llm-forward --no-return </ >out'
}

@test "a reader that leaves ends it quietly, by SIGPIPE" {
    run bash -c 'ids=$(seq -s " " 1 250); yes "$ids" | head -n 2000 | llm-forward -a --no-return | head -c 300 >/dev/null; echo "${PIPESTATUS[2]}"'
    [ "$output" = 141 ]
    run bash -c 'ids=$(seq -s " " 1 250); yes "$ids" | head -n 2000 | llm-forward -a | head -c 300 >/dev/null; echo "${PIPESTATUS[2]}"'
    [ "$output" = 141 ]
    [ -z "$(ls -d tokpipe-* 2>/dev/null)" ]
}

@test "without a peer it says what it waits for; TERM ends it, and its socket goes" {
    mkfifo pipe
    (cat pipe >out) &
    echo 1 2 3 | llm-forward 2>err >pipe &
    pid=$!
    for i in $(seq 100); do [ -s err ] && break; sleep 0.1; done
    grep -q -- "--no-return" err
    [ -n "$(ls -d tokpipe-*)" ]
    kill "$pid"
    wait "$pid" && false
    for i in $(seq 20); do ls -d tokpipe-* 2>/dev/null || break; sleep 0.1; done
    [ -z "$(ls -d tokpipe-* 2>/dev/null)" ]
    [ "$(frames --cut out)" = "OPEN:0 LOGI:0@2x1" ]
}

@test "what the command line cannot mean" {
    fails 2 "no model" env -u LLM_MODEL llm-forward --no-return
    fails 66 "nowhere" llm-forward -m nowhere
    fails 2 "-b" llm-forward -b 0
    fails 2 "-b" llm-forward -b 99999999999999999999
    fails 2 "-t" llm-forward -t 0
    fails 2 "-t" llm-forward -t x
    fails 2 "-c" llm-forward -c 0
    fails 2 "--chunk" llm-forward --chunk -1
    fails 2 "--keep" llm-forward --keep x
    fails 2 "--keep" llm-forward --keep 1048577
    fails 2 "LLM_ISA" env LLM_ISA=mmx llm-forward --no-return
}

@test "LLM_ISA=amx: used, or refused with the reason; amx-emulated gives one row's bits to any batch" {
    export LLM_MODEL=$DATA/models/llama
    if ! grep -qw amx_bf16 /proc/cpuinfo; then
        fails 2 "LLM_ISA is 'amx', which this CPU lacks" env LLM_ISA=amx llm-forward --no-return
    fi
    grep -qw avx512_bf16 /proc/cpuinfo || skip "this CPU has no AVX512-BF16"
    printf '%s\n' '1 2 3 4 5 6 7 8 9' '9 8 7' '5' >ids
    # LOGI frames of one row each, so that streams of any chunk are the same
    for LLM_MODEL in "$DATA/quant/fp8-block" "$DATA/models/llama-f16" "$DATA/models/llama"; do # the last stays
        LLM_ISA=amx-emulated llm-forward --no-return -q -t 1 --chunk 1 -b 1 -a ids >one
        LLM_ISA=amx-emulated llm-forward --no-return -q -t 2 -a ids >many
        run llm-diff -j one many
        [ "$status" -eq 0 ]
        [ "$(jq .rows <<<"$output")" -eq 13 ] && [ "$(jq .max <<<"$output")" = 0 ]
    done
    # avx512bf16 rounds the same values, and adds in another order
    LLM_ISA=avx512bf16 llm-forward --no-return -q -a ids >other
    run llm-diff -j other many
    [ "$status" -eq 0 ]
    jq -e '.max > 0 and .max < 0.02' <<<"$output"
}

@test "absurd input: a million ids in one line, a million lines, take little memory and end" {
    seq -s ' ' 1 1000000 >ids
    run --separate-stderr sh -c "llm-forward --no-return -c 100 -v ids >out"
    [ "$status" -eq 1 ]
    [[ $stderr == *"is not in the vocabulary"* ]]
    [ "$(sed -n 's/.*memory: peak \([0-9]*\) MB.*/\1/p' <<<"$stderr")" -lt 300 ]
    yes '' | head -n 100000 >ids
    run sh -c "llm-forward -q --no-return ids >out"
    [ "$status" -eq 1 ]
    [ "$(frames out | tr ' ' '\n' | grep -c FAIL)" -eq 100000 ]
}

@test "-v says how fast, and where the time went" {
    run --separate-stderr sh -c 'echo 1 2 3 | llm-forward -v --no-return >out'
    [ "$status" -eq 0 ]
    for word in "kernels" "first logits after" "prefill: 3 tokens" "GB/s\|prefill" "memory: peak"; do
        grep -q "$word" <<<"$stderr" || { echo "no '$word' in $stderr"; false; }
    done
}

@test "-v: the shares of the time add up to all of it" {
    for model in llama gemma3 mixtral qwen3; do
        # The second prompt comes 0.1 s after the first is answered, so llm-forward waits, however slowly it started.
        : >out
        (ids 100; until grep -q '^#=' out; do sleep 0.01; done; sleep 0.1; echo 4 5 6) |
            llm-forward -m "$DATA/models/$model" -v 2>err | llm-sample -n 30 --ignore-eos >>out
        for part in "opening the model" matmul attention "storing keys and values" norms "other row operations" head wire \
            "waiting for the sampler" "waiting for input" else; do
            grep -q "^llm-forward: time: .* %  $part\$" err || { echo "no '$part' in $(cat err)"; false; }
        done
        awk '/time: .* s in all/ { all = $3 } / %  / { s += $3; p += $5; if ($3 < 0) exit 1 }
             END { exit !(s > all - 0.01 && s < all + 0.01 && p > 99 && p < 101) }' err || { cat err; false; }
        awk '/ %  waiting for input/ { if ($3 < 0.05) exit 1 }' err || { cat err; false; }
    done
}

# What -v says was taken over, of the ids of $1, with options.
reused() {
    local ids=$1
    shift
    llm-forward --no-return -v "$@" "$ids" 2>&1 >kept | sed -n 's/.*reused: \([0-9]*\) tokens.*/\1/p'
}

@test "a prompt that goes on from an earlier one runs only what is new, and gives the same bits" {
    printf '%s\n' "$(ids 150)" "$(ids 150) 9 8 7" "$(ids 64)" "$(ids 65)" "$(ids 100) 5 $(ids 60)" "2 $(ids 150)" >ids
    for model in llama gemma3 mistral qwen3-moe; do
        export LLM_MODEL=$DATA/models/$model
        for options in "-b 1" "-b 3" "-b 1 --hidden" "-b 1 --hidden=all" "-b 1 --precise" "-b 1 --chunk 10 -t 1"; do
            llm-forward --no-return --keep 0 $options ids >all
            n=$(reused ids $options)
            [ "$n" -ge 128 ] || { echo "$model $options: $n"; false; }
            [ "$options" = "-b 3" ] || cmp all kept # together they may come in another order
            llm-diff --max 0 all kept >diff || { cat diff; false; }
        done
    done
    export LLM_MODEL=$DATA/models/llama
    [ "$(reused ids -b 1)" = $((128 + 0 + 64 + 64)) ]
    [ -z "$(reused ids -b 1 --keep 0)" ]
    [ -z "$(reused ids -b 1 -a)" ]
}

@test "of prompts that run together, those behind take over what the first has done" {
    for i in 1 2 3 4 5; do echo "$(ids 200) $i"; done >ids
    llm-forward --no-return --keep 0 -b 1 ids >all
    [ "$(reused ids -b 5 --chunk 16)" -ge 300 ]
    llm-diff --max 0 all kept >diff || { cat diff; false; }
}

@test "rotation that depends on the length: the same bits, kept or not" {
    for model in llama-dynamic-ntk phi3-longrope; do
        export LLM_MODEL=$DATA/models/$model
        printf '%s\n' "$(ids 70)" "$(ids 90)" "$(ids 20)" "$(ids 30)" >ids
        llm-forward --no-return --keep 0 -b 1 ids >all
        [ -z "$(reused ids -b 1)" ]
        cmp all kept
    done
}

@test "kept while others come through a pipe that stays open" {
    mkfifo in
    llm-forward --no-return -v in >out 2>err 9>&- &
    exec 9>in
    ids 200 >&9
    for i in $(seq 100); do [ "$(stat -c %s out)" -gt 2200 ] && break; sleep 0.05; done # its logits are there
    echo "$(ids 200) 7" >&9
    exec 9>&-
    wait $!
    grep -q "reused: 192 tokens" err
    (ids 200; echo "$(ids 200) 7") | llm-forward --no-return --keep 0 -b 1 | cmp - out
}

@test "--verify lets the listed weights run, and no others" {
    cp -r "$DATA/models/llama" model
    st-inspect --hash model >list
    echo 1 5 9 | llm-forward -m model --no-return --verify list >out
    [ "$(frames out)" = "OPEN:0 LOGI:0@2x1 CLOS:0 END" ]
    printf '\x01' | dd of=model/model.safetensors bs=1 seek=$(($(stat -c %s model/model.safetensors) - 1)) conv=notrunc status=none
    run --separate-stderr sh -c 'echo 1 5 9 | llm-forward -m model --no-return --verify list'
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    [[ $stderr == *model.safetensors* ]]
    fails 66 "nolist" llm-forward -m model --no-return --verify nolist
}

@test "weights that are not in memory, in one file or in shards, give the same bits" {
    for model in llama llama-sharded gpt2 mixtral; do
        cp -r "$DATA/models/$model" model
        echo 1 5 9 | llm-forward -m model --no-return -a >warm
        for i in 1 2 3; do
            python3 -c 'import glob, os
for f in glob.glob("model/*.safetensors"):
    fd = os.open(f, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)'
            echo 1 5 9 | llm-forward -m model --no-return -a | cmp - warm
        done
        rm -r model
    done
}

@test "of a sampler's bad requests 20 are named, and the others counted" {
    cat >rude.py <<'PY'
import os, socket, struct, sys
def read(n): return sys.stdin.buffer.read(n)
header = read(256)  # logits(5)
back = socket.socket(socket.AF_UNIX)
back.connect(header[104:212].rstrip(b"\0"))
stdin = os.fstat(0)
back.sendall(struct.pack("<8s16sIIQQ", b"LLM-RET1", header[88:104], 1, 0, stdin.st_dev, stdin.st_ino))
n = int(sys.argv[1])
back.sendall(b"".join(struct.pack("<4s5IQI", b"EXTD", 100 + i, 0, 1, 0, 1, 0, 5) for i in range(n)))
failed, closed = 0, False
while (frame := read(32))[:4] != b"END ":
    size = struct.unpack_from("<Q", frame, 24)[0]
    read(size + -size % 8)
    failed += frame[:4] == b"FAIL"
    if failed == n and not closed:
        back.sendall(struct.pack("<4s5IQ", b"CLOS", 0, 0, 0, 0, 0, 0))
        closed = True
print(failed)
PY
    for n in 20 150; do
        ids 3 >prompt
        { llm-forward prompt 2>message || echo $? >code; } | python3 rude.py $n >failed
        [ "$(cat code)" = 1 ]
        [ "$(cat failed)" = $n ]
        [ "$(grep -c '^llm-forward: sequence 1[0-9]*: ' message)" -eq 20 ]
        [ "$(wc -l <message)" -eq $((n > 20 ? 21 : 20)) ]
    done
    [ "$(tail -n 1 message)" = "llm-forward: 130 more sequences failed" ]
}

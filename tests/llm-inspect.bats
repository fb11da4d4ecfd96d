#!/usr/bin/env bats
# llm-inspect against the toy that stands in for llm-forward.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    printf '1 2 3\n4 5\n9\n' >ids
}

toy() { "$ROOT/tests/lib/toy-forward" "$@"; }

# The header's shape and the first column of the rows of a .npy file, by the standard library alone.
npy() {
    python3 -c '
import ast, struct, sys
b = open(sys.argv[1], "rb").read()
assert b[:8] == b"\x93NUMPY\x01\x00"
n = struct.unpack("<H", b[8:10])[0]
assert (10 + n) % 64 == 0 and b[9 + n:10 + n] == b"\n"
h = ast.literal_eval(b[10:10 + n].decode())
assert h["descr"] == "<f4" and h["fortran_order"] is False
rows, columns = h["shape"]
data = struct.unpack(f"<{rows * columns}f", b[10 + n:])
print(rows, columns, *["%g" % x for x in data[::columns]])' "$1"
}

@test "the table names the greedy choice first, with its probability" {
    toy --no-return <ids | llm-inspect -k 2 >out
    [ "$(wc -l <out)" -eq 9 ]
    [ "$(sed -n 1p out)" = "sequence 0, position 2, after 3: entropy 2.419 nats" ]
    toy --greedy 1 <ids | diff - <(awk 'NR % 3 == 2 { print $1 }' out)
    awk 'NR % 3 == 2 { p = $2 } NR % 3 == 0 && $2 > p { exit 1 }' out
}

@test "JSON lines: every row of every position, probabilities that sum to 1" {
    toy --no-return --all <ids | llm-inspect -j -k 32 >out
    [ "$(jq -c '[.seq, .pos, .after]' out | tr -d '\n')" = "[0,0,1][0,1,2][0,2,3][1,0,4][1,1,5][2,0,9]" ]
    jq -e '(.top | length) == 32 and (([.top[].p] | add) - 1 | fabs) < 1e-6' out >/dev/null
    jq -e '.entropy as $h | ([.top[].p | -(. * log)] | add) - $h | fabs < 1e-5' out >/dev/null
    jq -e '[.top[].logit] | . == (sort | reverse)' out >/dev/null
    [ "$(toy --no-return <ids | llm-inspect -j -k 0 | jq -c .top | sort -u)" = "[]" ]
}

@test "sequences come out in order when they come in mixed" {
    toy <ids | tee rec | llm-sample -n 4 >/dev/null # rows of three sequences in turn
    llm-inspect -j -k 1 rec >out
    [ "$(jq -c '[.seq, .pos]' out | tr -d '\n')" = "[0,2][0,3][0,4][0,5][1,1][1,2][1,3][1,4][2,0][2,1][2,2][2,3]" ]
    # The id behind each position is the greedy choice, which the next row comes after.
    jq -s -e '[.[] | select(.seq == 0)] | [.[:-1][].top[0].id] == [.[1:][].after]' out >/dev/null
    llm-inspect -j -k 1 --npy x.npy rec
    [ "$(npy x.npy | cut -d' ' -f1-2)" = "12 32" ]
}

@test "it declines the return path: the stream ends behind the prompts" {
    run --separate-stderr bash -c "'$ROOT/tests/lib/toy-forward' <ids | llm-inspect -k 0 | wc -l"
    [ "$output" -eq 3 ]
    [ -z "$stderr" ]
    [ -z "$(ls -d tokpipe-* 2>/dev/null)" ]
}

@test "--npy: rows in the order of sequences, whole or not at all" {
    toy --no-return --all --reverse --hidden 4 <ids >rec
    llm-inspect --hidden --npy h.npy rec
    [ "$(npy h.npy)" = "6 4 0 1 2 0 1 0" ]
    llm-inspect --npy x.npy rec
    [ "$(npy x.npy | cut -d' ' -f1,2)" = "6 32" ]
    toy --no-return --all <ids | llm-inspect --npy y.npy
    cmp x.npy y.npy
    head -c 1000 rec >cut
    fails 65 "the stream was cut" llm-inspect --npy z.npy cut
    [ -z "$(ls -A | grep -E 'z.npy|tmp|\.tokpipe')" ]
    fails 74 "cannot write" llm-inspect --npy /no/such/folder/x.npy rec
}

@test "no rows is an array of none" {
    toy --no-return </dev/null | llm-inspect --npy x.npy
    [ "$(npy x.npy)" = "0 32" ]
    [ -z "$(toy --no-return </dev/null | llm-inspect)" ]
}

@test "failed sequences are named, and are exit 1" {
    printf '1\n\n! upstream \033[31msaid no\n2\n' >bad
    toy --no-return <bad >rec
    run --separate-stderr llm-inspect -k 0 rec
    [ "$status" -eq 1 ]
    [ "${lines[1]}" = "sequence 1 failed: the sequence is empty" ]
    [ "${lines[2]}" = "sequence 2 failed: upstream \\u001b[31msaid no" ] # no escapes to the terminal
    run --separate-stderr llm-inspect -j rec
    [ "$status" -eq 1 ]
    [ "$(jq -r 'select(.seq == 1).error' <<<"$output")" = "the sequence is empty" ]
    fails 1 "sequence 1 failed" llm-inspect --npy x.npy rec
    [ "$(npy x.npy | cut -d' ' -f1)" -eq 2 ]
}

@test "NaN is shown as what it is" {
    toy --no-return --nan 3 <ids | llm-inspect -j -k 1 >out
    [ "$(head -n 1 out | jq -c '[.entropy, .top[0].p]')" = "[null,null]" ]
    toy --no-return --nan 3 <ids | llm-inspect -k 1 | head -n 1 | grep -q nan
}

@test "a cut stream is shown as far as it goes, and is exit 65" {
    toy --no-return --all <ids | head -c 1100 >cut
    run --separate-stderr llm-inspect -k 0 cut
    [ "$status" -eq 65 ]
    [ "${#lines[@]}" -ge 2 ]
    [[ $stderr == *"the stream was cut inside a frame: cut: byte 1100"* ]]
    fails 65 "no input" llm-inspect </dev/null
    fails 66 "cannot open nowhere" llm-inspect nowhere
}

@test "usage errors, hidden states that are not there, a full disk" {
    toy --no-return <ids >rec
    fails 2 "-k takes a whole number" llm-inspect -k x rec
    fails 2 "--hidden says what" llm-inspect --hidden rec
    fails 2 "one FILE" llm-inspect rec rec
    fails 65 "no hidden states" llm-inspect --hidden --npy x.npy rec
    fails 74 "No space left" bash -c "llm-inspect rec >/dev/full"
}

@test "-m wants the stream's tokenizer; LLM_MODEL's is taken where it fits" {
    toy --no-return <ids >rec
    fails 66 "no such model" llm-inspect -m nowhere rec
    fails 65 "the stream is of tokenizer 5f0c9a31e2b7d804, not " llm-inspect -m "$DATA/tiny" rec
    LLM_MODEL=$DATA/tiny llm-inspect rec | cmp - <(llm-inspect rec)
    LLM_MODEL=nowhere llm-inspect rec | cmp - <(llm-inspect rec)
}

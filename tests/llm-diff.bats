#!/usr/bin/env bats
# llm-diff: what is equal, what differs, and each bound.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    printf '1 2 3\n4 5\n9\n' >ids
    toy --no-return --all <ids >a
}

toy() { "$ROOT/tests/lib/toy-forward" "$@"; }

# Adds $3 to the f32 at byte $2 of file $1.
change() {
    python3 - "$@" <<'END'
import struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
at = int(sys.argv[2])
struct.pack_into("<f", data, at, struct.unpack_from("<f", data, at)[0] + float(sys.argv[3]))
open(sys.argv[1], "wb").write(data)
END
}

@test "a stream does not differ from itself, whatever the order of its frames" {
    toy --no-return --all --reverse <ids >b
    run ! cmp -s a b
    for x in a b; do
        llm-diff --max 0 --kl 0 --top1 1 a $x >out
        grep -q '^rows  *6$' out
        grep -q '^max difference  *0$' out
        grep -q '6 of 6 (100.00 %)' out
    done
    [ "$(llm-diff -j a b)" = '{"rows":6,"only_a":0,"only_b":0,"max":0,"mean_kl":0,"max_kl":0,"top1":1}' ]
}

@test "--percentile: a divergence of the rows, between the mean and the largest" {
    cp a b
    for row in 0 1 2; do change b $((256 + 48 + 32 + 4 * (7 + row))) -0.5; done
    llm-diff -j a b | jq -e 'has("percentile_kl") | not'
    llm-diff -j --percentile 100 a b | jq -e '.percentile_kl == .max_kl and .max_kl > 0'
    llm-diff -j --percentile 50 a b | jq -e '.percentile_kl < .max_kl'
    llm-diff --percentile 99.9 a b | grep -qE '^KL, 99.9 % of rows  at most 0\.[0-9]+ nats$'
    fails 2 '--percentile' llm-diff --percentile 101 a b
}

@test "the largest difference is found and named; --max bounds it" {
    cp a b
    at=$((256 + 48 + 32 + 4 * 7)) # the first row, token 7
    change b $at -0.5
    llm-diff a b >out
    grep -q 'max difference   0.5 (sequence 0, position 0, token 7)' out
    llm-diff -q --max 0.5 a b
    run llm-diff -q --max 0.49 a b
    [ "$status" -eq 1 ]
    [ -z "$output" ]
}

@test "KL divergence is that of the definition" {
    cp a b
    change b $((256 + 48 + 32 + 4 * 30)) 2 # the best token of the first row
    p=$(llm-inspect -j -k 1 a | head -n 1 | jq '.top[0].p')
    # With p the weight of the one logit that is raised by d: KL = ln(1 - p + p e^d) - p d.
    want=$(jq -n --argjson p "$p" '((1 - $p + $p * (2 | exp)) | log) - 2 * $p')
    got=$(llm-diff -j a b | jq .max_kl)
    jq -n -e --argjson a "$want" --argjson b "$got" '($a - $b | fabs) < 1e-6' >/dev/null
    llm-diff -j a b | jq -e '(.mean_kl * 6 - .max_kl | fabs) < 1e-9' >/dev/null
    llm-diff -q --kl 1 a b
    run llm-diff -q --kl 0.001 a b
    [ "$status" -eq 1 ]
}

@test "--top1 bounds the agreement" {
    cp a b
    change b $((256 + 48 + 32)) 20 # now token 0 is the best of the first row
    llm-diff --top1 0.83 a b | grep -q '5 of 6 (83.33 %)'
    run llm-diff -q --top1 0.84 a b
    [ "$status" -eq 1 ]
}

@test "a NaN is past every bound" {
    cp a b
    change b $((256 + 48 + 32)) nan
    run llm-diff -q --max 1e30 a b
    [ "$status" -eq 1 ]
    run llm-diff -q --kl 1e30 a b
    [ "$status" -eq 1 ]
    llm-diff -j a b | jq -e '.max == null and .mean_kl == null' >/dev/null
}

@test "rows that only one has are counted, and are exit 1" {
    toy --no-return <ids >last
    run llm-diff a last
    [ "$status" -eq 1 ]
    [[ $output == *"3 in A, 0 in B"* ]]
    run llm-diff -j last a
    [ "$status" -eq 1 ]
    [ "$(jq -c '[.rows, .only_a, .only_b]' <<<"$output")" = "[3,0,3]" ]
}

@test "standard input may be one of them, and the return path is declined" {
    toy --all <ids | llm-diff --max 0 a -
    llm-diff --max 0 - a <a
    fails 2 "only one of the streams" llm-diff - -
}

@test "what cannot be compared is refused" {
    toy --no-return --vocab 16 <ids >v
    fails 65 "vocabularies of 32 and 16 tokens: a, v" llm-diff a v
    printf '1 2 3\n4 6\n9\n' | toy --no-return --all >other
    fails 65 "the prompts of sequence 1 differ" llm-diff a other
    head -c 900 a >cut
    fails 65 "the stream was cut" llm-diff a cut
    fails 65 "the stream was cut" llm-diff cut a
    fails 66 "cannot open nowhere" llm-diff a nowhere
    fails 2 "two streams" llm-diff a
    fails 2 "--top1 takes" llm-diff --top1 2 a a
    fails 74 "No space left" bash -c 'llm-diff a a >/dev/full'
}

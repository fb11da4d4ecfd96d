#!/usr/bin/env bats
# llm-score: against sums made by Python from the same stream.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    printf '1 2 3 30\n#@ id=x\n4 5\n9\n' >ids
    "$ROOT/tests/lib/toy-forward" --no-return --all <ids >rec
}

toy() { "$ROOT/tests/lib/toy-forward" "$@"; }

# "seq pos id logprob" of every scored token, from llm-inspect's whole rows and the ids.
reference() {
    llm-inspect -j -k 32 rec | python3 -c '
import json, math, sys
ids = [[int(x) for x in l.split()] for l in open("ids") if l[0] != "#"]
for line in sys.stdin:
    row = json.loads(line)
    seq, pos = row["seq"], row["pos"]
    if pos + 1 < len(ids[seq]):
        logits = {t["id"]: t["logit"] for t in row["top"]}
        total = math.log(sum(map(math.exp, logits.values())))
        print(seq, pos + 1, ids[seq][pos + 1], "%.5f" % (logits[ids[seq][pos + 1]] - total))'
}

@test "--tokens: each token's log-probability and rank" {
    llm-score --tokens rec >out
    diff <(reference) <(awk 'NR > 1 { printf "%d %d %d %.5f\n", $1, $2, $3, $4 }' out)
    awk 'NR > 1 && ($5 < 1 || $5 > 32) { exit 1 }' out
}

@test "mean and perplexity of each sequence and of all" {
    llm-score rec >out
    reference | awk '{ n[$1]++; s[$1] -= $4; N++; S -= $4 }
        END { for (i = 0; i < 2; i++) printf "%d %d %.4f\n", i, n[i], s[i] / n[i]; printf "all %d %.4f\n", N, S / N }' >want
    diff want <(awk 'NR > 1 && $2 { printf "%s %d %.4f\n", $1, $2, $3 }' out)
    awk 'NR > 1 && $2 { d = $4 - exp($3); if (d > 1e-3 || d < -1e-3) exit 1 }' out
    [ "$(sed -n 4p out | tr -s ' ')" = " 2 0 - -" ] # one id: nothing to score
}

@test "-j: an object a sequence, attributes and log-probabilities with it" {
    llm-score -j rec >out
    [ "$(jq -c '[.seq, .tokens, .attrs]' out | tr -d '\n')" = '[0,3,null][1,1,"id=x"][2,0,null]' ]
    jq -s -e '(.[0].ppl - (.[0].nll | exp) | fabs) < 1e-6 and .[2].nll == null' out >/dev/null
    llm-score -j --tokens rec | jq -e '(.logprobs | length) == .tokens' >/dev/null
    reference | awk '$1 == 0 { printf "%.4f\n", $4 }' |
        diff - <(llm-score -j --tokens rec | jq -r 'select(.seq == 0).logprobs[]' | xargs printf '%.4f\n')
}

@test "it declines the return path" {
    toy --all <ids | llm-score | cmp - <(llm-score rec)
}

@test "a stream without every position is refused" {
    toy --no-return <ids >last
    fails 65 "no logits of position 0 of sequence 0: llm-forward -a gives all" llm-score last
}

@test "failed sequences are warned about, NaN is refused, a cut is a cut" {
    printf '1 2\n\n3 4\n' | toy --no-return --all >bad
    run --separate-stderr llm-score -j bad
    [ "$status" -eq 1 ]
    [[ $stderr == *"sequence 1 failed: the sequence is empty"* ]]
    [ "$(jq -c '[.seq, .error]' <<<"${lines[1]}")" = '[1,"the sequence is empty"]' ]
    toy --no-return --all --nan 2 <ids >nan
    fails 65 "logits that are no numbers: sequence 0, position 1" llm-score nan
    head -c 900 rec >cut
    fails 65 "the stream was cut" llm-score cut
    fails 65 "no input" llm-score </dev/null
    fails 66 "cannot open" llm-score nowhere
    fails 2 "one FILE" llm-score rec rec
    fails 74 "No space left" bash -c 'llm-score rec >/dev/full'
}

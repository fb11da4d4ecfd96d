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

@test "-j: the sum, the count, and whether the model would have said it" {
    llm-score -j rec >out
    reference | awk '{ s[$1] += $4; n[$1]++ } END { for (i = 0; i < 2; i++) printf "%.4f %d\n", s[i], n[i] }' |
        diff - <(jq -r 'select(.count > 0) | [.sum, .count] | @tsv' out | awk '{ printf "%.4f %d\n", $1, $2 }')
    [ "$(jq -c '[.sum, .count, .is_greedy]' out | tail -n 1)" = '[0,0,true]' ]
    # Greedy: each rank is 1.
    greedy=$(printf '1 2 3\n' | toy --greedy 3)
    read -r a b c <<<"$greedy"
    printf '%s\n' '#@ from=3' "1 2 3 $a $b $c" '#@ from=3' "1 2 3 $a $b $(((c + 1) % 32))" '#@ from=4' "1 2 3 $(((a + 1) % 32)) 4" | toy --no-return --all >said
    [ "$(llm-score -j said | jq -c '[.is_greedy, .count]' | head -n 2 | tr '\n' ' ')" = '[true,3] [false,3] ' ]
}

@test "from=N: only the ids from N on are scored" {
    (echo '#@ from=2 id=a'; echo 1 2 3 30; echo '#@ from=4'; echo 1 2 3 30; echo '#@ from=1'; echo 4 5) | toy --no-return --all >part
    llm-score -j --tokens part >out
    [ "$(jq -c '[.count, .tokens, (.logprobs | length)]' out | tr '\n' ' ')" = '[2,2,2] [0,0,0] [1,1,1] ' ]
    # The same numbers as in the whole.
    diff <(llm-score --tokens rec | awk '$1 == 0 && $2 >= 2') <(llm-score --tokens part | awk '$1 == 0')
    jq -s -e '(.[0].sum - (.[0].logprobs | add) | fabs) < 1e-6 and (.[0].sum + 2 * .[0].nll | fabs) < 1e-6' out >/dev/null
    (echo '#@ from=2'; echo 1 2 3 30) | toy --no-return >last
    fails 65 "no logits of position 1 of sequence 0" llm-score last
}

@test "-j: keys of the record keep their names, and never meet ours" {
    (printf '#@ id=x sum=1 sum_=2 nll="q" attrs={"a":%%201} seq=5 .from=7 temp=0.5\n'; echo 1 2 3) >keyed
    toy --no-return --all <keyed | llm-score -j >out
    python3 -c '
import json
def pairs(p):
    assert len({k for k, _ in p}) == len(p), p
    return dict(p)
o = json.loads(open("out").read(), object_pairs_hook=pairs)
assert (o["id"], o["sum"], o["sum_"], o["nll"], o["attrs"], o["seq"], o["from"]) == ("x", 1, 2, "q", {"a": 1}, 5, 7), o
assert o["params"] == {"temp": 0.5} and o["seq_"] == 0 and o["sum__"] < 0 and o["nll_"] > 0 and "id=x" in o["attrs_"], o'
    (printf '#@ id=x error=1\n\n') | toy --no-return --all 2>/dev/null >bad
    [ "$(llm-score -qj bad | jq -c '[.seq, .id, .error, .error_]')" = '[0,"x",1,"the sequence is empty"]' ]
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

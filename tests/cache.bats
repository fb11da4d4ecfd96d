#!/usr/bin/env bats
# What was cached of a prompt, and why not more: the attributes cache and salt, NOTE frames, and an agent's growing turns.
# kv(5): what --kv-save writes, --kv-load restores, with the same bits.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/resident

# The texts of NOTE frames of what comes in, a line each.
notes() {
    cat >stream
    python3 "$ROOT/tests/lib/frames.py" --text stream | grep '^cached=' || true
}

@test "a sequence that asks is told how much of its prompt was cached; others get the frames of before" {
    (ids 1 150; echo '#@ cache=count'; ids 1 150; echo '#@ cache=count'; (ids 1 130; ids 7 30) | paste -sd' ') >prompts
    [ "$(llm-forward -b 1 --no-return prompts | notes)" = $'cached=128\ncached=128' ]
    python3 "$ROOT/tests/lib/frames.py" stream >names
    [ "$(cat names)" = 'OPEN:0 LOGI:0@149x1 CLOS:0 OPEN:1 NOTE:1 LOGI:1@149x1 CLOS:1 OPEN:2 NOTE:2 LOGI:2@153x1 CLOS:2 END' ]
    grep -v '^#' prompts | llm-forward -b 1 --no-return | python3 "$ROOT/tests/lib/frames.py" /dev/stdin >names
    [ "$(grep -c NOTE names)" -eq 0 ]
    (echo '#@ cache=count'; ids 1 20) | llm-forward -a --no-return | notes >got
    [ "$(cat got)" = cached=0 ]
}

@test "why: where the prompt and the cache part, to the id, and both ids" {
    (ids 1 200; echo '#@ cache=why'; echo "$(ids 1 149) 9 8 7 6"; echo '#@ cache=why'; ids 1 150; echo '#@ cache=why'; ids 1 230) >prompts
    llm-forward -b 1 --no-return prompts | notes >got
    diff got - <<'T'
cached=128 match=149 ours=9 theirs=150
cached=128 match=150
cached=192 match=192 ours=193
T
    fails 1 "sequence 0: cache takes count or why: 'what'" bash -c 'printf "#@ cache=what\n1 2 3\n" | llm-forward --no-return | cat >/dev/null; exit ${PIPESTATUS[1]}'
}

@test "a salt separates what is cached, and equal salts share it" {
    {
        ids 1 150
        echo '#@ cache=why salt=a%20b'; ids 1 150
        echo '#@ cache=why salt=a%20b'; ids 1 150
        echo '#@ cache=why salt=c'; ids 1 150
        echo '#@ cache=why salt='; ids 1 150
    } >prompts
    llm-forward -b 1 --no-return prompts | notes >got
    diff got - <<'T'
cached=0 match=0 ours=1
cached=128 match=128 ours=129
cached=0 match=0 ours=1
cached=128 match=128 ours=129
T
    # the same bits, whatever is shared
    llm-forward -b 1 --no-return prompts >stream
    python3 "$ROOT/tests/lib/frames.py" --rows=0 stream >row
    for n in 1 2 3 4; do python3 "$ROOT/tests/lib/frames.py" --rows=$n stream | cmp - row; done
    # scored sequences wait for none of another salt
    (for salt in a b a; do echo "#@ from=149 salt=$salt"; ids 1 150; done) | timeout 20 llm-forward -v --no-return 2>err >/dev/null
    grep -q 'prefill: 299 tokens' err
}

@test "the note goes on through the pipe: results of tokens(5), and the contract of before without it" {
    (ids 1 150; echo '#@ cache=count id=x'; ids 1 150) >prompts
    llm-forward -b 1 prompts | llm-sample -n 3 -T 0 --ignore-eos >out
    grep '^#=' out >got
    diff got - <<'T'
#= finish=length prompt=150 completion=3
#= finish=length prompt=150 completion=3 cached=128
T
    llm-forward -b 1 prompts | llm-inspect >/dev/null
    llm-forward -b 1 --no-return -a prompts | llm-score >/dev/null
    llm-forward -b 1 --no-return prompts >a
    llm-diff a a >/dev/null
    # columns of records that have these names are no attributes of ours
    LLM_MODEL=$DATA/tiny tok-encode -j <<<'{"text": "a", "cache": "why", "salt": 3}' >out
    grep -q '\.cache=why' out
    grep -q '\.salt=3' out
}

@test "an engine for a group says how far prompts match only to who has a salt" {
    listen --group
    export LLM_ENGINE=$PWD/sock
    ids 1 200 | llm-forward --group --no-return >/dev/null
    (echo '#@ cache=why'; ids 1 150; echo '#@ cache=why salt=s'; ids 1 192; echo '#@ cache=why salt=s'; echo "$(ids 1 140) 3 4") |
        llm-forward --group -b 1 --no-return | notes >got
    diff got - <<'T'
cached=128
cached=0 match=0 ours=1
cached=128 match=140 ours=3 theirs=141
T
}

# Each turn is all that was said before, the answer, and some new ids. What has to be run is at most 63 ids a turn more
# than the new ones, because whole pages of 64 are cached.
@test "an agent's growing turns run their new ids and at most 63 more each" {
    export LLM_MODEL=$DATA/tiny
    listen -v
    export LLM_ENGINE=$PWD/sock
    said='' new=0 turns=20
    for ((t = 1; t <= turns; t++)); do
        more=$(ids $((300 + t)) $((318 + t)))
        n=$(wc -w <<<"$more")
        new=$((new + n))
        said="$said $more"
        llm-forward <<<"$said" 2>/dev/null | llm-sample -n 5 -T 0 --ignore-eos --echo >out
        said=$(grep -v '^#' out)
        new=$((new + 1)) # the last id of an answer is in no page yet
    done
    [ "$(wc -w <<<"$said")" -eq $((turns * 24)) ]
    kill "$engine"
    wait "$engine"
    engine=
    run=$(sed -n 's/.*prefill: \([0-9]*\) tokens.*/\1/p' engine.err)
    echo "$run ids were run, $new are new"
    [ "$run" -ge "$new" ]
    [ $((run * 100)) -le $((new * 102 + turns * 6300)) ]
    # without the cache it would be the sum of all turns
    [ "$run" -lt $((24 * turns * (turns + 1) / 4)) ]
}

# ---- kv(5) ----

prompts() {
    for i in 1 2 3; do echo "$(ids 1 100) $(ids $i $((i + 99)))"; done
}

@test "keys and values are stored and restored, with the same bits" {
    prompts >p
    for model in llama mistral gemma3; do # the last two have windows
        export LLM_MODEL=$DATA/models/$model
        rm -f kv
        sed 's/^/#@ cache=count\n/' p | llm-forward -b 1 --no-return --kv-save kv >first
        [ "$(stat -c %a kv)" = 600 ]
        (for i in 1 2 3; do echo "#@ cache=count"; sed -n "${i}p" p; done) | llm-forward -b 1 --no-return -v --kv-load kv >again 2>err
        [ "$(notes <again)" = $'cached=192\ncached=192\ncached=192' ]
        grep -q 'restored: ' err
        cmp <(python3 "$ROOT/tests/lib/frames.py" --rows first) <(python3 "$ROOT/tests/lib/frames.py" --rows again)
    done
}

@test "a resident engine saves at its end, and another begins where it was" {
    prompts >p
    listen --kv-save kv
    llm-forward --engine "$PWD/sock" --no-return p >first
    kill "$engine"
    wait "$engine"
    listen --kv-load kv --kv-save kv
    (echo '#@ cache=count'; head -n 1 p) | llm-forward --engine "$PWD/sock" --no-return | notes >got
    [ "$(cat got)" = cached=192 ]
    kill "$engine"
    wait "$engine"
    engine=
    # a file that was loaded can be saved over
    (echo '#@ cache=count'; head -n 1 p) | llm-forward --no-return --kv-load kv --kv-load kv | notes >got
    [ "$(cat got)" = cached=192 ]
}

@test "an engine that uses pages of a file takes no memory for them, and ends with 74 if the file is cut" {
    prompts >p
    llm-forward -b 1 --no-return --kv-save kv p >first
    listen -v --kv-load kv
    llm-forward -b 1 --engine "$PWD/sock" --no-return p >again
    cmp <(python3 "$ROOT/tests/lib/frames.py" --rows first) <(python3 "$ROOT/tests/lib/frames.py" --rows again)
    size=$(stat -c %s kv)
    grep -qE "^[0-9a-f]+-[0-9a-f]+ r--s .*/kv$" "/proc/$engine/maps"
    # the pages are gone, and the cache has them still
    truncate -s 4096 kv
    run llm-forward --engine "$PWD/sock" --no-return p
    [ "$status" -ne 0 ]
    run wait "$engine"
    [ "$status" -eq 74 ]
    engine=
    grep -q 'the file became shorter while it was in use: kv$' engine.err
    # a file that is cut before its pages are used costs time, not bits
    truncate -s "$size" kv
    llm-forward -b 1 --no-return --kv-load kv p >again 2>err
    cmp <(python3 "$ROOT/tests/lib/frames.py" --rows first) <(python3 "$ROOT/tests/lib/frames.py" --rows again)
    grep -q 'its positions are computed$' err
}

@test "kv files of others are refused by what differs" {
    prompts >p
    llm-forward --no-return --kv-save kv p >/dev/null
    LLM_MODEL=$DATA/models/mistral fails 65 'pages of another model, or of other weights: kv: byte 24' llm-forward --kv-load kv p
    fails 65 "bf16', and this run computes with '" llm-forward --precise --kv-load kv p
    cp -r "$DATA/models/llama" other
    chmod -R u+w other
    LLM_MODEL=other llm-forward --no-return --kv-load kv p >/dev/null # the same model elsewhere
    printf '\n' >>other/config.json
    LLM_MODEL=other fails 65 'another model' llm-forward --kv-load kv p
    fails 66 'cannot open nowhere' llm-forward --kv-load nowhere p
    fails 66 'not a regular file' llm-forward --kv-load . p
    fails 65 'shorter than a kv(5) header' llm-forward --kv-load /dev/null p || fails 66 'not a regular file' llm-forward --kv-load /dev/null p
    fails 65 'not a kv(5) file' llm-forward --kv-load "$DATA/models/llama/model.safetensors" p
    head -c 400 kv >cut
    fails 65 'more records than the file has room for' llm-forward --kv-load cut p
    head -c 9000 kv >cut
    fails 65 'a block is not within the file' llm-forward --kv-load cut p
    fails 2 'kv files need a cache (--keep)' llm-forward --keep 0 --kv-load kv p
    fails 2 'are for the engine (--listen)' llm-forward --engine sock --kv-load kv p
    fails 2 'at most 16 files' llm-forward $(printf -- '--kv-load kv %.0s' $(seq 17)) p
}

@test "a kv file that is damaged costs time, not bits; one that cannot be written leaves nothing" {
    prompts >p
    llm-forward -b 1 --no-return --kv-save kv p >first
    python3 - <<'P'
data = bytearray(open("kv", "rb").read())
data[-100] ^= 4
open("bad", "wb").write(data)
P
    llm-forward -b 1 --no-return --kv-load bad p >again 2>err
    cmp <(python3 "$ROOT/tests/lib/frames.py" --rows first) <(python3 "$ROOT/tests/lib/frames.py" --rows again)
    grep -q '^llm-forward: a block does not have its sum: bad: byte [0-9]*; its positions are computed$' err
    mkdir full
    fails 74 'cannot write a file: full' llm-forward --no-return --kv-save full p
    fails 74 'cannot write a file: nowhere/kv' llm-forward --no-return --kv-save nowhere/kv p
    fails 74 'cannot write a file: /dev/full' llm-forward --no-return --kv-save /dev/full p
    cp kv before
    run bash -c "ulimit -f 8; trap '' XFSZ; llm-forward -q --no-return --kv-save kv p >/dev/null"
    [ "$status" -eq 74 ]
    cmp kv before
    printf '# tokens vocab=1007\n1 2 3' >cut # a line without an end
    fails 65 'cut' llm-forward --no-return --kv-save kv cut
    cmp kv before
    [ "$(ls | grep -c tmp)" -eq 0 ]
}

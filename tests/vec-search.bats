#!/usr/bin/env bats
# vec-search: exact results, ties, threads and batches, BM25, fusion, formats, refusals.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    cd "$BATS_TEST_TMPDIR"
}

vectors() { python3 "$ROOT/tests/lib/make_vectors.py" "$@"; }

@test "the records of a search in double precision, with any instruction set and threads" {
    vectors random 1500 33 1 >a.vec
    vectors random 70 33 2 >q.vec
    vectors nearest a.vec q.vec 7 >want
    vec-index -i ix a.vec
    vec-search -k 7 -i ix q.vec >out
    cut -f1,2,4 out | cmp - want
    for isa in c avx2 avx512; do
        LLM_ISA=$isa vec-search -k 7 -i ix -t 2 q.vec >other || { [ $? -eq 2 ] && continue; }
        cmp other out
    done
}

@test "a query alone gives what it gives among others" {
    vectors random 500 16 1 | vec-index -i ix
    vectors random 70 16 2 >q.vec
    vec-search -i ix q.vec >together
    mkfifo in
    { head -c 64 q.vec; for i in $(seq 70); do tail -c +$((65 + (i - 1) * 112)) q.vec | head -c 112; done; tail -c 32 q.vec; } | cmp - q.vec
    vec-search -i ix in >alone 3>&- &
    { head -c 64 q.vec; for i in $(seq 70); do tail -c +$((65 + (i - 1) * 112)) q.vec | head -c 112; sleep 0.01; done; tail -c 32 q.vec; } >in
    wait $!
    cmp alone together
}

@test "vectors close to each other: the scan's rounding does not choose" {
    python3 - >lines <<'END'
import json
for i in range(400): # all within bf16's rounding of each other
    print(json.dumps({"values": [1 + i * 1e-5, 1 - (i * 7 % 400) * 1e-5], "attrs": f"id=r{i:03}"}))
END
    vectors lines <lines | vec-index -i ix
    echo '{"values": [1, 0], "attrs": "id=q"}' | vectors lines >q.vec
    [ "$(vec-search -k 400 -i ix q.vec | cut -f4 | head -n 5 | paste -sd' ')" = 'r399 r398 r397 r396 r395' ]
    [ "$(vec-search -k 5 -i ix q.vec | cut -f4 | paste -sd' ')" = 'r399 r398 r397 r396 r395' ]
    echo '{"values": [0, 1], "attrs": "id=q"}' | vectors lines >q.vec
    vec-search -k 400 -i ix q.vec | head -n 5 >all
    vec-search -k 5 -i ix q.vec | cmp - all
}

@test "ties are ordered by id, wherever k cuts them" {
    vectors random 800 3 5 small=1 >a.vec
    vectors random 20 3 6 small=1 >q.vec
    vec-index -i ix a.vec
    vec-search -k 800 -i ix q.vec >all
    LC_ALL=C sort -t "$(printf '\t')" -s -k1,1 -k3,3gr -k4,4 all | cut -f1,4 >sorted
    LC_ALL=C sort -t "$(printf '\t')" -s -k1,1 all | cut -f1,4 | cmp - sorted
    for k in 1 13 100; do
        vec-search -k $k -i ix q.vec | cmp - <(awk -F '\t' -v k=$k '$2 <= k' all)
    done
}

@test "--store i8 gives the bytes that f32 gives: any size, ties, close vectors, instruction sets, threads" {
    same() { # RECORDS QUERIES K
        rm -f f32 i8
        vec-index -i f32 "$1"
        vec-index --store i8 -i i8 "$1"
        vec-search -k "$3" -i f32 "$2" >want
        vec-search -k "$3" -i i8 "$2" | cmp - want
    }
    for shape in '1500 33' '16 8' '17 64' '1 300' '9000 5'; do
        set -- $shape
        vectors random "$1" "$2" 1 >a.vec
        vectors random 70 "$2" 2 >q.vec
        same a.vec q.vec 7
        [ "$(wc -l <want)" -eq $((70 * ($1 < 7 ? $1 : 7))) ]
    done
    vectors random 800 3 5 small=1 >a.vec
    vectors random 20 3 6 small=1 >q.vec
    for k in 1 13 800; do same a.vec q.vec $k; done
    python3 - >lines <<'END'
import json
for i in range(400): # all within a step of i8 of each other, of one size in a thousand
    print(json.dumps({"values": [1 + i * 1e-5, 1 - (i * 7 % 400) * 1e-5, 1e-30 * i, 1e3], "attrs": f"id=r{i:03}"}))
END
    vectors lines <lines >a.vec
    printf '%s\n' '{"values": [1, 0, 0, 0], "attrs": "id=q"}' '{"values": [0, 1e-20, 0, 1], "attrs": "id=p"}' \
        '{"values": [0, 0, 1e30, 1e-30], "attrs": "id=o"}' | vectors lines >q.vec
    same a.vec q.vec 5
    same a.vec q.vec 400
    vectors random 3000 40 7 metric=2 >a.vec
    vectors random 70 40 8 metric=2 >q.vec
    same a.vec q.vec 9
    for isa in c avx2 avxvnni avx512; do
        LLM_ISA=$isa vec-search -k 9 -i i8 -t 3 q.vec >other || { [ $? -eq 2 ] && continue; }
        cmp other want
    done
}

@test "an i8 scan finds most of the best by itself: few records are looked at exactly" {
    vectors random 5000 384 3 >a.vec
    vectors random 20 384 4 >q.vec
    vec-index --store i8 -i i8 a.vec
    # The scan with nothing but its own codes: the exact vectors become those of the scan.
    python3 - <<'END'
import struct
data = bytearray(open("i8", "rb").read())
dim, = struct.unpack_from("<I", data, 16)
n, = struct.unpack_from("<Q", data, 56)
assert struct.unpack_from("<I", data, 20)[0] == 3
blocks, k = (dim + 63) // 64 * 2, (dim + 63) // 64 * 64
supers = [min(256, k - s) for s in range(0, k, 256)]
panel = 64 + sum((s // 32 * 16 + 63) // 64 * 64 + s * 16 for s in supers)
scan, exact = 4096, 4096 + ((n + 15) // 16 * panel + 4095) // 4096 * 4096
most = 0
for i in range(n):
    at = scan + i // 16 * panel
    r = i % 16
    scale, = struct.unpack_from("<f", data, at + 4 * r)
    row, at = [], at + 64
    for s in supers:
        codes = at + (s // 32 * 16 + 63) // 64 * 64
        for j in range(s):
            row.append(scale * data[at + j // 32 * 16 + r] * (data[codes + j // 4 * 64 + 4 * r + j % 4] - 128))
        at = codes + s * 16
    want = struct.unpack_from(f"<{dim}f", data, exact + 4 * dim * i)
    most = max(most, sum((a - b) ** 2 for a, b in zip(row, want)) ** .5)
    struct.pack_into(f"<{dim}f", data, exact + 4 * dim * i, *row[:dim])
bound, = struct.unpack_from("<f", data, 32)
assert 0 < most <= bound < 0.01, (most, bound) # of vectors of length 1
open("scan", "wb").write(data)
END
    vec-search -k 10 -i i8 q.vec | cut -f1,4 | sort >want
    vec-search -k 10 -i scan q.vec | cut -f1,4 | sort >got
    [ "$(comm -12 want got | wc -l)" -ge 190 ] # of 200
}

@test "200,000 vectors that are all alike, for 64 queries at once: ties by id, in bounded memory" {
    python3 - "$BATS_TEST_DIRNAME/lib" <<'EOF'
import sys
sys.path.insert(0, sys.argv[1])
import make_vectors as v
for name, n in ("alike", 200000), ("queries", 64):
    with open(name, "wb") as f:
        f.write(v.header(2) + b"".join(v.record(i, [1.0, 2.0], b"id=r%06d" % i) for i in range(n)) + v.end(n))
EOF
    vec-index -q -i index alike
    within_memory 190000 vec-search -t 1 -k 2 -i index queries >found
    [ "$(wc -l <found)" -eq 128 ]
    [ "$(cut -f 2,4 found | sort -u | tr '\n\t' '  ')" = "1 r000000 2 r000001 " ]
}

@test "JSON lines have the record's keys; --text its text" {
    printf '%s\n' '{"values": [1, 0], "attrs": "id=7 .from=3 score=x"}' '{"values": [0, 1], "attrs": "id=b"}' | vectors lines >a.vec
    printf '{"id": 7, "text": "seven words"}\n' >texts
    vec-index -q -i ix --records texts a.vec
    python3 -c 'import json
for v, a in (([2, 0], "id=9"), ([0, 2], ""), ([0, 2], "id=a%20b")): print(json.dumps({"values": v, "attrs": a}))' | vectors lines >q.vec
    vec-search -j --text -k 1 -i ix q.vec >out
    [ "$(head -n 1 out | jq -c .)" = '{"query":9,"rank":1,"score_":2,"text":"seven words","id":7,"from":3,"score":"x"}' ]
    [ "$(jq -c .query out | paste -sd' ')" = '9 1 "a b"' ]
    [ "$(vec-search -k 1 -i ix q.vec | tail -n 1)" = "$(printf 'a b\t1\t2\tb')" ]
}

@test "BM25 is that of the definition; --hybrid joins by reciprocal rank" {
    cat >texts <<'END'
{"id": "a", "text": "The cat sat on the mat."}
{"id": "b", "text": "A dog and a CAT, and a cat."}
{"id": "c", "text": "Nothing to see, naïve ÉTÉ."}
{"id": "d", "text": "dog"}
{"id": "q", "text": "cat dog été"}
END
    python3 -c 'import json
for i, (a, v) in enumerate({"a": [1, 0], "b": [.9, .1], "c": [0, 1], "d": [.5, .5]}.items()): print(json.dumps({"values": v, "attrs": "id=" + a}))' |
        vectors lines | vec-index -i ix --records texts
    echo '{"values": [1, 0], "attrs": "id=q"}' | vectors lines >q.vec
    vec-search -j --bm25 -i ix --records texts q.vec >out
    python3 - out <<'END'
import json, math, re, sys
texts = {}
for line in open("texts"):
    r = json.loads(line)
    texts[r["id"]] = re.findall(r"\w+", r["text"].lower())
query = sorted(set(texts.pop("q")))
average = sum(map(len, texts.values())) / len(texts)
want = {}
for word in query:
    df = sum(word in t for t in texts.values())
    idf = math.log(1 + (len(texts) - df + .5) / (df + .5))
    for name, t in texts.items():
        if tf := t.count(word):
            want[name] = want.get(name, 0) + idf * tf * 2.2 / (tf + 1.2 * (.25 + .75 * len(t) / average))
got = {r["id"]: r["score"] for r in map(json.loads, open(sys.argv[1]))}
assert list(got) == sorted(want, key=lambda n: (-want[n], n)), (got, want)
assert all(abs(got[n] - want[n]) < 1e-8 for n in want), (got, want)
END
    words=$(jq -r .id out | paste -sd' ')
    vec-search -j --hybrid -i ix --records texts q.vec >out
    [ "$(jq -r .id out | wc -l)" -eq 4 ]
    rank() { tr ' ' '\n' <<<"$words" | grep -n "^$1$" | cut -d: -f1; }
    for id in a b c d; do
        v=$(vec-search -i ix q.vec | awk -v id=$id '$4 == id { print $2 }')
        jq -s -e --arg id $id --argjson v "$v" --argjson w "$(rank $id)" \
            '.[] | select(.id == $id) | (.score - 1 / (60 + $v) - 1 / (60 + $w) | fabs) < 1e-9' out
    done
}

@test "failed queries are reported, and the others answered" {
    printf '%s\n' '{"values": [1, 0], "attrs": "id=a"}' | vectors lines | vec-index -i ix
    printf '%s\n' '{"values": [1, 0], "attrs": "id=x"}' '{"reason": "too long", "attrs": "id=y"}' '{"values": [1, 0], "attrs": "id=z"}' | vectors lines >q.vec
    run --separate-stderr vec-search -j -i ix q.vec
    [ "$status" -eq 1 ]
    [ "$(jq -c '[.query, .error]' <<<"$output" | paste -sd' ')" = '["x",null] ["y","too long"] ["z",null]' ]
}

@test "what does not fit together is refused, and what is damaged" {
    vectors random 5 4 1 >a.vec
    vec-index -i ix a.vec
    vectors random 5 4 1 model=8 >b.vec
    fails 65 "another model" vec-search -i ix b.vec
    vectors random 5 5 1 >b.vec
    fails 65 "dimension 5, and the index has 4" vec-search -i ix b.vec
    fails 2 "-i is needed" vec-search a.vec
    fails 2 "--text goes with -j" vec-search --text -i ix a.vec
    fails 2 "go with --records" vec-search --hybrid -i ix a.vec
    fails 2 "-k takes" vec-search -k 0 -i ix a.vec
    fails 66 "cannot open" vec-search -i nowhere a.vec
    fails 65 "not an index(5)" vec-search -i a.vec a.vec
    fails 74 "No space left" bash -c 'vec-search -i ix a.vec >/dev/full'
    head -c 200 a.vec >cut
    fails 65 "the stream was cut" vec-search -i ix cut
    fails 65 "no input" vec-search -i ix /dev/null
    for i in $(seq 400); do cat a.vec; done >many
    run bash -c 'vec-search -k 5 -i ix many | true; echo ${PIPESTATUS[0]}'
    [ "$output" = 141 ]
}

@test "an index of nothing, and values that are not finite" {
    vectors random 5 4 1 >a.vec
    vec-index -i ix a.vec
    echo '{"id": "none"}' >none
    vec-index --prune --records none -i ix
    [ -z "$(vec-search -i ix a.vec)" ]
    vec-index -i ix2 a.vec
    python3 -c '
data = bytearray(open("ix2", "rb").read())
data[8192:8196] = b"\0\0\xc0\x7f"
open("nan", "wb").write(data)'
    fails 65 "the vector of record 0 is not finite: nan" vec-search -i nan a.vec
    # A scan that says nothing true, with a bound that admits it, changes no result.
    vec-index --store i8 -i i8 a.vec
    python3 -c '
data = bytearray(open("i8", "rb").read())
data[4096:4096 + 64 + 64 + 1024] = b"\0\0\xc0\x7f" * 288
data[32:36] = b"\0\0\0\x7f"
open("odd", "wb").write(data)'
    vec-search -i i8 a.vec >want
    vec-search -i odd a.vec | cmp - want
}

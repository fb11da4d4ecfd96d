#!/usr/bin/env bats
# vec-index: adding, replacing, removing, resuming, and what is refused. An index is never half-written.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    cd "$BATS_TEST_TMPDIR"
}

vectors() { python3 "$ROOT/tests/lib/make_vectors.py" "$@"; }

@test "records are added once; the same stream in parts gives the same bytes" {
    vectors random 100 8 1 >a.vec
    vec-index -v -i one a.vec 2>said
    grep -q '100 records are new, 0 replaced, 0 the same; the index has 100: one' said
    cp one before
    vec-index -v -i one <a.vec 2>said
    grep -q '0 records are new, 0 replaced, 100 the same; the index has 100' said
    cmp one before
    vec-index --every 7 -i parts a.vec
    cmp one parts
    [ "$(vec-index -l -i one | jq -c '[.id, .n, .text]' | sed -n 3p)" = '["r2",2,null]' ]
    [ -z "$(find . -name '*.tmp')" ]
}

@test "a record with a known id and other values or attributes replaces the old one" {
    printf '%s\n' '{"values": [1, 0], "attrs": "id=a x=1"}' '{"values": [0, 1], "attrs": "id=b"}' | vectors lines | vec-index -i ix
    printf '%s\n' '{"values": [1, 1], "attrs": "id=a x=1"}' '{"values": [0, 1], "attrs": "id=b y=2"}' '{"values": [2, 2], "attrs": "id=a"}' |
        vectors lines | vec-index -v -i ix 2>said
    grep -q '0 records are new, 3 replaced, 0 the same; the index has 2' said
    [ "$(vec-index -l -i ix | jq -c 'del(.text)' | paste -sd' ')" = '{"id":"b","y":2} {"id":"a"}' ]
}

@test "a record without an id gets one of its values" {
    printf '%s\n' '{"values": [1, 0]}' '{"values": [1, 0], "attrs": "tag=x"}' '{"values": [0, 3]}' | vectors lines | vec-index -v -i ix 2>said
    grep -q '2 records are new, 1 replaced' said
}

@test "--records gives texts, by id: 7 and \"7\" differ" {
    printf '%s\n' '{"id": 7, "text": "seven"}' '{"id": "7", "text": "other"}' '{"custom_id": "c", "id": 1, "text": "custom"}' '{"no": 1}' >texts
    python3 -c 'import json
for v, a in (([1, 0], "id=7"), ([0, 1], "id=\"7\""), ([1, 1], "custom_id=c"), ([1, 2], "id=none")): print(json.dumps({"values": v, "attrs": a}))' |
        vectors lines | vec-index -i ix --records texts 2>said
    grep -q '1 records have no text' said
    [ "$(vec-index -l -i ix | jq -c '.text' | paste -sd' ')" = '"seven" "other" "custom" null' ]
}

@test "--missing copies what the index lacks, or has with another text; --prune removes the rest" {
    vectors random 5 4 1 >a.vec
    for i in 0 1 2 3 4; do echo "{\"id\": \"r$i\", \"text\": \"text $i\"}"; done >texts
    vec-index --missing -i ix texts | cmp - texts
    vec-index -i ix --records texts a.vec
    [ -z "$(vec-index --missing -i ix texts)" ]
    { grep -v r3 texts | sed 's/text 1/new text/'; echo '{"id": "r9", "text": "nine"}'; } >new
    [ "$(vec-index --missing -i ix <new | jq -r .id | paste -sd' ')" = 'r1 r9' ]
    vec-index -v --prune --records new -i ix 2>said
    grep -q '1 records removed; the index has 4' said
    [ "$(vec-index -l -i ix | jq -r .id | paste -sd' ')" = 'r0 r1 r2 r4' ]
    cp ix before
    vec-index --prune --records new -i ix
    cmp ix before
    fails 65 "line 2 of stdin" vec-index --missing -i ix <<<$'{"id": 1}\n[]'
}

@test "what came before a stream was cut is added, and the rest later" {
    vectors random 50 8 1 >a.vec
    vec-index -i whole a.vec
    head -c 3000 a.vec >cut
    fails 65 "the stream was cut" vec-index -i ix cut
    n=$(vec-index -l -i ix | wc -l)
    [ "$n" -gt 10 ] && [ "$n" -lt 50 ]
    vec-index -i ix a.vec
    cmp ix whole
    for n in 0 10 63 64 65 100; do
        head -c $n a.vec >cut
        fails 65 "" vec-index -i new cut
    done
}

@test "a run that is killed leaves the last whole index, and no temporary file" {
    vectors random 20 8 1 >a.vec
    vec-index -i ix a.vec
    cp ix before
    vectors random 30 8 2 first=100 >b.vec
    mkfifo in
    vec-index -i ix in 3>&- &
    pid=$!
    { head -c 500 b.vec; sleep 0.3; kill -TERM $pid; sleep 0.2; } >in || true
    wait $pid || true
    cmp ix before
    [ "$(ls)" = "$(printf '%s\n' a.vec b.vec before in ix)" ]
}

@test "failed records are reported, and the others are added" {
    printf '%s\n' '{"values": [1, 0], "attrs": "id=a"}' '{"reason": "too long", "attrs": "id=b"}' | vectors lines >v
    run vec-index -i ix v
    [ "$status" -eq 1 ]
    [[ $output == *"record 1 has no vector: too long"* ]]
    [ "$(vec-index -l -i ix | jq -r .id)" = a ]
}

@test "another model, tokenizer, dimension, metric or type is refused, and the index stays" {
    vectors random 5 4 1 tokenizer=9 >a.vec
    vec-index -i ix a.vec
    cp ix before
    for other in "4 model=8:another model: fingerprint 0000000000000008, and the index has 0000000000000007" \
        "4 tokenizer=3:another tokenizer" "5 model=7:dimension 5, and the index has 4" "4 metric=2:different metrics"; do
        set -- ${other%%:*}
        vectors random 2 "$1" 2 "$2" >b.vec
        fails 65 "${other#*:}" vec-index -i ix b.vec
    done
    vectors random 2 4 2 metric=3 >b.vec
    fails 65 "euclidean" vec-index -i new b.vec
    fails 65 "--store" vec-index --store bf16 -i ix a.vec
    cmp ix before
    vectors random 2 4 2 first=50 >b.vec # no tokenizer: any
    vec-index -i ix b.vec
    [ "$(vec-index -l -i ix | wc -l)" -eq 7 ]
}

@test "--store bf16 rounds vectors, and takes half of the bytes of a search alone" {
    vectors random 1000 64 1 >a.vec
    vec-index -i f32 a.vec
    vec-index --store bf16 -i bf16 a.vec
    [ $(($(stat -c %s f32) - $(stat -c %s bf16))) -ge 255000 ]
    vectors random 1000 64 1 dtype=2 >b.vec
    vec-index --store bf16 -v -i bf16 b.vec 2>said
    vec-search -k 3 -i bf16 a.vec | cut -f1,2,4 | head -n 300 >x
    vec-search -k 3 -i f32 a.vec | cut -f1,2,4 | head -n 300 >y
    [ "$(diff x y | grep -c '^<')" -lt 30 ]
}

@test "--store i8: in parts as at once, replaced, pruned; its sizes; what it refuses" {
    vectors random 100 40 1 >a.vec
    vec-index --store i8 -i one a.vec
    vec-index --store i8 --every 7 -i parts a.vec
    cmp one parts
    vec-index -v -i one a.vec 2>said # the index's own type
    grep -q '0 records are new, 0 replaced, 100 the same' said
    vec-index -i f32 a.vec
    [ "$(vec-index -l -i one)" = "$(vec-index -l -i f32)" ]
    # A panel of 16 vectors has 64 bytes of scales, 64 of descriptors, 1024 of codes; there are 7. Then 4 bytes a value.
    [ "$(python3 -c 'import struct; d = open("one", "rb").read(); print(d[4096 + 8192:4096 + 8192 + 16000] == open("f32", "rb").read()[4096 + 8192:][:16000])')" = True ]
    { for i in 1 5 99; do echo "{\"id\": \"r$i\"}"; done; } >few
    vec-index -i one --prune --records few
    vectors random 3 40 1 >b.vec
    vec-index -i one b.vec
    [ "$(vec-index -l -i one | jq -r .id | sort | paste -sd' ')" = 'r0 r1 r2 r5 r99' ]
    fails 65 "another type than --store" vec-index --store f32 -i one b.vec
    fails 2 "--store takes f32, bf16 or i8, not 'f16'" vec-index --store f16 -i one b.vec
    python3 -c '
import struct
data = bytearray(open("one", "rb").read())
open("cut", "wb").write(data[:9000])
data[16:20] = struct.pack("<I", 131073)
open("wide", "wb").write(data)
data[16:20] = struct.pack("<I", 40)
data[20] = 4
open("type", "wb").write(data)'
    fails 65 "do not fit the file" vec-search -i cut b.vec
    fails 65 "the dimension of i8 vectors is not in 1 .. 131072: wide: byte 16" vec-search -i wide b.vec
    fails 65 "is not f32 (1), bf16 (2) or i8 (3): type: byte 20" vec-search -i type b.vec
    python3 "$ROOT/tests/lib/make_vectors.py" random 1 131073 1 >wide.vec
    fails 65 "vectors of dimension 131073: i8 stores at most 131072" vec-index --store i8 -i new wide.vec
    [ ! -e new ]
}

@test "a run that is killed at any moment leaves a whole index, and the next one goes on" {
    vectors random 3000 32 1 >a.vec
    vec-index -i whole a.vec
    kills=0 store=f32
    for n in $(seq 60); do
        vec-index --store $store --every 100 -i ix a.vec 3>&- &
        pid=$!
        sleep "0.0$((n * 37 % 100 / 10))$((n * 37 % 10))"
        if kill -KILL $pid 2>/dev/null; then kills=$((kills + 1)); fi
        wait $pid 2>/dev/null || true
        rm -f ix.*.tmp
        [ "$(ls | grep -v '^rest' | paste -sd' ')" = "$([ ! -e ix ] || printf 'a.vec ix whole')" ] || [ ! -e ix ]
        [ -e ix ] || continue
        # The records so far, in order: a multiple of 100.
        has=$(vec-index -l -i ix | wc -l)
        [ $((has % 100)) -eq 0 ]
        [ "$(vec-index -l -i ix | jq -r .id)" = "$(seq 0 $((has - 1)) | sed 's/^/r/')" ]
        [ "$has" -lt 3000 ] || rm ix
    done
    [ "$kills" -gt 20 ]
    vec-index -i ix a.vec
    cmp ix whole
}

@test "searches while the index is written see whole indexes; a second writer fails" {
    vectors random 2000 16 1 >a.vec
    vectors random 1 16 1 | vec-index -i ix
    vectors random 3 16 2 >q.vec
    vec-index --every 20 -i ix a.vec 3>&- &
    pid=$!
    before=0 looks=0
    while kill -0 $pid 2>/dev/null; do
        vec-search -k 2000 -i ix q.vec >found
        n=$(($(wc -l <found) / 3))
        [ "$n" -ge "$before" ] && [ "$n" -le 2000 ]
        [ "$n" -eq 1 ] || [ $((n % 20)) -le 1 ]
        before=$n looks=$((looks + 1))
    done
    wait $pid
    [ "$looks" -ge 2 ]
    [ "$(vec-index -l -i ix | wc -l)" -eq 2000 ]
    # Another program has changed the index between opening and writing.
    mkfifo in
    vec-index -i ix in 2>said 3>&- &
    pid=$!
    vectors random 1 16 3 first=5000 >b.vec
    { head -c 64 b.vec; sleep 0.5; vectors random 1 16 4 first=6000 | vec-index -i ix; tail -c +65 b.vec; } >in
    code=0
    wait $pid || code=$?
    [ "$code" -eq 65 ]
    grep -q 'another program has changed the index: ix' said
    [ "$(vec-index -l -i ix | jq -r .id | tail -n 1)" = r6000 ]
}

@test "damaged and foreign files are refused" {
    vectors random 5 4 1 >a.vec
    vec-index -i ix a.vec
    head -c 5000 ix >cut
    fails 65 "do not fit the file" vec-index -l -i cut
    head -c 100 ix >cut
    fails 65 "the index was cut" vec-index -l -i cut
    fails 65 "not an index(5)" vec-index -i a.vec a.vec
    fails 66 "cannot open nowhere" vec-index -l -i nowhere
    fails 65 "not a vectors(5) stream" vec-index -i new <<<'no vectors at all, but some text of sufficient length for a header'
    [ ! -e new ]
    python3 -c '
data = bytearray(open("ix", "rb").read())
data[12288 + 8] = data[12288 + 11] = 0xff # the length of an id, in the table
open("bad", "wb").write(data)'
    fails 65 "record 0 is not inside the file: bad" vec-index -l -i bad
    fails 65 "record 0 is not inside the file: bad" vec-index -i bad a.vec
    printf '{"id": 1}\n{"id": 1}\n' >twice
    fails 65 "duplicate id 1: line 2 of twice" vec-index -i ix --records twice a.vec
}

@test "an index that is a symbolic link to another folder" {
    mkdir far
    vectors random 5 4 1 >a.vec
    vectors random 5 4 1 first=9 >b.vec
    vec-index -i far/ix a.vec
    ln -s far/ix ix
    vec-index -i ix b.vec
    [ -L ix ]
    [ "$(vec-index -l -i ix | wc -l)" -eq 10 ]
    [ "$(vec-index -l -i far/ix | wc -l)" -eq 10 ]
    ln -s nowhere/ix broken
    fails 66 "cannot open broken" vec-index -i broken a.vec
}

@test "usage, full disks, folders that cannot be written" {
    vectors random 5 4 1 >a.vec
    fails 2 "-i is needed" vec-index a.vec
    fails 2 "--prune goes with --records" vec-index -i ix --prune
    fails 2 "three different" vec-index -i ix --missing --list
    fails 2 "--store takes" vec-index -i ix --store f16
    fails 2 "--every takes" vec-index -i ix --every 0
    fails 74 "cannot" vec-index -i nowhere/ix a.vec
    vec-index -i ix a.vec
    fails 74 "No space left" bash -c 'vec-index -l -i ix >/dev/full'
    fails 74 "No space left" bash -c 'echo "{\"id\": \"x\"}" | vec-index --missing -i ix >/dev/full'
}

@test "100,000 vectors take little memory" {
    python3 - >big.vec <<'END'
import random, struct, sys
dim, n = 64, 100000
out = sys.stdout.buffer
out.write(b"VECTOR\r\n" + struct.pack("<IIIIIIQQ", 1, 64, dim, 1, 1, 0, 7, 0) + bytes(16))
draw = random.Random(5).randbytes(4 * dim + 4 * n)
for i in range(n):
    attrs = b"id=%d" % i
    values = struct.pack("<64f", *[b - 127.5 for b in draw[4 * i:4 * i + dim]])
    payload = values + attrs
    out.write(b"VECT" + struct.pack("<IQfIII", 1, i, 0, len(attrs), 0, len(payload)) + payload + bytes(-len(payload) % 8))
out.write(b"END " + struct.pack("<IQfIII", 0, n, 0, 0, 0, 0))
END
    within_memory 150000 vec-index -i ix big.vec
    [ "$(vec-index -l -i ix | wc -l)" -eq 100000 ]
}

@test "own memory does not grow with the index" {
    [ "${BUILD:-build}" != build-san ] || skip "a sanitizer's memory does not fit the limit"
    vectors random 150000 2 1 >many.vec
    vectors random 100 2 2 >more.vec
    vec-index -i ix many.vec
    (ulimit -d 12000 && vec-index -v -i ix more.vec) 2>said # KB of private memory; an id map in it takes 20 MB
    grep -q '0 records are new, 100 replaced, 0 the same; the index has 150000' said
}

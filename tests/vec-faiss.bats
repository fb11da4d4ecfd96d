#!/usr/bin/env bats
# vec-faiss: round trips, searches against vec-search, and files that are not what they should be. `make faiss` builds it.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    command -v vec-faiss >/dev/null || skip "vec-faiss is not built: make faiss"
    cd "$BATS_TEST_TMPDIR"
    python3 "$ROOT/tests/lib/make_vectors.py" random 600 24 1 metric=2 >a.vec
    python3 "$ROOT/tests/lib/make_vectors.py" random 70 24 2 metric=2 >q.vec
}

@test "a flat index file gives the vectors back, and the records that vec-search finds" {
    vec-faiss -o flat --ids ids a.vec
    vec-faiss -i flat --vectors --ids ids --model 0000000000000007 >back.vec
    vec-index -i one a.vec
    vec-index -i two back.vec
    python3 - <<'END'
import struct
def vectors(path):
    data = open(path, "rb").read()
    dim, = struct.unpack_from("<I", data, 16)
    n, = struct.unpack_from("<Q", data, 56)
    return n, dim, data[4096 + (n * dim * 2 + 4095) // 4096 * 4096:][:n * dim * 4]
assert vectors("one") == vectors("two") and vectors("one")[:2] == (600, 24)
END
    vec-search -k 7 -i one q.vec | cut -f1,2,4 >want
    vec-faiss -k 7 -i flat --ids ids q.vec | cut -f1,2,4 | cmp - want
    [ "$(vec-faiss -k 1 -i flat q.vec | head -n 1 | cut -f4)" = "$(head -n 1 want | cut -f3 | tr -d r)" ]
}

@test "approximate kinds are written, read and searched; most of what they find is right" {
    vec-faiss -o flat --ids ids a.vec
    vec-faiss -k 5 -i flat --ids ids q.vec | cut -f1,4 | sort >want
    for kind in HNSW16 IVF8,Flat; do
        vec-faiss -o other --factory $kind a.vec 2>/dev/null
        vec-faiss -k 5 -i other --ids ids q.vec | cut -f1,4 | sort >got
        [ "$(comm -12 want got | wc -l)" -gt 60 ]
    done
}

@test "python's faiss reads the file, and the other way round" {
    python3 -c 'import faiss' 2>/dev/null || skip "faiss-cpu is not installed"
    vec-faiss -o flat a.vec
    python3 - <<'END'
import faiss, numpy
index = faiss.read_index("flat")
x = index.reconstruct_n(0, index.ntotal)
other = faiss.IndexHNSWFlat(index.d, 16, faiss.METRIC_INNER_PRODUCT)
other.add(x)
faiss.write_index(other, "hnsw")
numpy.save("x.npy", x)
END
    vec-faiss -i hnsw --vectors --model 7 | vec-index -i two
    vec-faiss -i flat --vectors --model 7 | vec-index -i one
    cmp one two
    # Both search the other's file, and find what vec-search finds.
    vec-index -i ix a.vec
    vec-search -k 7 -i ix q.vec | cut -f4 | tr -d r >want
    python3 - <<'END'
import faiss, numpy, struct
def values(path):
    data, at, rows = open(path, "rb").read(), 64, []
    dim, = struct.unpack_from("<I", data, 16)
    while data[at:at + 4] == b"VECT":
        payload, = struct.unpack_from("<I", data, at + 28)
        rows.append(numpy.frombuffer(data, "f", dim, at + 32))
        at += 32 + payload + -payload % 8
    return numpy.array(rows)
_, found = faiss.read_index("flat").search(values("q.vec"), 7)
numpy.savetxt("theirs", found.reshape(-1, 1), "%d")
flat = faiss.IndexFlatIP(24)
flat.add(values("a.vec"))
faiss.write_index(flat, "python")
END
    cmp theirs want
    vec-faiss -k 7 -i python q.vec | cut -f4 | cmp - want
}

@test "what is not an index file, is cut, or does not fit is refused" {
    vec-faiss -o flat --ids ids a.vec
    fails 65 "faiss:" vec-faiss -i a.vec q.vec
    for n in 0 3 40 100 20000; do
        head -c $n flat >cut
        fails 65 "cut" vec-faiss -i cut q.vec
    done
    head -n 5 ids >few
    fails 65 "5 ids, and the index has 600 vectors" vec-faiss -i flat --ids few q.vec
    python3 "$ROOT/tests/lib/make_vectors.py" random 2 5 1 >other.vec
    fails 65 "dimension 5, and the index has 24" vec-faiss -i flat other.vec
    fails 65 "faiss:" vec-faiss -o new --factory NoSuchKind a.vec
    [ ! -e new ]
    fails 66 "cannot open" vec-faiss -i nowhere q.vec
    fails 2 "-o or -i is needed" vec-faiss a.vec
    fails 2 "hexadecimal" vec-faiss -i flat --vectors --model xyz
    fails 74 "No space left" bash -c 'vec-faiss -i flat --vectors >/dev/full'
    head -c 3000 a.vec >cut.vec
    fails 65 "the stream was cut" vec-faiss -o new cut.vec
    [ ! -e new ]
    [ -z "$(find . -name '*.tmp')" ]
}

@test "--help and the page name the same options" {
    vec-faiss --help | grep -qi usage
    diff <(vec-faiss --help | grep -E '^ +-' | sed 's/  [^ -].*//' | grep -oE '(^|[ ,])--?[A-Za-z0-9][A-Za-z0-9-]*' | tr -d ' ,' | sort -u) \
        <(mandoc -T ascii -O width=200 "$ROOT/man/vec-faiss.1" | sed 's/.\x08//g' | awk '/^[A-Z]/ { on = 0 } /^DESCRIPTION/ { on = 1 } on' |
            grep -E '^ +-' | grep -oE '(^|[ ,])--?[A-Za-z0-9][A-Za-z0-9-]*' | tr -d ' ,' | sort -u)
}

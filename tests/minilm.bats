#!/usr/bin/env bats
# A published embedding model, all-MiniLM-L6-v2, against the vectors of sentence-transformers (tests/data/minilm).
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup_file() { # the model is fetched once for all users of this machine
    load lib/common
    MODEL=$(sh "$ROOT/tools/fetch-embed-model.sh") || MODEL=
    export MODEL
}

setup() {
    [ -n "$MODEL" ] || skip "all-MiniLM-L6-v2 cannot be fetched here"
    cd "$BATS_TEST_TMPDIR"
    export LLM_MODEL=$MODEL
    tok-encode -q -l "$DATA/minilm/texts" >ids
}

# The smallest cosine and the largest difference of two lists of vectors: FILE.npy, and the reference's.
compare() {
    python3 - "$1" "$DATA/minilm/vectors.safetensors" <<'PY'
import json, math, struct, sys
raw, ref = open(sys.argv[1], "rb").read()[128:], open(sys.argv[2], "rb").read()
n = struct.unpack_from("<Q", ref)[0]
head = json.loads(ref[8:8 + n])["vectors"]
lines, dim = head["shape"]
want = struct.unpack(f"<{lines * dim}f", ref[8 + n:])
got = struct.unpack(f"<{len(raw) // 4}f", raw)
assert len(got) == len(want), (len(got), len(want))
cosine = 1.0
for i in range(0, len(want), dim):
    a, b = got[i:i + dim], want[i:i + dim]
    cosine = min(cosine, sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))
print("%.9f %.3g" % (cosine, max(abs(x - y) for x, y in zip(got, want))))
PY
}

@test "vectors of real texts: cosine 0.99999 and 1e-5 of sentence-transformers'" {
    llm-embed --npy v.npy ids
    compare v.npy >how
    cat how
    awk '$1 < 0.99999 || $2 > 1e-5 { exit 1 }' how
}

@test "each instruction set is as near" {
    ! sanitized || skip "the build without sanitizers runs it"
    for isa in c avx2 avx512; do
        LLM_ISA=$isa llm-embed --npy v.npy ids || [[ $? -eq 2 && $isa != c ]] || false
        [ -e v.npy ] || continue
        compare v.npy | awk '$1 < 0.99999 || $2 > 1e-5 { print; exit 1 }'
        rm v.npy
    done
}

@test "the same bytes for any batch and number of threads" {
    ! sanitized || skip "the build without sanitizers runs it"
    llm-embed ids >want
    for options in '-b 1 -t 1' '-b 5 -t 2' '-b 256 -t 3'; do
        llm-embed $options ids | cmp - want
    done
    # Each text alone.
    llm-embed -j ids >all
    grep -v '^#' ids | while IFS= read -r line; do
        llm-embed -j <<<"$line"
    done | cmp - all
}

@test "similar texts have similar vectors" {
    printf 'A man is playing a guitar.\nSomeone plays an instrument.\nThe stock market fell today.\n' | tok-encode -q -l | llm-embed -j |
        jq -s -e '[.[].embedding] as $v | def dot(a; b): [a, b] | transpose | map(.[0] * .[1]) | add;
            dot($v[0]; $v[1]) > 0.5 and dot($v[0]; $v[2]) < 0.2' >/dev/null
}

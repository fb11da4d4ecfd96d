#!/usr/bin/env bash
# The same bits alone, in any batch, in chunks of any size, from retained pages, and while sampling: by cmp of what the real
# programs write.
# usage: LLM_DEVICE=cuda invariance.sh BUILD [small] [MODEL ...]       MODEL: folders, default some of tests/data/models
# "small": few and short sequences, for the stand-in. Writes "ok" and "not ok" lines, and a line "= ..." last.
# SPDX-License-Identifier: AGPL-3.0-or-later
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
shift
small=
[ "${1:-}" = small ] && small=1 && shift
[ $# -gt 0 ] || set -- "$root"/tests/data/models/{llama,qwen2,gemma3,mixtral,llama-f32}
[ -z "$small" ] || set -- "$root"/tests/data/models/llama
PATH=$build/bin:$PATH
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
same() { # NAME FILE FILE
    if [ -s "$2" ] && cmp "$2" "$3"; then echo "ok $1"; else echo "not ok $1"; fi
}
rows() { # STREAM: nothing where a logit is no number, which would be the same everywhere
    python3 "$root/tests/lib/frames.py" --rows "$1" >stream.rows
    if python3 -c 'import array, math, sys
sys.exit(not all(map(math.isfinite, array.array("f", open("stream.rows", "rb").read()))))'; then
        cat stream.rows
    else
        echo "# logits that are no numbers" >&2
    fi
}
run() { # OUT OPTION...: the logits of ids as rows, ordered by sequence and position
    local out=$1
    shift
    llm-forward -m "$model" --no-return "$@" ids >stream && rows stream >"$out"
    [ -s "$out" ] || echo "# llm-forward $* gave nothing"
}
sampled() { # OUT OPTION...: ids and rows of greedy continuations
    local out=$1
    shift
    llm-forward -m "$model" "$@" ids | tee stream | llm-sample -n "$n_new" --ignore-eos | grep -v '^#' >"$out.ids"
    rows stream >"$out.rows"
}

# The folder MODEL; more batches and chunks where FULL is not empty.
check() ( # MODEL FULL
    model=$1 m=$(basename "$1")
    mkdir "$m" && cd "$m" || exit 1
    if [ -n "$small" ]; then
        n_seq=3 longest=12 n_new=3 batches=3 chunks=5 all=-a
    elif [ "$2" = full ]; then
        n_seq=40 longest=150 n_new=16 batches='2 7 8 9 16 33 40' chunks='1 7 64 512' all=-a
    else
        n_seq=40 longest=150 n_new=16 batches='2 40' chunks='7 512' all=-a
    fi
    if [ "$(stat -L -c %s "$model"/*.safetensors | sort -n | tail -n 1)" -gt 100000000 ]; then # rows are long: the last one only
        n_seq=12 longest=900 n_new=16 batches='2 12' chunks='7 512' all=
    fi
    # sequences of 1 to `longest` ids, all below 288
    awk -v n=$n_seq -v longest=$longest 'BEGIN {
        for (i = 0; i < n; i++) {
            len = 1 + (i * 37) % longest
            for (k = 0; k < len; k++) printf "%d%s", 3 + (i * 7919 + k * 104729) % 280, k + 1 < len ? " " : "\n"
        } }' >ids
    run alone $all -b 1
    run again $all -b 1
    same "$m, twice" alone again
    for b in $batches; do
        run many $all -b "$b"
        same "$m, batch $b" alone many
    done
    for c in $chunks; do
        run many $all -b 1 --chunk "$c"
        same "$m, alone in chunks of $c" alone many
        run many $all -b $((n_seq / 2)) --chunk "$c"
        same "$m, batch $((n_seq / 2)) in chunks of $c" alone many
    done
    if [ -z "$small" ]; then
        run alone $all -b 1 --precise
        run many $all -b 16 --precise --chunk 32
        same "$m, --precise" alone many
    fi
    sampled alone -b 1
    sampled many -b $n_seq
    same "$m, ids sampled together" alone.ids many.ids
    same "$m, logits sampled together" alone.rows many.rows
    # from retained pages: a long common beginning, then other ends
    awk -v n=$((n_seq / 4 + 1)) -v longest=$longest 'BEGIN {
        for (i = 0; i < n; i++) {
            for (k = 0; k < longest; k++) printf "%d ", 3 + (k * 104729) % 280
            for (k = 0; k < 3 + i; k++) printf "%d%s", 5 + (i * 31 + k * 17) % 280, k + 1 < 3 + i ? " " : "\n"
        } }' >ids
    run alone -b 1 --keep 0
    run many -b 1 --keep 256
    same "$m, from retained pages" alone many
    run many -b 4 --keep 256
    same "$m, from retained pages in a batch" alone many
)

# All at once, for most of the time is that of opening a model.
{
    full=full
    for model; do
        check "$model" "$full" &
        full=
        [ -z "$small" ] || wait
    done
    wait
} 2>&1 | tee said
good=$(grep -c '^ok' said) bad=$(grep -c '^not ok' said)
echo "= $good same, $bad differ"
[ "$bad" -eq 0 ] && [ "$good" -gt 0 ]

#!/usr/bin/env bash
# One run on a machine with a GPU: is the backend right there, and how fast? Most valuable first; nothing stops the rest.
# usage: tests/gpu/window.sh [BUILD [PART ...]]       BUILD: build, or what tests/gpu/carry.sh made (build-gpu)
# Environment:
#   WINDOW_S=560        seconds in all; a part that would have too few of them left is skipped, and that is said
#   WINDOW_STANDIN=1    on the stand-in driver: tiny sizes, and what needs a real GPU is skipped
#   OUT=build-gpu/out   gets summary (a line a part) and all.log (what every part printed); two files, since few come back
#                       from a lent machine
# A part is a function p_NAME. What it prints on lines that begin with "= " is shown in the table at the end.
# SPDX-License-Identifier: AGPL-3.0-or-later
set -u
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
B=$(cd "${1:-build}" && pwd) || exit 1
shift
only=" $* "
total=${WINDOW_S:-560}
OUT=${OUT:-$root/build-gpu/out}
standin=${WINDOW_STANDIN:-}
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd)
: >"$OUT/summary"
: >"$OUT/all.log"

# Models of 2.3 and 2.5 GB are made in memory where there is room.
scratch=${TMPDIR:-/tmp}
[ -n "$standin" ] || [ "$(df -Pk /dev/shm 2>/dev/null | awk 'END { print int($4 / 1048576) }')" -lt 12 ] || scratch=/dev/shm
W=$(mktemp -d "$scratch/tokpipe-window-XXXXXX") || exit 1
children=()
finish() {
    for p in ${children[@]+"${children[@]}"}; do kill "$p" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$W"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ -n "$standin" ]; then
    export LD_LIBRARY_PATH=$B/tests/cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LLM_CUDA_IMAGE=${LLM_CUDA_IMAGE:-$root/tests/gpu/window.sh} # any file: the stand-in has kernels of its own
elif [ -s "$B/kernels.fatbin" ]; then
    export LLM_CUDA_IMAGE=${LLM_CUDA_IMAGE:-$B/kernels.fatbin} # as tests/gpu/carry.sh left them
fi
for d in /usr/local/cuda/bin /opt/nvidia/nsight-compute/*/; do [ -d "$d" ] && PATH=$PATH:$d; done
export root B W OUT standin PATH TMPDIR=$W LLM_DEVICE=
unset LLM_MODEL LLM_ISA
jobs=$(getconf _NPROCESSORS_ONLN)

# ---------------------------------------------------------------- parts

p_facts() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu,ecc.mode.current,pcie.link.gen.current,pcie.link.width.current,compute_mode --format=csv
    nvcc --version | tail -n 2
    grep -m 1 'model name' /proc/cpuinfo
    getconf GNU_LIBC_VERSION
    gcc --version | head -n 1
    uname -r
    free -g | sed -n 2p
    "$B/bin/llm-forward" --device list
    echo "= $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader), $(getconf GNU_LIBC_VERSION), $jobs CPUs"
}
p_starts() { # else everything is compiled here, with the libraries that were carried along
    local rc
    . "$root/tests/gpu/parts.sh"
    "$B/bin/llm-forward" --version && "$B/bin/llm-forward" --device list
    rc=$?
    if [ $rc -eq 0 ]; then
        ldd "$B/bin/llm-forward"
        echo "= the programs start"
        return
    fi
    ls "$B/deps/lib" >/dev/null || return 1
    rm -rf "$root/build-there"
    make -C "$root" -j"$jobs" B=build-there CUDA_ARCHS="90 90a" CC="gcc -I$B/deps/include -L$B/deps/lib" \
        LIBS='-l:libpcre2-8.a -l:libutf8proc.a -l:libsodium.a -l:libseccomp.a -lm -ldl -pthread' \
        "${programs[@]/#/build-there/bin/}" "${units[@]/#/build-there/tests/}" "${benches[@]/#/build-there/bench/}" || return 1
    cp -r "$B/hashes" "$root/build-there/" 2>/dev/null
    "$root/build-there/bin/llm-forward" --device list && echo "= the carried programs do not start; compiled here instead"
}
p_bits() {
    local bits=$B/bits
    if ! [ -x "$bits" ] || ldd "$bits" 2>&1 | grep -q 'not found'; then
        bits=$W/bits
        nvcc -O3 -std=c++17 -gencode arch=compute_90a,code=sm_90a -o "$bits" "$root/tests/gpu/bits.cu" || return 1
    fi
    "$bits" | tee "$W/bits.out"
    local rc=${PIPESTATUS[0]}
    awk '/differ / { pairs++; bad += $2 > 0 }
        /^model.*\.1\./ { miss += $2 }
        { v[$1] = $2 }
        END { printf "= %d pairs, %d differ in bits; model misses %d; read %.0f GB/s, copy %.0f; gap %.2f us graph, %.2f PDL\n", pairs, bad,
              miss, v["limits.best_read"], v["limits.copy.memcpy.read+write"], v["limits.launch.128blocks.graph"],
              v["limits.launch.128blocks.graph_pdl"] }' "$W/bits.out"
    return $rc
}
p_kernels() { # the tests of kernels here, and their results beside those of the stand-in
    local t n rc=0 first text=
    for t in "$B"/tests/cuda_*; do
        [ -f "$t" ] || continue
        n=$(basename "$t")
        [ -z "$standin" ] || [ "$n" = cuda_experts ] || continue # the others are in make check
        TEST_GPU=$([ -n "$standin" ] || echo 1) CUDA_TEST_HASHES=$W/gpu.$n timeout --foreground 40 "$t" || { rc=1; text="$text $n fails;"; }
        first=$B/hashes/$n
        if ! [ -s "$first" ] && [ -e "$B/tests/cuda/libcuda.so.1" ]; then
            first=$W/standin.$n
            CUDA_TEST_HASHES=$first timeout --foreground 40 "$t" >/dev/null
        fi
        [ -s "$W/gpu.$n" ] || { echo "# $n gave no hashes"; continue; }
        cat "$W/gpu.$n" >>"$W/gpu.hashes"
        cat "$first" >>"$W/standin.hashes"
    done
    [ -s "$W/gpu.hashes" ] || { echo "=${text:- no test of kernels gave hashes}"; return $rc; }
    sh "$root/tests/gpu/compare-hashes.sh" "$W/standin.hashes" "$W/gpu.hashes" >"$W/compared" || rc=1
    grep -v '^= ' "$W/compared"
    echo "=$text $(sed -n 's/^= //p' "$W/compared")"
    return $rc
}
p_goldens() { # four at once, for much of the time is that of opening models
    local i rc=0 all pids=()
    cd "$root" || return 1
    all=(tests/data/models/*/ tests/data/models-odd/*/ tests/data/quant/*/)
    [ -z "$standin" ] || all=(tests/data/models/llama/ tests/data/quant/awq/)
    for i in 0 1 2 3; do
        # shellcheck disable=SC2046 # a list of folders
        set -- $(printf '%s\n' "${all[@]%/}" | awk -v i=$i 'NR % 4 == i')
        [ $# -gt 0 ] || continue
        "$B/tests/goldens" --device cuda "$@" >"$W/goldens.$i" 2>&1 &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || rc=1; done
    cat "$W"/goldens.?
    echo "= $(cat "$W"/goldens.? | grep -c '^ok') of ${#all[@]} ok, $(cat "$W"/goldens.? | grep -c '^not ok') not ok"
    return $rc
}
p_invariance() {
    local rc=0 t bad=
    . "$root/tests/gpu/parts.sh"
    for t in "${whole_model[@]}"; do
        [ -n "$standin" ] && break # they are in make check
        timeout --foreground 30 "$B/tests/$t" --device cuda || { rc=1; bad="$bad $t fails;"; }
    done
    # shellcheck disable=SC2046
    LLM_DEVICE=cuda bash "$root/tests/gpu/invariance.sh" "$B" ${standin:+small} | grep -v '^= ' | tee "$W/invariance"
    if [ -z "$standin" ] && made tinyllama; then
        LLM_DEVICE=cuda bash "$root/tests/gpu/invariance.sh" "$B" "$W/tinyllama" | grep -v '^= ' | tee "$W/invariance.large"
    fi
    ! grep -q '^not ok' "$W"/invariance* && grep -q '^ok' "$W/invariance" || rc=1
    echo "=$bad $(cat "$W"/invariance "$W"/invariance.large 2>/dev/null | awk '/^ok/ { o++ } /^not ok/ { n++ } END { printf "%d same, %d differ", o, n }')"
    return $rc
}
made() { # waits for a model that is being written
    local i
    for i in $(seq 600); do
        [ -e "$W/$1/model.safetensors" ] && [ -e "$W/$1.made" ] && return 0
        [ -e "$W/$1.failed" ] && break
        sleep 0.1
    done
    echo "# $1 was not made"
    return 1
}
limit_of() { awk -v n="$1" '$1 == n { v = $2 } END { printf "%.0f", v }' "$W/bits.out" 2>/dev/null || echo 0; }
decode() { # MODEL ROWS CONTEXT STEPS
    local line
    line=$(timeout --foreground 30 "$B/bench/model" "$W/$1" --device cuda -s "$2" -c "$3" -n "$4") || { echo "# $* failed"; return 1; }
    echo "decode $1 rows=$2 context=$3: $line"
    echo "$line" | tr ' ' '\n' | awk -F = -v name="$1 $2@$3" -v read="$(limit_of limits.best_read)" \
        '{ v[$1] = $2 } END { printf "= %s: %.1f tok/s, %.0f GB/s", name, v["decode"], v["read"] / 1e9;
            if (read > 0) printf " (%.0f %% of read)", v["read"] / 1e7 / read; print "" }'
}
p_decode() {
    [ -x "$B/bench/model" ] || { echo "= no bench/model in this build"; return 1; }
    local rc=0 s
    if [ -n "$standin" ]; then
        ln -s "$root/tests/data/models/llama" "$W/llama"
        decode llama 2 8 3
        return
    fi
    made tinyllama && made llama-3.2-1b || return 1
    decode tinyllama 1 128 512 || rc=1
    decode llama-3.2-1b 1 128 512 || rc=1
    for s in 8 32; do decode tinyllama $s 128 256 || rc=1; done
    decode tinyllama 1 8192 256 || rc=1
    for s in 8 32; do decode llama-3.2-1b $s 128 256 || rc=1; done
    decode tinyllama 8 8192 128 || rc=1
    decode llama-3.2-1b 1 8192 256 || rc=1
    decode tinyllama 32 8192 64 || rc=1
    decode tinyllama 1 128 512 || rc=1 # once more: the spread
    return $rc
}
p_step() { # what decode's time is made of: the matrices and attention of a step, as graphs
    local step=$B/decode rc=0 rows line
    if ! [ -x "$step" ] || ldd "$step" 2>&1 | grep -q 'not found'; then
        step=$W/decode
        nvcc -O3 -std=c++17 -fmad=false -I"$root/common" -gencode arch=compute_90a,code=sm_90a -o "$step" "$root/tests/gpu/decode.cu" || return 1
    fi
    for rows in "1" "8" "32" "1 8192"; do
        # shellcheck disable=SC2086 # rows and context
        line=$(timeout --foreground 10 "$step" $rows) || rc=1
        echo "= $line"
    done
    return $rc
}
p_prefill() {
    local m n line rc=0
    made tinyllama && made llama-3.2-1b || return 1
    for m in tinyllama llama-3.2-1b; do
        for n in 1024 4096; do
            line=$(timeout --foreground 15 "$B/bench/model" "$W/$m" --device cuda -p $n) || { rc=1; continue; }
            echo "prefill $m $n: $line"
            echo "$line" | tr ' ' '\n' | awk -F = -v name="$m $n" \
                '{ v[$1] = $2 } END { printf "= prefill %s: %.0f tok/s, %.0f TFLOP/s\n", name, v["prefill"], v["prefill_flops"] / 1e12 }'
        done
    done
    return $rc
}
p_peer() { # started in the background long before
    touch "$W/peer.go"
    local i
    for i in $(seq 200); do
        kill -0 "$peer" 2>/dev/null && ! grep -q '^peer.wall' "$W/peer.said" || break
        sleep 0.2
    done
    cat "$W/peer.said"
    awk '$3 == "tokens/s" || $3 == "ms" || $3 == "TFLOP/s" || $3 == "GB/s" {
            sub("peer[.]", "", $1); text = text sprintf("%s%s %.4g %s", text ? "; " : "", $1, $2, $3) }
        END { print "= " (text ? text : "nothing measured"); exit !text }' "$W/peer.said"
}
p_quantised() { # our own layouts and GGUF's blocks beside F32 and the CPU, and the speed of quantised models beside BF16
    local m t rc=0 r=$W/quantised
    mkdir -p "$r"
    printf '9 10 11 12\n120 121 122 123 124 125 126 127 128 129 130\n27 28 29\n' >"$r/ids"
    run() { timeout 20 "$B/bin/llm-forward" --no-return -a -q "$@" "$r/ids"; }
    for m in llama llama-q qwen3-moe; do
        [ $m != qwen3-moe ] || [ -z "$standin" ] || continue
        rm -rf "$r/q" "$r/plain"
        if [ $m = llama-q ]; then
            python3 "$root/tests/lib/gguf_of_folder.py" "$root/tests/data/models/$m" "$r/m.gguf" --blocks=Q4_K,Q6_K,Q4_0,Q8_0,Q4_1 &&
                "$B/bin/st-convert" --dtype f32 "$r/m.gguf" "$r/plain" >/dev/null &&
                "$B/bin/st-convert" --dtype f32 --keep-quant "$r/m.gguf" "$r/q" >/dev/null || return 1
        else
            python3 "$root/tests/lib/quantise.py" mixed "$root/tests/data/models/$m" "$r/q" "$r/plain" || return 1
        fi
        run -m "$r/plain" --device cuda --precise >"$r/want"
        run -m "$r/q" --device cuda --precise >"$r/precise"
        run -m "$r/q" --device cuda >"$r/all"
        run -m "$r/q" --device cuda -b 1 --chunk 3 >"$r/one"
        run -m "$r/q" >"$r/cpu"
        "$B/bin/llm-diff" -q --max 0 "$r/want" "$r/precise" && echo "ok $m: --precise has the bits of F32" || rc=1
        "$B/bin/llm-diff" -q --max 0 "$r/all" "$r/one" && echo "ok $m: alone and in chunks" || rc=1
        "$B/bin/llm-diff" -q --kl 1e-3 "$r/cpu" "$r/all" && echo "ok $m: near the CPU" || rc=1
    done
    [ $rc -eq 0 ] && echo "= quantised: bits of F32 with --precise, the same in batches, near the CPU"
    [ -z "$standin" ] || return $rc
    made tinyllama || return 1
    python3 "$root/tests/gpu/mkct.py" "$W/ct4" && touch "$W/ct4.made"
    for t in i8 i4_32; do
        "$B/bin/st-quantize" -q --no-search --type $t "$W/tinyllama" "$W/$t" >/dev/null && touch "$W/$t.made"
    done
    for m in i8 i4_32 ct4; do
        decode $m 1 128 200 || rc=1
        decode $m 8 128 60 || rc=1
        "$B/bench/model" "$W/$m" --device cuda -p 1024 | sed "s/^/= prefill $m 1024: /"
    done
    rm -rf "$W/i8" "$W/i4_32" "$W/ct4"
    return $rc
}
p_pipe() { # ids | llm-forward | llm-sample | tok-decode; the difference of two lengths, so that opening the model is left out
    local model=$W/tinyllama few=64 many=1088 n begin
    if [ -n "$standin" ]; then
        model=$root/tests/data/tiny few=2 many=6
    else
        made tinyllama || return 1
        BENCH_MODELS=$W BUILD=$B python3 -c 'import sys; sys.path.insert(0, "bench/lib"); import parts; parts.prepare()' || return 1
    fi
    seq -s ' ' 3 130 | head -c "$([ -n "$standin" ] && echo 12 || echo 999)" | sed 's/ [0-9]*$//' >"$W/ids"
    set -o pipefail
    for n in $few $many $few $many; do
        begin=$(date +%s%N)
        "$B/bin/llm-forward" -m "$model" --device cuda "$W/ids" | "$B/bin/llm-sample" -n "$n" --ignore-eos |
            "$B/bin/tok-decode" -m "$model" >"$W/text" || return 1
        echo "$n $(($(date +%s%N) - begin))"
    done >"$W/pipe"
    cat "$W/pipe"
    "$B/bin/llm-forward" -v -m "$model" --device cuda "$W/ids" 2>&1 >"$W/stream" | head -n 40
    awk '{ if (!($1 in t) || $2 < t[$1]) t[$1] = $2; if (min == "" || $1 < min) min = $1; if ($1 > max) max = $1 }
        END { printf "= %.1f tok/s through the pipe, %.2f s until the first %d\n", (max - min) / (t[max] - t[min]) * 1e9, t[min] / 1e9, min }' \
        "$W/pipe"
}
p_sanitize() {
    local t rc=0 r text='' models='llama mixtral'
    for t in memcheck racecheck; do
        # shellcheck disable=SC2086 # a list of names
        timeout --foreground -k 2 30 compute-sanitizer --tool $t --report-api-errors no --error-exitcode 9 --print-limit 20 "$B/tests/goldens" --device cuda $models >"$W/$t" 2>&1
        r=$?
        models=llama
        [ $r -eq 0 ] || rc=1
        tail -n 60 "$W/$t"
        text="$text $t: $(grep -oE 'ERROR SUMMARY.*|RACECHECK SUMMARY.*' "$W/$t" | tail -n 1 | cut -d : -f 2-) (exit $r);"
    done
    echo "=$text"
    return $rc
}
p_ncu() { # first which kernels a decode step spends its time in, then why
    local model=$W/tinyllama run
    made tinyllama || return 1
    run=("$B/bench/model" "$model" --device cuda -c 128 -n 3)
    timeout --foreground 25 ncu --clock-control none --csv --metrics gpu__time_duration.sum --launch-skip 250 --launch-count 240 "${run[@]}" \
        >"$W/ncu.csv" 2>&1
    python3 - "$W/ncu.csv" >"$W/ncu.names" <<'PY'
import csv, sys
lines = [l for l in open(sys.argv[1]) if l.startswith('"')]
total = {}
for r in csv.DictReader(lines):
    try:
        t = float(r["Metric Value"].replace(",", "")) * {"ns": 1e-3, "us": 1, "usecond": 1, "nsecond": 1e-3, "ms": 1e3}[r["Metric Unit"]]
    except (KeyError, ValueError, AttributeError):
        continue
    n, s = total.get(r["Kernel Name"], (0, 0.0))
    total[r["Kernel Name"]] = (n + 1, s + t)
for name, (n, s) in sorted(total.items(), key=lambda i: -i[1][1]):
    print(name.split("(")[0], n, f"{s:.1f} us, {s / n:.2f} each")
PY
    cat "$W/ncu.names"
    [ -s "$W/ncu.names" ] || { tail -n 20 "$W/ncu.csv"; return 1; }
    echo "= $(head -n 3 "$W/ncu.names" | tr '\n' ';')"
    timeout --foreground 25 ncu --clock-control none --section SpeedOfLight --section MemoryWorkloadAnalysis --section WarpStateStats \
        --section LaunchStats --section Occupancy -k "regex:^($(head -n 3 "$W/ncu.names" | cut -d ' ' -f 1 | paste -s -d '|'))$" \
        --launch-skip 60 --launch-count 8 "${run[@]}" 2>&1 | tail -n 400
}

# ---------------------------------------------------------------- the run

began=$SECONDS
left() { echo $((total - (SECONDS - began))); }
say() { # NAME RESULT SECONDS TEXT
    printf '%-11s %-9s %5s s  %s\n' "$1" "$2" "$3" "$4" | tee -a "$OUT/summary"
}
part() { # NAME SECONDS LEAST: the function p_NAME under timeout; LEAST: what it is worth starting with
    local name=$1 seconds=$2 least=$3 have start rc result
    [ "$only" = "  " ] || [[ $only == *" $name "* ]] || return 0
    have=$(left)
    if [ "$have" -lt "$least" ]; then
        say "$name" skipped 0 "$have s are left of $total, it needs $least"
        return 0
    fi
    [ "$have" -gt "$seconds" ] || seconds=$have
    start=$SECONDS
    timeout -k 3 "$seconds" bash -c "p_$name" >"$W/$name.log" 2>&1
    rc=$?
    case $rc in
    0) result=ok ;;
    124 | 137) result=TIMEOUT ;;
    *) result="FAILED $rc" ;;
    esac
    [ "$result" != TIMEOUT ] || cat "$W/$name".[0-9] >>"$W/$name.log" 2>/dev/null # what it had not shown yet
    { echo "==================== $name: $result"; cat "$W/$name.log"; } >>"$OUT/all.log"
    say "$name" "$result" $((SECONDS - start)) "$(sed -n 's/^= *//p' "$W/$name.log" | head -n 1)"
    sed -n 's/^= *//p' "$W/$name.log" | sed 1d | sed 's/^/                               /' | tee -a "$OUT/summary"
    [ $rc -eq 0 ] || tail -n 3 "$W/$name.log" | cut -c 1-200 | sed 's/^/                             | /'
    return $rc
}
real() { # what only a GPU can tell
    if [ -z "$standin" ]; then
        part "$@"
    elif [ "$only" = "  " ] || [[ $only == *" $1 "* ]]; then
        say "$1" skipped 0 stand-in
    fi
}
wanted() { # whether any of these parts is to run
    local n
    for n; do [ "$only" = "  " ] || [[ $only == *" $n "* ]] && return 0; done
    return 1
}
export peer='' began total
export -f made decode limit_of $(declare -F | sed 's/.* //' | grep '^p_')
export jobs

real facts 10 1
part starts 150 5
[ -x "$root/build-there/bin/llm-forward" ] && ! "$B/bin/llm-forward" --version >/dev/null 2>&1 && export B=$root/build-there

if [ -z "$standin" ] && wanted decode prefill quantised peer pipe ncu invariance; then # beside the parts that are not timed
    for m in tinyllama llama-3.2-1b; do
        ("$B/bench/mkmodel" $m "$W/$m" >"$W/$m.log" 2>&1 && touch "$W/$m.made" || { touch "$W/$m.failed"; cat "$W/$m.log" >>"$OUT/all.log"; }) &
        children+=($!)
    done
fi
real bits 50 15
if [ -z "$standin" ] && wanted peer; then
    (made tinyllama && exec python3 "$root/tests/gpu/peer.py" "$W/tinyllama" --ready "$W/peer.ready" --go "$W/peer.go") >"$W/peer.said" 2>&1 &
    peer=$!
    children+=("$peer")
fi
part kernels 60 5
part goldens 60 5
part invariance 75 5
if [ -n "$peer" ] && wanted decode prefill; then # the peer must be quiet while we are timed
    for i in $(seq 300); do
        [ -e "$W/peer.ready" ] || ! kill -0 "$peer" 2>/dev/null && break
        [ "$(left)" -gt 110 ] || { kill "$peer"; echo "# the peer took too long to compile" >>"$W/peer.said"; break; }
        sleep 0.2
    done
fi
part decode 75 10
real step 20 5
real prefill 25 8
part quantised 60 10
real peer 45 8
[ -z "$peer" ] || kill "$peer" 2>/dev/null # not beside what is timed next
real sanitize 65 20
real ncu 50 15
part pipe 30 8

echo
echo "$((SECONDS - began)) s in all; everything is in $OUT/all.log"
! grep -qE '^[a-z]+ +(FAILED|TIMEOUT)' "$OUT/summary"

#!/usr/bin/env bats
# llm-sample against a toy that stands in for llm-forward (tests/lib/toy-forward): no model is needed.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    printf '1 2 3\n4 5\n9\n' >ids
}

teardown() {
    ! ls -d tokpipe-* 2>/dev/null # no socket is left behind
}

toy() { "$ROOT/tests/lib/toy-forward" "$@"; }
ids_only() { grep -v '^[#!]'; }

# Without the attribute that every answer without its prompt has.
plain() { sed 's/ *continues=1//; /^#@ *$/d'; }
export -f plain

@test "greedy is the largest logit at every step, of every sequence, in order" {
    toy --greedy 7 <ids >want
    toy <ids | llm-sample -n 7 >out
    diff want <(ids_only <out)
    [ "$(head -n 1 out)" = "# tokens vocab=32 tokenizer=5f0c9a31e2b7d804" ]
    [ "$(grep -c '^#= finish=length prompt=[123] completion=7$' out)" -eq 3 ]
    toy --reverse <ids | llm-sample -n 7 | cmp - out # the last sequence is served first
    toy --all <ids | llm-sample -n 7 | cmp - out     # rows of all prompt positions
    toy --hidden 4 <ids | llm-sample -n 7 | cmp - out
}

@test "a sampler in 60 lines of Python says the same" {
    [ "$(wc -l <"$ROOT/tests/sampler.py")" -le 60 ]
    toy <ids | llm-sample -n 7 | ids_only >want
    toy <ids | "$ROOT/tests/sampler.py" 7 | ids_only | diff want -
}

@test "the EOS id ends a sequence and is written; --ignore-eos goes on" {
    eos=$(toy --greedy 4 <ids | awk 'NR == 2 { print $4 }')
    toy --greedy 9 --eos "$eos" <ids >want
    toy --eos "$eos" <ids | llm-sample -n 9 >out
    diff want <(ids_only <out)
    grep -q '^#= finish=eos prompt=2 completion=[1-4]$' out
    toy --greedy 9 <ids | diff - <(toy --eos "$eos" <ids | llm-sample -n 9 --ignore-eos | ids_only)
}

@test "end_id of a sequence is one more end-of-sequence id" {
    eos=$(toy --greedy 3 <ids | awk 'NR == 1 { print $3 }')
    printf "#@ end_id=$eos\n1 2 3\n1 2 3\n" | toy | llm-sample -n 9 >out
    [ "$(grep '^#=' out | sed 's/completion=[123]$/completion=few/')" = '#= finish=eos prompt=3 completion=few
#= finish=length prompt=3 completion=9' ]
    # --ignore-eos goes on, --stop-id still counts
    printf "#@ end_id=$eos\n1 2 3\n" | toy | llm-sample -n 9 --ignore-eos | grep -q 'finish=length prompt=3 completion=9'
    other=$(toy --greedy 1 <ids | awk 'NR == 1 { print $1 }')
    printf "#@ end_id=$eos\n1 2 3\n" | toy | llm-sample -n 9 --stop-id "$other" | grep -q 'finish=stop prompt=3 completion=1'
    printf "#@ end_id=x\n1\n" >bad
    fails 1 "! end_id takes a token id: 'x'" bash -c "'$ROOT/tests/lib/toy-forward' <bad | llm-sample -n 1"
}

@test "answers that nothing ends are warned about, once" {
    said() { { toy --context 9 "${toy_options[@]}" <ids | llm-sample "$@" >/dev/null; } 2>&1; }
    toy_options=()
    [ "$(said | grep -c 'names no id that ends a text')" -eq 1 ]
    [ "$(said -n 3)" = '' ]
    [ "$(said --stop-id 3)" = '' ]
    [ "$(said --ignore-eos)" = '' ]
    toy_options=(--eos 3)
    [ "$(said)" = '' ]
}

@test "--stop-id ends a sequence behind that id" {
    stop=$(toy --greedy 3 <ids | awk 'NR == 1 { print $3 }')
    toy <ids | llm-sample -n 9 --stop-id "31,$stop" --stop-id 31 >out
    grep -q '^#= finish=stop prompt=3 completion=[123]$' out
}

@test "the context's end is finish=length" {
    toy --context 6 <ids | llm-sample >out
    [ "$(grep '^#=' out)" = "#= finish=length prompt=3 completion=4
#= finish=length prompt=2 completion=5
#= finish=length prompt=1 completion=6" ]
}

@test "-n 0 answers with empty lines, --echo with the prompts" {
    [ "$(toy <ids | llm-sample -n 0 | ids_only | wc -l)" -eq 3 ]
    [ "$(toy <ids | llm-sample -n 0 | ids_only | wc -c)" -eq 3 ]
    toy <ids | llm-sample -n 0 --echo | ids_only | cmp - ids
    toy <ids | llm-sample -n 5 --echo | ids_only >out
    paste -d' ' ids <(toy <ids | llm-sample -n 5 | ids_only) | cmp - out
}

@test "a seed decides everything, alone and among others" {
    toy <ids | llm-sample -n 9 -T 2 -s 1 >a
    toy --reverse <ids | llm-sample -n 9 -T 2 -s 1 | cmp - a
    toy <ids | llm-sample -n 9 -T 2 -s 2 >b
    run ! cmp -s a b
    # Known answers: they hold on every machine.
    [ "$(ids_only <a | head -n 1)" = "$(cat "$DATA/wire/seed1.ids")" ]
    # A seed of the sequence's own does not depend on its place.
    printf '#@ seed=5\n1 2 3\n7\n#@ seed=5\n1 2 3\n' | toy | llm-sample -n 9 -T 2 -s 1 | ids_only >c
    [ "$(sed -n 1p c)" = "$(sed -n 3p c)" ]
}

@test "no seed draws anew each time, and -v says which" {
    toy <ids | llm-sample -n 20 -T 5 -v >a 2>said
    toy <ids | llm-sample -n 20 -T 5 >b
    run ! cmp -s a b
    toy <ids | llm-sample -n 20 -T 5 -s "$(sed -n 's/.*seed //p' said)" | cmp - a
}

@test "attributes override options and are passed on" {
    printf '#@ id=a%%20b max=2\n1 2 3\n4 5\n#@ max=3 temp=0\n#@ other=1\n9\n' | toy | llm-sample -n 4 >all
    [ "$(grep -c 'continues=1' all)" -eq 3 ]
    plain <all >out
    toy --greedy 2 <ids | head -n 1 | diff - <(sed -n 3p out)
    [ "$(sed -n 2p out)" = '#@ id=a%20b max=2' ]
    [ "$(grep -c '^#@' out)" -eq 2 ]
    [ "$(sed -n 7p out)" = '#@ max=3 temp=0 other=1' ]
    [ "$(sed -n 9p out)" = '#= finish=length prompt=1 completion=3' ]
}

@test "an impossible attribute fails its sequence only" {
    printf '#@ temp=hot\n1\n2\n#@ stop_id=32\n3\n' >bad
    run --separate-stderr bash -c "'$ROOT/tests/lib/toy-forward' <bad | llm-sample -n 1"
    [ "$status" -eq 1 ]
    [ "$(grep '^!' <<<"$output")" = "! temp takes a number from 0 to 100: 'hot'
! stop-id: token id 32 is not in the vocabulary of 32" ]
    [ "$(printf '2\n' | toy --greedy 1)" = "$(ids_only <<<"$output")" ]
}

@test "what failed upstream stays a failed line in its place" {
    printf '1\n! upstream said no\n2\n' >bad
    run --separate-stderr bash -c "'$ROOT/tests/lib/toy-forward' <bad | llm-sample -n 1 | plain; exit \${PIPESTATUS[1]}"
    [ "$status" -eq 1 ]
    [ "${lines[3]}" = "! upstream said no" ]
    [[ ${lines[5]} == "#= finish=length"* ]]
}

@test "a sequence that fails half-way keeps its ids and says failed" {
    run --separate-stderr bash -c "'$ROOT/tests/lib/toy-forward' --fail 1 <ids | llm-sample -n 5 | plain; exit \${PIPESTATUS[1]}"
    [ "$status" -eq 1 ]
    [[ ${lines[4]} == "#= finish=failed prompt=2 completion=2" ]]
    [[ $stderr == *"the toy has had enough: sequence 1"* ]]
    [ "$(grep -c finish=length <<<"$output")" -eq 2 ]
}

@test "a NaN fails its sequence" {
    run --separate-stderr bash -c "'$ROOT/tests/lib/toy-forward' --nan 3 <ids | llm-sample -n 1 | plain; exit \${PIPESTATUS[1]}"
    [ "$status" -eq 1 ]
    [ "${lines[1]}" = "! the logit of token 0 is NaN" ]
    [ "$(grep -c finish=length <<<"$output")" -eq 2 ]
}

@test "llm-forward's death ends the open lines and is exit 65" {
    run --separate-stderr bash -c "'$ROOT/tests/lib/toy-forward' --die 7 <ids | llm-sample"
    [ "$status" -eq 65 ]
    [[ $stderr == *"the stream was cut: stdin: byte "* ]]
    [ "$(grep -c '^#= finish=failed' <<<"$output")" -eq 3 ]
    run --separate-stderr bash -c "'$ROOT/tests/lib/toy-forward' --die 1 <ids | llm-sample | plain; exit \${PIPESTATUS[1]}"
    [ "$status" -eq 65 ]
    [[ ${lines[1]} =~ ^[0-9]+\ ?$ ]]
    [ "${lines[3]}" = "! llm-forward ended before the sequence did" ]
}

@test "a recording gives what it holds, and says where it ends" {
    toy --no-return <ids >rec
    llm-sample -n 1 rec 2>said >out
    [ ! -s said ]
    toy --greedy 1 <ids | diff - <(ids_only <out)
    llm-sample -n 1 <rec | cmp - out
    run --separate-stderr llm-sample rec
    [ "$status" -eq 1 ]
    [[ $stderr == *"the stream has no return path: 3 sequences ended where the recording does"* ]]
    [ "$(grep -c 'finish=cut prompt=[123] completion=1' <<<"$output")" -eq 3 ]
}

@test "a recorded run is followed as far as it went, its dead address is no error" {
    toy <ids | tee rec | llm-sample -n 6 >want
    llm-sample -n 6 rec | cmp - want
    run --separate-stderr llm-sample -n 7 rec
    [ "$status" -eq 1 ]
    [[ $stderr == *"the return path is gone: "*"3 sequences ended"* ]]
    run --separate-stderr llm-sample -n 6 --logit-bias 0=1000 rec # another choice than the recorded one
    [ "$status" -eq 1 ]
    [ "$(grep -c 'finish=cut' <<<"$output")" -eq 3 ]
}

@test "ids are written as they are chosen, each with the space that makes it whole" {
    echo 1 2 3 >ids1
    mkfifo rows
    "$ROOT/tests/lib/toy-forward" --hang 2 <ids1 >rows 3>&- &
    toy=$!
    llm-sample -n 5 <rows >out 2>said 3>&- &
    sampler=$!
    want="$(toy --greedy 2 <ids1) "
    for _ in $(seq 100); do
        [ "$(plain <out | tail -n +2)" != "$want" ] || break
        sleep 0.1
    done
    [ "$(plain <out | tail -n +2)" = "$want" ]
    kill "$toy"
    status=0
    wait "$sampler" || status=$?
    [ "$status" -eq 65 ]
    [ "$(plain <out | sed -n 3p)" = "#= finish=failed prompt=3 completion=2" ]
}

@test "impossible values and strange operands are usage errors" {
    for bad in "-T -1" "-T x" "-p 0" "-p 1.5" "-k -1" "--min-p 2" "-n -1" "-n 1.5" "-s -1" "--repetition-penalty 0" \
        "--presence-penalty 1e9" "--logit-bias 5" "--logit-bias 5=x" "--stop-id x" "--frequency-penalty nan" "--nope"; do
        # shellcheck disable=SC2086 # an option and its value
        fails 2 "--help" llm-sample $bad </dev/null
    done
    fails 2 "one FILE at most" llm-sample a b
    toy --no-return <ids >rec
    fails 2 "stop-id: token id 32 is not in the vocabulary of 32" llm-sample --stop-id 32 rec
    fails 2 "logit-bias: token id 99" llm-sample --logit-bias 99=1 rec
    fails 66 "cannot open nowhere" llm-sample nowhere
}

@test "bad input: empty, text, cut, a folder" {
    fails 65 "no input" llm-sample </dev/null
    echo hello >text
    fails 65 "not a logits(5) stream, as llm-forward writes it: text: byte 0" llm-sample text
    toy --no-return <ids | head -c 300 >cut
    fails 65 "the stream was cut inside a frame: cut: byte 300" llm-sample cut
    fails 66 "is a folder" llm-sample .
}

@test "a full disk is exit 74, a reader that left ends it quietly" {
    toy --no-return <ids >rec
    fails 74 "No space left" bash -c "llm-sample -n 1 rec >/dev/full"
    run bash -c "'$ROOT/tests/lib/toy-forward' --context 5000 <ids 2>/dev/null | llm-sample -q | head -c 100 >out; echo \${PIPESTATUS[1]}"
    [ "$output" = 141 ]
}

@test "options without -T that only shape a draw are warned about" {
    toy --no-return <ids >rec
    run --separate-stderr llm-sample -n 1 -k 5 rec
    [ "$status" -eq 0 ]
    [[ $stderr == *"the choice is greedy"* ]]
    run --separate-stderr llm-sample -n 1 -k 5 -q rec
    [ -z "$stderr" ]
}

# A model folder with a generation_config.json.
config() { mkdir -p m && echo "$1" >m/generation_config.json; }

@test "--defaults takes the values of generation_config.json; options and attributes override them" {
    config '{"temperature": 2.0, "top_k": 5.0, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.1, "do_sample": true, "max_new_tokens": 9, "num_beams": 1, "typical_p": 1.0, "bad_words_ids": null, "eos_token_id": [3], "_from_model_config": true}'
    toy <ids | llm-sample -s 1 -T 2 -k 5 -p 0.9 --min-p 0.01 --repetition-penalty 1.1 -n 9 >want
    toy <ids | llm-sample -s 1 --defaults -m m | cmp - want
    toy <ids | LLM_MODEL=m llm-sample --defaults -s 1 | cmp - want
    toy <ids | llm-sample -v -s 1 --defaults -m m 2>&1 >/dev/null | grep -q '^llm-sample: m/generation_config.json: temp=2 top_k=5 top_p=0.9 min_p=0.01 repetition_penalty=1.1 max=9$'
    # An option counts wherever it is.
    toy <ids | llm-sample -s 1 -T 1 -k 5 -p 0.9 --min-p 0.01 --repetition-penalty 1.1 -n 4 >want
    toy <ids | llm-sample -T 1 --defaults -s 1 -m m -n 4 | cmp - want
    toy <ids | llm-sample -s 1 --defaults -m m -n 4 -T 1 | cmp - want
    (echo '#@ temp=0 repetition_penalty=1'; echo 1 2 3) | toy | llm-sample --defaults -m m -n 4 | ids_only | diff - <(toy --greedy 4 <ids | head -n 1)
}

@test "--defaults: when a draw is meant" {
    draws() { # CONFIG: the temperature that -v prints
        config "$1"
        toy <ids | llm-sample -v --defaults -m m -n 2 2>&1 >/dev/null | sed -n 's/.*generation_config.json: //p'
    }
    [ "$(draws '{"do_sample": true}')" = 'temp=1' ]
    [ "$(draws '{"top_k": 3}')" = 'top_k=3 temp=1' ]
    [ "$(draws '{"top_p": 0.5, "do_sample": null}')" = 'top_p=0.5 temp=1' ]
    [ "$(draws '{"temperature": 0.5}')" = 'temp=0.5' ]
    [ "$(draws '{"temperature": 0.5, "do_sample": false}')" = 'temp=0.5 do_sample=false' ]
    [ "$(draws '{"repetition_penalty": 1.5}')" = 'repetition_penalty=1.5' ]
    [ "$(draws '{"temperature": null, "stop_strings": null}')" = 'no values for sampling' ]
    config '{"temperature": 0.5, "do_sample": false, "max_new_tokens": 7}'
    toy <ids | llm-sample --defaults -m m | ids_only | diff - <(toy --greedy 7 <ids)
}

@test "--defaults: what is not supported, wrong or missing" {
    toy --no-return <ids >rec
    bad() {
        config "$1"
        fails 65 "$2" llm-sample --defaults -m m -n 1 rec
    }
    bad '{"num_beams": 4}' 'num_beams is 4, which is not supported: m/generation_config.json'
    bad '{"typical_p": 0.9}' 'typical_p is 0.9'
    bad '{"bad_words_ids": [[1]]}' 'bad_words_ids is [[1]]'
    bad '{"forced_eos_token_id": 0}' 'forced_eos_token_id is 0'
    bad '{"no_repeat_ngram_size": 3}' 'no_repeat_ngram_size is 3'
    bad '{"temperature": "0.5"}' 'temperature must be a number'
    bad '{"temperature": -1}' 'temperature: temp takes a number from 0 to 100'
    bad '{"top_k": 2.5}' 'top_k: top_k takes a whole number'
    bad '{"do_sample": 1}' 'm/generation_config.json'
    bad '{"stop_strings": [1]}' 'where a string was expected'
    bad '[]' 'm/generation_config.json'
    bad '{' 'm/generation_config.json'
    config '{"num_beams": 1, "no_repeat_ngram_size": 0, "suppress_tokens": [], "guidance_scale": null, "penalty_alpha": 0.0}'
    fails 0 '' llm-sample --defaults -m m -n 1 rec
    rm m/generation_config.json
    fails 0 '--defaults changes nothing, because the model has no generation_config.json: m' llm-sample --defaults -m m -n 1 rec
    fails 66 nowhere llm-sample --defaults -m nowhere rec
    fails 2 'LLM_MODEL' llm-sample --defaults rec
    config '{"stop_strings": "zz"}' # needs the tokenizer, which m does not have
    fails 66 'no tokenizer.json' llm-sample --defaults -m m -n 1 rec
}

@test "the example in logits(5) is a stream, to the byte" {
    python3 - "$ROOT/man/logits.5" >example <<'END'
import re, struct, sys
page = open(sys.argv[1]).read()
lines = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2,4} )+)", page, re.M)
head = struct.pack("<8s6IiI8iQQ16s108s44s", b"LOGITS\r\n", 1, 256, 3, 0, 8, 1, -1, 0, *[0] * 8, 0, 0, b"", b"", b"")
sys.stdout.buffer.write(head + bytes.fromhex("".join(lines)))
END
    [ "$(llm-sample -n 1 --echo example | head -n 1)" = "2 0 1" ]
}

@test "a million answers that wait for the first take little memory" {
    seeds=$ROOT/tests/fuzz/seeds/stage_sample
    { head -c 256 "$seeds/whole"; tail -c +2 "$seeds/one-million-answers"; } >stream
    run within_memory 400000 llm-sample -n 1 stream
    [ "$status" -eq 65 ]
    [[ ${lines[-1]} == *"unknown frame type: stream: byte 312" ]]
}

@test "--no-sandbox changes no byte" {
    seeds=$ROOT/tests/fuzz/seeds/stage_sample
    llm-sample -q -n 3 "$seeds/whole" >with || [ $? -eq 1 ]
    llm-sample -q -n 3 --no-sandbox "$seeds/whole" >without || [ $? -eq 1 ]
    cmp with without
    grep -q finish=length with
}

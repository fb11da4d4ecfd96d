#!/usr/bin/env bats
# tok-encode: records in, tokens(5) out.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common
bats_require_minimum_version 1.5.0

setup() {
    export LLM_MODEL=$DATA/tokenizers/bpe-llama3
    cd "$BATS_TEST_TMPDIR"
}

ids() { tok-encode "$@" | grep -v '^#'; }

@test "one prompt: the header, then its ids; one newline at the end is not part of it" {
    run tok-encode < <(printf 'Hi there\n')
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == "# tokens vocab=1310 tokenizer=$(b2sum -l 256 "$LLM_MODEL/tokenizer.json" | cut -c1-16)" ]]
    [ "${lines[1]}" = "$(printf 'Hi there' | ids)" ]
    [ "$(printf 'Hi there\n' | ids -0)" != "${lines[1]}" ]
    [ "$(printf '' | ids)" = 1304 ]
    [ "$(printf '' | ids --no-special)" = "" ]
}

@test "lines, NUL records and JSON give the same ids" {
    printf 'one\n\ntwo words\nlast' >l
    ids -l <l >want
    [ "$(wc -l <want)" -eq 4 ]
    tr '\n' '\0' <l | ids -0 | diff - want
    printf '{"text":"one"}\n{"text":""}\n{"text":"two words"}\n{"text":"last"}' | ids -j | diff - want
    [ "$(sed -n 2p want)" = 1304 ]
}

@test "a large file of lines goes through in constant memory" {
    yes 'A line of text, and 12 numbers.' | head -n 200000 >big
    within_memory 400000 tok-encode -l big >out
    [ "$(grep -vc '^#' out)" -eq 200000 ]
    [ "$(grep -v '^#' out | sort -u | wc -l)" -eq 1 ]
}

@test "other keys of a JSON record become attributes, and come out again" {
    echo '{"id": 7, "text": "Hi", "tag": "a b", "n": "7", "deep": {"x": [1, "z"]}, "none": null}' >in
    tok-encode -j in | grep '^#@' >attrs
    [ "$(cat attrs)" = '#@ id=7 tag=a%20b n="7" deep={"x":%20[1,%20"z"]} none=null' ]
    [ "$(tok-encode -j in | tok-decode -j)" = '{"text": "Hi", "id": 7, "tag": "a b", "n": "7", "deep": {"x": [1, "z"]}, "none": null}' ]
}

# Fails where an object has a name twice.
unique() { python3 -c '
import json, sys
def pairs(p):
    assert len({k for k, _ in p}) == len(p), p
    return dict(p)
for line in sys.stdin: json.loads(line, object_pairs_hook=pairs)'; }

@test "sampling parameters: OpenAI names and params steer, and come out under params" {
    attrs() { tok-encode -j | sed -n 's/^#@ //p'; }
    [ "$(echo '{"text":"a","temperature":1.5,"max_tokens":20,"top_p":0.5,"seed":7,"presence_penalty":1.0,"frequency_penalty":null}' | attrs)" = \
        'temp=1.5 max=20 top_p=0.5 seed=7 presence_penalty=1' ]
    [ "$(echo '{"text":"a","max_completion_tokens":2.0,"logit_bias":{"7042":-100,"3":0.5},"n":1,"stop":null}' | attrs)" = 'max=2 logit_bias=7042=-100,3=0.5' ]
    [ "$(echo '{"text":"a","params":{"temp":0.7,"ignore_eos":true,"stop_id":[28,30],"max":null,"temperature":1e0,"logit_bias":{}}}' | attrs)" = \
        'temp=0.7 ignore_eos=1 stop_id=28,30 temp=1' ]
    echo '{"text":"a","params":{"temp":0.5,"stop_id":[28,30],"ignore_eos":false},"id":1}' | tok-encode -j | tok-decode -j >out
    [ "$(cat out)" = '{"text": "a", "id": 1, "params": {"temp": 0.5, "stop_id": "28,30", "ignore_eos": 0}}' ]
    # What came out goes in again.
    tok-encode -j out | tok-decode -j | cmp - out
    refused() { [[ "$(echo "$1" | tok-encode -j 2>err || true)" == *"! $2"* ]] || { cat err; false; }; }
    refused '{"text":"a","n":2}' '"n" is 2'
    refused '{"text":"a","stop":["x",1]}' '"stop" must be a text or a list of texts'
    refused '{"text":"a","stop":false}' '"stop" must be a text or a list of texts'
    refused '{"text":"a","stop":""}' '"stop" has an empty text'
    refused '{"text":"a","params":{"stop":[""]}}' '"stop" has an empty text'
    refused '{"text":"a","params":{"tmp":1}}' '"params" has no "tmp"'
    refused '{"text":"a","params":{"stop_id":["x"]}}' '"stop_id" must be a list of numbers'
    refused '{"text":"a","params":{"top_p":{}}}' '"top_p" has a value of another type'
    refused '{"text":"a","params":{"temp":[]}}' '"temp" has a value of another type'
    refused '{"text":"a","temperature":false}' '"temperature" has a value of another type'
    refused '{"text":"a","params":{"logit_bias":7}}' '"logit_bias" has a value of another type'
    refused '{"text":"a","params":7}' ''
}

@test "stop texts of a record are an attribute, and come out under params" {
    attrs() { tok-encode -j | sed -n 's/^#@ //p'; }
    [ "$(echo '{"text":"a","stop":"42"}' | attrs)" = 'stop=["42"]' ]
    [ "$(echo '{"text":"a","stop":["\n\n","Q: %"],"params":{"stop":null}}' | attrs)" = 'stop=["\n\n","Q:%20%25"]' ]
    [ "$(echo '{"text":"a","id":1,"stop":[],"params":{"stop":[]}}' | attrs)" = 'id=1' ]
    echo '{"text":"a","params":{"stop":["\u00e9\n"]}}' | tok-encode -j | tok-decode -j >out
    [ "$(cat out)" = '{"text": "a", "params": {"stop": ["é\n"]}}' ] # and the prompt is not cut
    tok-encode -j out | tok-decode -j | cmp - out
}

@test "a data column steers nothing, keeps its name, and never meets one of ours" {
    echo '{"text":"a","temp":3,"stop_id":"x","continues":1,"end_id":2,".x":4,"max":null,"finish":"f","usage":{"a":1},"error":0,"error_":1,"id":1,"id":2}' >in
    run --separate-stderr tok-encode -j in
    [ "$status" -eq 0 ]
    [ "${lines[1]}" = '#@ .temp=3 .stop_id=x .continues=1 .end_id=2 ..x=4 .max=null finish=f usage={"a":1} error=0 error_=1 id=1 id=2' ]
    [[ $stderr == *'the key "temp" of a record is data'* && $stderr == *'"stop_id"'* && $stderr != *'"max"'* ]]
    (tok-encode -q -j in; echo '#= finish=eos prompt=2 completion=1') | tok-decode -j >out
    unique <out
    [ "$(jq -c '[.temp, .stop_id, .continues, .end_id, .[".x"], .max, .finish, .usage.a, .id]' out)" = '[3,"x",1,2,4,null,"f",1,2]' ]
    [ "$(jq -c '[.finish_, .usage_.prompt_tokens, .usage_.completion_tokens]' out)" = '["eos",2,1]' ]
    (tok-encode -q -j in | sed 's/^[0-9].*/! bad/') | tok-decode -j 2>/dev/null >out || true
    unique <out
    [ "$(jq -c '[.error, .error_, .error__]' out)" = '[0,1,"bad"]' ]
    # Private attributes of the pipe are not shown.
    [ "$(printf '#@ continues=1 end_id=3 id=5\n#= finish=eos prompt=2 completion=0\n' | tok-decode -j || true)" = "" ]
    [ "$(printf '#@ continues=1 end_id=3 id=5\n\n#= finish=eos prompt=2 completion=0\n' | tok-decode -j)" = \
        '{"text": "", "id": 5, "finish": "eos", "usage": {"prompt_tokens": 2, "completion_tokens": 0}}' ]
}

@test "what OpenAI has and nobody here follows is said, once" {
    yes '{"text":"a","response_format":{"type":"json_object"},"logprobs":true,"tool_choice":"auto","echo":false,"user":"u"}' | head -n 3 >in
    run --separate-stderr tok-encode -j in
    [ "$status" -eq 0 ]
    [ "${#stderr_lines[@]}" -eq 2 ]
    [[ $stderr == *'"response_format" of a record has no effect'* && $stderr == *'"logprobs" of a record has no effect'* ]]
}

@test "a line of an OpenAI batch is its body, with custom_id beside it" {
    echo '{"custom_id":"r 1","method":"POST","url":"/v1/completions","body":{"prompt":"Hi","max_tokens":3,"model":"m"}}' >in
    tok-encode -j in >out
    [ "$(sed -n 2p out)" = '#@ custom_id=r%201 method=POST url=/v1/completions model=m max=3' ] ||
        [ "$(sed -n 2p out)" = '#@ custom_id=r%201 method=POST url=/v1/completions max=3 model=m' ]
    [ "$(tail -n 1 out)" = "$(printf Hi | ids)" ]
    echo '{"custom_id":"a","url":"/v1/embeddings","body":{"input":"Hi"}}' >in
    [[ "$(tok-encode -j in 2>/dev/null || true)" == *'! "url" is neither'* ]]
    # Without custom_id, body is data like anything else.
    [ "$(echo '{"text":"a","body":{"x":1}}' | tok-encode -j | tok-decode -j)" = '{"text": "a", "body": {"x":1}}' ]
}

@test "a bad record fails alone: its line says why, the others stand" {
    run --separate-stderr tok-encode -j < <(printf '{"text":"a"}\n{"text":3}\n{}\n{"text":"a","bad key":1}\n{"text":"a"}\n')
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 6 ]
    [ "${lines[1]}" = "${lines[5]}" ]
    [[ ${lines[2]} == "! "* && ${lines[3]} == '! no "text"'* && ${lines[4]} == '! the key "bad key"'* ]]
    [[ $stderr == *"line 2"* && $stderr == *"line 4"* ]]
}

@test "the line of a bad record has its id, wherever the error is" {
    tok-encode -j 2>/dev/null >out < <(printf '%s\n' '{"text":3,"a":1,"id":"x"}' '{"custom_id":"c","id":4,"text":"a","n":2,"id":5}' '{"id":6,"te' '{"text":"a","id' '[7]') || true
    [ "$(grep -c '^!' out)" -eq 5 ]
    [ "$(grep '^#@' out)" = '#@ id=x
#@ custom_id=c id=4
#@ id=6' ]
}

# Records of prompts that have ids, and the lines of tok-decode -j that answer some of them.
records() { for i in "$@"; do echo "{\"text\": \"t $i\", \"id\": $i}"; done; }
answered() { for i in "$@"; do echo "{\"text\": \"x\", \"id\": $i, \"finish\": \"length\"}"; done; }
left() { tok-encode -j --skip-done answers "$@" | sed -n 's/^#@ //p' | tr '\n' ' '; }

@test "--skip-done leaves out what has a complete answer" {
    {
        answered 2 3 5
        for i in 1 6; do echo "{\"text\": \"x\", \"id\": $i, \"finish\": \"failed\"}"; done
        echo '{"text": "", "id": 7, "error": "no"}'
        echo '{"text": "x", "id": 8}' # its program was killed
        echo '{"seq": 0, "id": 9, "is_greedy": true}'
        echo '{"seq": 0, "id": 10, "error": "no"}'
        echo '{"text": "x", "id": 11, "finish": "eos", "finish_": "cut"}'
        echo '{"text": "x", "id": 12, "finish": null, "finish_": "stop"}'
    } >answers
    seq 14 >numbers
    records $(cat numbers) >in
    [ "$(left in)" = 'id=1 id=4 id=6 id=7 id=8 id=10 id=11 id=13 id=14 ' ]
    [ "$(left -t 3 in)" = "$(left in)" ]
    # What comes out is what comes out of the rest.
    grep -vE '"id": (2|3|5|9|12)}' in | tok-encode -j | cmp - <(tok-encode -j --skip-done answers in)
    fails 0 '5 records have answers already' tok-encode -v -j --skip-done answers in
    [ "$(tok-encode -j --skip-done nowhere in)" = "$(tok-encode -j in)" ]
}

@test "--skip-done compares ids as JSON, and counts them" {
    printf '%s\n' '{"text":"","id":"7","finish":"eos"}' '{"text":"","custom_id":"a\u00e9","id":1,"finish":"eos"}' '{"text":"","id":3,"finish":"eos"}' >answers
    printf '%s\n' '{"text":"a","id":7}' '{"text":"b","id":"\u0037"}' '{"text":"c","id":1}' '{"custom_id":"aé","body":{"messages":[]}}' '{"text":"d","id":3}' '{"text":"e","id":3}' '{"text":"f"}' >in
    [ "$(left in 2>err)" = 'id=7 id=1 id=3 ' ]
    [ "$(cat err)" = 'tok-encode: 1 records without "id" or "custom_id" were not skipped' ]
    # Records keep their numbers in messages.
    (records 1; echo '{"text":3}') >in
    answered 1 >answers
    [[ "$(left in 2>&1 >/dev/null || true)" == *'where a string was expected: byte 8: '*'line 2'* ]]
}

@test "--skip-done: a cut last line is ignored and told, other bad lines are refused" {
    records 1 2 3 >in
    answered 1 2 3 | head -c -1 >answers # only the newline is missing
    [ "$(left in 2>err)" = 'id=3 ' ]
    grep -q 'line 3 has no newline: it was cut, and its record is not skipped: answers' err
    answered 1 2 3 | head -c -20 >answers
    [ "$(left in 2>err)" = 'id=3 ' ]
    (answered 1; echo '{"text": "x", "i'; answered 3) >answers
    fails 65 'line 2 of answers' tok-encode -j --skip-done answers in
    echo '[1]' >answers
    fails 65 'line 1 of answers' tok-encode -j --skip-done answers in
    printf '' >answers
    [ "$(left in)" = 'id=1 id=2 id=3 ' ]
    fails 66 'is a folder' tok-encode -j --skip-done . in
    fails 2 '--skip-done goes with -j' tok-encode -l --skip-done answers in
}

# The ids of a text alone.
enc() { printf '%s' "$1" | tok-encode "${@:2}" -0 | grep -v '^#'; }

# What lm_eval/api/model.py makes of a context and a continuation, from the ids of whole texts.
lm_eval() {
    local context=$1 rest n
    shift
    rest=${context##*[![:space:]]}
    context=${context%"$rest"}
    n=$(enc "$context" "${@:2}" | wc -w)
    echo "from=$n $(enc "$context" "${@:2}") $(enc "$context$rest$1" "${@:2}" | cut -s -d ' ' -f $((n + 1))-)"
}
pair() { # CONTEXT CONTINUATION OPTION...
    jq -nc --arg context "$1" --arg continuation "$2" '$ARGS.named' | tok-encode -j "${@:3}" | sed -n 's/^#@ //; 2,3p' | tr '\n' ' ' | sed 's/ $//'
}

@test "a context and its continuation are encoded as lm-evaluation-harness does it" {
    for t in bpe-llama3 bpe-llama2 bpe-qwen2 bpe-gpt2 unigram-t5; do
        export LLM_MODEL=$DATA/tokenizers/$t
        for options in "" --no-special; do
            for context in "The capital of France is" "The capital of France is " $'Q: two\n\nA:\n' "a  b   "; do
                for continuation in " Paris" "Paris" "s" "tion" "."; do
                    # shellcheck disable=SC2086 # an option or none
                    [ "$(pair "$context" "$continuation" $options)" = "$(lm_eval "$context" "$continuation" $options)" ] ||
                        { echo "$t $options '$context' '$continuation': $(pair "$context" "$continuation" $options)"; false; }
                done
            done
        done
    done
    # A no-break space is white space to Python, too.
    export LLM_MODEL=$DATA/tokenizers/bpe-gpt2
    [ "$(pair $'a\u00a0' b)" = "$(pair a $'\u00a0b')" ]
}

@test "an empty context becomes BOS or EOS, and BOS does not come twice" {
    export LLM_MODEL=$DATA/tiny
    bos=$(printf '<|endoftext|>' | tok-encode --no-special | tail -n 1)
    [ "$(pair '' Hi)" = "from=1 $bos $(enc Hi --no-special)" ]
    [ "$(pair '  ' Hi)" = "from=1 $bos $(enc '  Hi' --no-special)" ]
    [ "$(pair '' '<|endoftext|>Hi')" = "from=1 $bos $(enc Hi --no-special)" ]
    # BOS or EOS is found by its text.
    cp -r "$DATA/tiny" m
    export LLM_MODEL=m
    jq '.bos_token = null | .eos_token = {"content": "<|end|>"}' "$DATA/tiny/tokenizer_config.json" >m/tokenizer_config.json
    end=$(printf '<|end|>' | tok-encode | tail -n 1)
    [ "$(pair '' Hi)" = "from=1 $end $(enc Hi)" ]
    mv m/tokenizer_config.json m/special_tokens_map.json
    [ "$(pair '' Hi)" = "from=1 $end $(enc Hi)" ]
    rm m/special_tokens_map.json
    fails 1 '! the context is empty, and the model has no bos_token or eos_token' tok-encode -j < <(echo '{"context":"","continuation":"a"}')
    # A tokenizer that writes BOS itself needs no file beside it.
    export LLM_MODEL=$DATA/tokenizers/bpe-llama3
    text=$(printf '' | tok-encode | tok-decode --special)
    [ "$(pair '' Hi)" = "from=1 $(enc Hi)" ]
    [ "$(pair "${text}a" b)" = "$(pair a b)" ]
}

@test "a pair is a pair only where there is no text, and its texts are texts" {
    [ "$(echo '{"text":"a","context":"c","continuation":"d"}' | tok-encode -j | sed -n 2p)" = '#@ context=c continuation=d' ]
    [[ "$(echo '{"context":"c","continuation":"d","id":1,"from":9,"temperature":0}' | tok-encode -j | sed -n 2p)" == '#@ id=1 .from=9 temp=0 from='* ]]
    bad() { [[ "$(echo "$1" | tok-encode -j 2>&1 || true)" == *"$2"* ]] || { echo "$1" | tok-encode -j; false; }; }
    bad '{"context":"c"}' '! no "text"'
    bad '{"context":"c","continuation":""}' '! the continuation has no token of its own'
    bad '{"context":"c","continuation":3}' 'where a string was expected'
    bad '{"context":null,"continuation":"a"}' 'where a string was expected'
    bad '{"context":"c","continuation":"d","continuation":"e"}' '! expected one text, found two'
    bad '{"context":"c","context":"e","continuation":"d"}' '! expected one text, found two'
    fails 1 '--offsets is for one text' tok-encode -j --offsets < <(echo '{"context":"c","continuation":"d"}')
}


@test "invalid UTF-8 is replaced, or refused with the byte" {
    [ "$(printf 'a\xff\xe2\x82b' | ids)" = "$(printf 'a\xef\xbf\xbd\xef\xbf\xbdb' | ids)" ]
    fails 65 'invalid UTF-8: byte 0xff at offset 1' tok-encode --strict < <(printf 'a\xffb')
    run --separate-stderr tok-encode -l --strict < <(printf 'fine\na\xe2\x82\n')
    [ "$status" -eq 1 ]
    [[ ${lines[2]} == '! invalid UTF-8: byte 0xe2 at offset 1' ]]
}

@test "a word that is longer than the stack of compiled patterns is found all the same" {
    printf '{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(?:a(?:b|a)?)+b?"},"behavior":"Isolated","invert":false}}' >t.json
    [ "$(head -c 200000 /dev/zero | tr '\0' a | tok-encode -m t.json -0 | tail -n 1 | wc -w)" -eq 200000 ]
}

@test "NUL bytes are text" {
    [ "$(printf 'a\0b' | ids | wc -w)" -ge 3 ]
    [ "$(printf 'a\0b\n' | tok-encode -l | tok-decode -l | od -c)" = "$(printf 'a\0b\n' | od -c)" ]
}

@test "missing and broken tokenizers are refused by name" {
    fails 2 'LLM_MODEL' env -u LLM_MODEL tok-encode </dev/null
    fails 66 'no/such' tok-encode -m ./no/such </dev/null
    fails 66 'cannot open nowhere' tok-encode nowhere
    fails 2 'one FILE at most' tok-encode a b
    refuse() { printf '%s' "$1" >t.json; fails 65 "$2" tok-encode -m t.json </dev/null; [[ $output == *"t.json: line 1"* ]]; }
    local m='"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}'
    printf '{%s}' "$m" >t.json
    [ "$(printf ab | ids -m t.json)" = 2 ]
    refuse "" 'JSON ends'
    refuse "{}" '"model" is missing'
    refuse '{"version":"2.0"}' 'unknown version "2.0"'
    refuse '{"model":{"type":"Magic"}}' 'unknown model "Magic"'
    refuse '{"model":{"type":"BPE","vocab":{}}}' 'BPE has no "merges"'
    refuse '{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}' 'a merge'\''s token "b" is not in the vocabulary'
    refuse '{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","b"]]}}' 'a merge'\''s result "ab" is not in the vocabulary'
    refuse '{"model":{"type":"BPE","vocab":{"a":4294967296},"merges":[]}}' 'token id 4294967296'
    refuse "{$m,\"normalizer\":{\"type\":\"Shout\"}}" 'unknown normalizer "Shout"'
    refuse "{$m,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Chop\"}]}}" 'unknown pre-tokenizer "Chop"'
    refuse "{$m,\"post_processor\":{\"type\":\"Wrap\"}}" 'unknown post-processor "Wrap"'
    refuse "{$m,\"decoder\":{\"type\":\"Guess\"}}" 'unknown decoder "Guess"'
    refuse "{$m,\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\",\"invert\":false}}" 'regular expression "("'
}

@test "a model by name is found where huggingface_hub keeps it" {
    repo=$PWD/c/huggingface/hub/models--a--b
    mkdir -p "$repo/refs" "$repo/snapshots/0123abcd99"
    cp "$LLM_MODEL/tokenizer.json" "$repo/snapshots/0123abcd99/"
    printf 0123abcd99 >"$repo/refs/main"
    want=$(echo hi | tok-encode)
    unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_HOME XDG_CACHE_HOME
    same() { [ "$(echo hi | env "$1" tok-encode -m "$2")" = "$want" ]; }
    same XDG_CACHE_HOME="$PWD/c" a/b
    same HF_HOME="$PWD/c/huggingface" a/b
    same HF_HUB_CACHE="$PWD/c/huggingface/hub" a/b
    same HUGGINGFACE_HUB_CACHE="$PWD/c/huggingface/hub" a/b
    mkdir home && mv c home/.cache
    repo=$PWD/home/.cache/huggingface/hub/models--a--b
    same HOME="$PWD/home" a/b
    (cd home && HOME=$PWD XDG_CACHE_HOME='~/.cache' same A=B a/b)
    export HF_HOME=$PWD/home/.cache/huggingface
    same A=B a/b@main
    same A=B a/b@0123abcd99
    same A=B a/b@0123abc # the beginning of a commit
    fails 66 "no snapshot of a/b@0123: $repo" tok-encode -m a/b@0123 </dev/null
    fails 66 "no such model folder: a/c; nor in the Hugging Face cache: $HF_HOME/hub/models--a--c" tok-encode -m a/c </dev/null
    fails 66 "no such model folder: a/../b" tok-encode -m a/../b </dev/null
    fails 66 "no snapshot of a/b@../x" tok-encode -m a/b@../x </dev/null
    rm "$repo/refs/main"
    same A=B a/b # a pinned download: one snapshot, no refs
    mkdir "$repo/snapshots/0123abcd00"
    fails 66 "several snapshots, and main is none of them" tok-encode -m a/b </dev/null
    fails 66 "several snapshots" tok-encode -m a/b@0123abc </dev/null
    same A=B a/b@0123abcd99
    mkdir "$repo/refs/pr" && printf 0123abcd99 >"$repo/refs/pr/1"
    same A=B a/b@pr/1
    rmdir "$repo/snapshots/0123abcd00"
    mv "$repo" "$HF_HOME/hub/models--b"
    same A=B b # no owner
}

@test "a full disk and a closed pipe are noticed" {
    fails 74 'No space left' sh -c 'echo hi | tok-encode >/dev/full'
    yes hi | head -n 100000 | tok-encode -l | head -n 1 | grep -q tokens
}

@test "threads give the same lines in the same order" {
    for i in $(seq 3000); do echo "line $i of $((i * i))"; done >l
    tok-encode -l l >want
    tok-encode -l -t 3 l | cmp - want
    tok-encode -l -t 2 --no-special <(printf 'a\n') | grep -qv '^#'
    run --separate-stderr tok-encode -j -t 3 < <(printf '{"text":"a"}\n{"text":3}\n{"text":"a"}\n')
    [ "$status" -eq 1 ]
    [[ ${lines[2]} == "! "* && ${lines[1]} == "${lines[3]}" && $stderr == *"line 2"* ]]
    fails 2 'from 1 to 256' tok-encode -t 0
}

@test "threads do not wait for the rest of a line to write the one before" {
    mkfifo in out
    tok-encode -l -t 3 <in >out &
    exec 7>in 8<out
    printf 'a\nb\nhalf' >&7
    for _ in header a b; do timeout 10 head -c 1 <&8 >/dev/null && read -r -t 10 _ <&8; done
    printf ' a line\n' >&7
    read -r -t 10 line <&8
    [ "$line" = "$(echo 'half a line' | ids)" ]
    exec 7>&- 8<&-
    wait
}

@test "offsets are the bytes that each token stands for" {
    printf 'h\xc3\xa9 you\n' | tok-encode --offsets >got
    head -n 1 got | grep -q '^0-0	1304$'
    [ "$(tail -n 2 got | head -n 1 | cut -f 1 | cut -d- -f 2)" = 7 ]
    [ "$(tail -n 1 got)" = "" ]
}

@test "truncation is told and not done, or done when it is asked for" {
    sed 's/"truncation": *null/"truncation":{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0}/' \
        "$LLM_MODEL/tokenizer.json" >t.json
    fails 0 'truncation to 4 tokens' tok-encode -m t.json < <(printf 'one two three four five')
    [ "$(printf 'one two three four five' | tok-encode -m t.json --truncate | grep -v '^#' | wc -w)" -eq 4 ]
    [ "$(printf 'one two three four five' | tok-encode -m t.json --truncate 2>&1 >/dev/null)" = "" ]
}

@test "--truncate N cuts to N ids, at the end that is asked for" {
    export LLM_MODEL=$DATA/tokenizers/bpe-llama3 # puts a BOM token before each text
    text='the grey harbour water lifts'
    read -r -a all <<<"$(echo "$text" | tok-encode | tail -n 1)"
    n=${#all[@]}
    cut() { echo "$text" | tok-encode "$@" | tail -n 1; }
    [ "$(cut --truncate 3)" = "${all[*]:0:3}" ]
    [ "$(cut --truncate=3)" = "${all[*]:0:3}" ]
    [ "$(cut --truncate 3 --truncate-side right)" = "${all[*]:0:3}" ]
    [ "$(cut --truncate 3 --truncate-side left)" = "${all[0]} ${all[*]:n-2}" ]
    [ "$(cut --truncate 3 --truncate-side left --no-special)" = "${all[*]:n-3}" ]
    [ "$(cut --truncate "$n")" = "${all[*]}" ]
    [ "$(cut --truncate 1000)" = "${all[*]}" ]
    [ "$(cut --truncate 1)" = "${all[0]}" ]
    [ "$(cut --truncate 3 --offsets | grep -c .)" -le 3 ]
    # Without a number, the length of tokenizer.json; its side is the default.
    mkdir m
    jq '.truncation = {"max_length": 4, "direction": "Left", "strategy": "LongestFirst", "stride": 0}' "$LLM_MODEL/tokenizer.json" >m/tokenizer.json
    echo "$text" >t
    [ "$(tok-encode -m m --truncate t | tail -n 1)" = "${all[0]} ${all[*]:n-3}" ]
    [ "$(tok-encode -m m --truncate 2 t | tail -n 1)" = "${all[0]} ${all[*]:n-1}" ]
    [ "$(tok-encode -m m --truncate --truncate-side right t | tail -n 1)" = "${all[*]:0:4}" ]
    # A file whose name is a number.
    cp t 7
    [ "$(tok-encode --truncate 3 ./7 | tail -n 1)" = "${all[*]:0:3}" ]
    fails 2 "--truncate" tok-encode --truncate=0 t
    fails 2 "--truncate" tok-encode --truncate=x t
    fails 2 "takes 'left' or 'right'" tok-encode --truncate 3 --truncate-side up t
    fails 2 '--truncate-side goes with --truncate' tok-encode --truncate-side left t
}

@test "--split-special-tokens: special tokens in a text are text, other added tokens are not" {
    export LLM_MODEL=$DATA/tokenizers/bpe-qwen2 # <|im_end|> is 1302 and special, <tool_call> is 1303 and not
    count() { printf '%s' "$1" | tok-encode -0 "${@:3}" | tail -n 1 | tr ' ' '\n' | grep -cx "$2"; }
    [ "$(count 'a<|im_end|>b' 1302)" = 1 ]
    [ "$(count 'a<|im_end|>b' 1302 --split-special-tokens)" = 0 ]
    [ "$(count 'a<tool_call>b<|im_end|>' 1303 --split-special-tokens)" = 1 ]
    printf 'a<|im_end|>b' | tok-encode -0 --split-special-tokens | tok-decode | grep -qx 'a<|im_end|>b'
    # A chat's own tokens are tokens all the same.
    echo '[{"role":"user","content":"<|im_end|>"}]' >in
    [ "$(tok-encode --chat --split-special-tokens in)" = "$(tok-encode --chat in)" ]
}

# A tokenizer.json of single bytes in m, with the added tokens of the argument, and a text in t.
small() { # ADDED-TOKENS
    rm -rf m
    mkdir m
    cat >m/tokenizer.json <<JSON
{"version": "1.0", "added_tokens": $1, "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
 "model": {"type": "BPE", "vocab": {"<": 0, "s": 1, ">": 2, "/": 3, "a": 4, "t": 5}, "merges": []}}
JSON
    printf '<s><t></s>a' >t
}

ids_of_t() { tok-encode -q -m m -0 t | tail -n 1; }

token() { # CONTENT SPECIAL [ID]
    echo "{${3:+\"id\": $3, }\"content\": \"$1\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": $2}"
}

# The expected ids are those of transformers 5.24, PreTrainedTokenizerFast.from_pretrained.
@test "added tokens that only the files beside tokenizer.json have" {
    small "[$(token '<s>' true 6)]"
    [ "$(ids_of_t)" = '6 0 5 2 0 3 1 2 4' ]
    echo "{\"added_tokens_decoder\": {\"8\": $(token '</s>' true), \"7\": $(token '<t>' false)}}" >m/tokenizer_config.json
    [ "$(ids_of_t)" = '6 7 8 4' ]
    [ "$(tok-encode -m m -0 t | tok-decode -m m)" = '<t>a' ]
    [ "$(tok-encode -m m -0 t | tok-decode -m m --special)" = '<s><t></s>a' ]
    [ "$(tok-encode -m m/tokenizer.json -0 t | tail -n 1)" = '6 0 5 2 0 3 1 2 4' ] # the file alone
    # The ids of that file count for the order only.
    echo "{\"added_tokens_decoder\": {\"50\": $(token '</s>' true), \"90\": $(token '<t>' false)}}" >m/tokenizer_config.json
    [ "$(ids_of_t)" = '6 8 7 4' ]
    # Named tokens and extra ones are special and come after those.
    echo "{\"eos_token\": \"</s>\", \"bos_token\": \"<s>\", \"additional_special_tokens\": [\"a\"], \"added_tokens_decoder\": {\"50\": $(token '<t>' false)}}" >m/tokenizer_config.json
    [ "$(ids_of_t)" = '6 7 8 4' ]
    [ "$(tok-encode -m m -0 t | tok-decode -m m)" = '<t>' ]
    # added_tokens.json, unless tokenizer.json has the id or added_tokens_decoder is there.
    echo '{"<t>": 8, "</s>": 7, "a": 6}' >m/added_tokens.json
    rm m/tokenizer_config.json
    [ "$(ids_of_t)" = '6 8 7 4' ]
    [ "$(tok-encode -m m -0 t | tok-decode -m m)" = '<t></s>a' ]
    echo '{"eos_token": "</s>"}' >m/special_tokens_map.json
    [ "$(tok-encode -m m -0 t | tok-decode -m m)" = '<t>a' ]
    echo '{"added_tokens_decoder": {}}' >m/tokenizer_config.json
    [ "$(ids_of_t)" = '6 0 5 2 0 3 1 2 4' ]
    # A flag of tokenizer_config.json takes the place of tokenizer.json's.
    echo '{"added_tokens_decoder": {"6": {"content": "<s>", "rstrip": true, "special": true}}}' >m/tokenizer_config.json
    printf '<s> \n<s>' >t
    [ "$(ids_of_t)" = '6 6' ]
}

@test "bad files beside tokenizer.json are refused by name" {
    small '[]'
    printf 'x' >m/tokenizer_config.json
    fails 65 'm/tokenizer_config.json: line 1, byte 0' tok-encode -m m t
    fails 65 'm/tokenizer_config.json: line 1, byte 0' tok-decode -m m </dev/null
    echo "{\"added_tokens_decoder\": {\"x\": $(token '<t>' false)}}" >m/tokenizer_config.json
    fails 65 'added_tokens_decoder: "x" is no token id: m/tokenizer_config.json' tok-encode -m m t
    echo "{\"added_tokens_decoder\": {\"7\": $(token '<t>' false), \"07\": $(token '<s>' false)}}" >m/tokenizer_config.json
    fails 65 'two added tokens have the id 7: m' tok-encode -m m t
    echo '{}' >m/tokenizer_config.json
    echo '{"<t>": "8"}' >m/added_tokens.json
    fails 65 'm/added_tokens.json: line 1' tok-encode -m m t
    rm m/added_tokens.json
    cp t m/special_tokens_map.json
    fails 65 'm/special_tokens_map.json: line 1, byte 0' tok-encode -m m t
    # Another type than expected is no token.
    echo '{"bos_token": 7, "eos_token": ["</s>"], "x_token": true, "extra_special_tokens": null}' >m/special_tokens_map.json
    [ "$(ids_of_t)" = '0 1 2 0 5 2 0 3 1 2 4' ]
}

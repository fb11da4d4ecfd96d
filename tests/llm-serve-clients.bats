#!/usr/bin/env bats
# llm-serve: what clients of OpenAI, Anthropic, vLLM and llama-server rely on beside the fields of answers; many of them at once.
# STORM_N=500: 500 clients in each test of many. tests/lib/serve_storm.py says what they do.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/serve

text=/v1/completions
chat=/v1/chat/completions

@test "/v1 may be left out of the paths of APIs, and only of those" {
    start
    body='{"prompt": "Hello", "max_tokens": 5, "temperature": 0}'
    good $text "$body" | jq -j '.choices[0].text' >want
    good /completions "$body" | jq -j '.choices[0].text' | cmp - want
    good /chat/completions '{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}' | jq -e '.object == "chat.completion"'
    good /responses '{"input": "Hello", "max_output_tokens": 2}' | jq -e '.object == "response"'
    good /messages/count_tokens '{"messages": [{"role": "user", "content": "Hello"}]}' | jq -e '.input_tokens > 0'
    post /messages '{"messages": 7}' | tail -n +2 | jq -e '.type == "error"'
    get /models | tail -n 1 | jq -e '.data[0].id == "tiny"'
    get /models/tiny | tail -n 1 | jq -e '.id == "tiny"'
    for path in /v1/health /v1/metrics /v1/tokenizer_info /v1/ /v1 /v1/v1/models; do [ "$(get $path | head -n 1)" = 404 ]; done
}

@test "--any-model: a name that is not known means the first model, and the answer says which" {
    start --name small --any-model
    for path in $text $chat /v1/messages; do
        post $path '{"model": "gpt-9", "prompt": "a", "messages": []}' >out
        [ "$(head -n 1 out)" = 400 ] # the fields are looked at all the same
    done
    good $text '{"model": "gpt-9", "prompt": "a", "max_tokens": 1}' | jq -e '.model == "small"'
    good $text '{"model": "small", "prompt": "a", "max_tokens": 1}' | jq -e '.model == "small"'
    get /v1/models/gpt-9 | tail -n 1 | jq -e '.id == "small"'
    refused 404 model "no model for this path" /v1/embeddings '{"model": "gpt-9", "input": "a"}'
}

@test "clients that leave before the engine has said anything leave no descriptor" {
    start
    good $text '{"prompt": "a", "max_tokens": 1}'
    descriptors() { find "/proc/$server/fd" -mindepth 1 | wc -l; }
    left() { [ "$(get /metrics | sed -n 's/^tokpipe:requests_left_total //p')" = 8 ]; }
    before=$(descriptors)
    kill -STOP "$engine"
    for _ in 1 2 3 4 5 6 7 8; do
        curl -s --max-time 0.2 -d '{"prompt": "a"}' "http://127.0.0.1:$port$text" 3>&- || [ $? = 28 ]
    done
    kill -CONT "$engine"
    until_true left
    few() { [ "$(descriptors)" -le "$((before + 1))" ]; }
    until_true few
}

@test "a prompt that is too long gets the code and the words that clients look for" {
    start
    long=$(printf 'word %.0s' $(seq 700))
    refused 400 prompt "this model's maximum context length is 512 tokens" $text "{\"prompt\": \"$long\"}"
    jq -Rne '[inputs][1] | fromjson.error.code == "context_length_exceeded"' out
    for stream in true false; do
        refused 400 messages "this model's maximum context length is 512" $chat \
            "{\"messages\": [{\"role\": \"user\", \"content\": \"$long\"}], \"stream\": $stream}"
        refused 400 input "this model's maximum context length is 512" /v1/responses "{\"input\": \"$long\", \"stream\": $stream}"
        post /v1/messages "{\"messages\": [{\"role\": \"user\", \"content\": \"$long\"}], \"stream\": $stream}" >out
        [ "$(head -n 1 out)" = 400 ]
        tail -n +2 out | jq -e '.error.type == "invalid_request_error" and (.error.message | test("^prompt is too long: [0-9]+ tokens > 512 maximum$"))'
    done
    refused 400 prompt "prompt is missing" $text '{}'
    jq -Rne '[inputs][1] | fromjson.error.code == null' out
}

@test "/v1/messages says which text ended the answer, and how long the prompt is" {
    start
    ask='"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 30, "temperature": 0'
    good /v1/messages "{$ask}" | jq -j '.content[0].text' >all
    python3 -c 'import json; t = open("all", encoding="utf-8").read(); print(json.dumps(["not there", t[len(t) // 2:len(t) // 2 + 2]]))' >stops
    good /v1/messages "{$ask, \"stop_sequences\": $(cat stops)}" >out
    jq -e --slurpfile s stops '.stop_reason == "stop_sequence" and .stop_sequence == $s[0][1] and (.content[0].text | contains($s[0][1]) | not)' out
    good /v1/messages "{$ask, \"stop_sequences\": $(cat stops), \"stream\": true}" | sed -n 's/^data: //p' >events
    jq -es --slurpfile s stops 'map(select(.type == "message_delta"))[0].delta | .stop_reason == "stop_sequence" and .stop_sequence == $s[0][1]' events
    n=$(good /v1/messages/count_tokens "{${ask%%, \"max*}}" | jq .input_tokens)
    jq -es --argjson n "$n" '.[0].type == "message_start" and .[0].message.usage.input_tokens == $n' events
    good /v1/messages "{$ask}" | jq -e '.stop_reason == "max_tokens" and .stop_sequence == null'
    good $chat "{$ask, \"stop\": $(cat stops)}" | jq -e '.choices[0].finish_reason == "stop"'
}

@test "/v1/responses repeats what the request said, on one line of an event" {
    start
    body='{"input": "Hi", "instructions": "a\nb", "metadata": {"a":
        "b"}, "max_output_tokens": 3, "temperature": 0.5, "top_p": 0.9'
    said='.instructions == "a\nb" and .metadata == {"a": "b"} and .max_output_tokens == 3 and .temperature == 0.5 and .top_p == 0.9'
    good /v1/responses "$body}" | jq -e "$said"
    good /v1/responses "$body, \"stream\": true}" | sed -n 's/^data: //p' >events
    jq -es ".[0].response | $said" events
    jq -es ".[-1].response | $said" events
    good /v1/responses '{"input": "Hi", "max_output_tokens": 3}' | jq -e '.instructions == null and .metadata == {} and .temperature == 1 and .top_p == null'
}

@test "/tokenize takes llama-server's fields too" {
    start
    ids=$(printf 'Hello there' | tok-encode | tail -n 1 | jq -Rc 'split(" ") | map(tonumber)')
    for body in '"content": "Hello there", "add_special": true' '"add_special": true, "content": "Hello there"' '"prompt": "Hello there"'; do
        good /tokenize "{$body}" | jq -e --argjson ids "$ids" '.tokens == $ids'
    done
    good /tokenize '{"content": "Hello there"}' | jq -e '.tokens | length > 0'
    good /tokenize '{"content": "Hello 媽", "with_pieces": true}' >out
    jq -e '.tokens | all(.id >= 0) and ([.[].piece | select(type == "string")] | length > 0) and ([.[].piece | select(type == "array")] | length > 0)' out
    good /detokenize "{\"tokens\": $ids}" | jq -e '.content == .prompt'
    refused 400 prompt "is not a field" /tokenize '{"content": "a", "prompt": "b"}'
    refused 400 content "is not a field" /detokenize '{"content": "a"}'
    refused 400 with_pieces "expected" /tokenize '{"content": "a", "with_pieces": 7}'
}

storm() { # MODE N OPTIONS
    run timeout 500 python3 "$ROOT/tests/lib/serve_storm.py" "$1" --n "${STORM_N:-$2}" "${@:3}"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *$'\n0 wrong' ]]
}

@test "sampled requests at once, some of which leave: each recorded answer replays alone, byte for byte" {
    storm replay 20
}

@test "clients that are killed at any byte leave nothing: no answer, no descriptor, no memory" {
    local small=(--words 300 --growth 9000000 4000000) # what malloc retains is not settled after so few
    [ -z "${STORM_N:-}" ] || small=()
    storm kills 24 "${small[@]}"
}

@test "slow connections: a quick client is served, descriptors and memory are bounded" {
    storm slow 100 --seconds 2
}

@test "slowhttptest: slow headers, slow bodies, slow reading" {
    command -v slowhttptest >/dev/null || skip "slowhttptest is not installed"
    n=${STORM_N:-100} seconds=4
    start --connections $((n + 50)) --idle 30
    for mode in -H -B -X; do
        path=/health
        [ "$mode" != -B ] || path=$text
        [ "$mode" != -X ] || path=/openapi.json
        slowhttptest "$mode" -c "$n" -r "$n" -i 1 -l $seconds -p 10 -k 3 -u "http://127.0.0.1:$port$path" >"slow$mode" 2>&1 3>&- &
        slow=$!
        for _ in 1 2 3; do
            good $text '{"prompt": "Hello", "max_tokens": 5, "ignore_eos": true}' | jq -e '.usage.completion_tokens == 5'
            sleep 1
        done
        wait "$slow"
        sed 's/\x1b\[[0-9;]*m//g' "slow$mode" | grep -q 'service available: *YES' || { cat "slow$mode"; return 1; }
        run ! grep -aq 'service available: *NO' <(sed 's/\x1b\[[0-9;]*m//g' "slow$mode")
    done
    kill -0 "$server"
    [ "$(awk '/^RssAnon/ { print $2 }' "/proc/$server/status")" -lt $((n * 80 + 60000)) ] || sanitized
}

@test "the list of llama.cpp's tests that pass only grows" {
    list=tests/clients/llama/passing.txt
    sort "$ROOT/$list" | grep '^unit/' >now
    [ "$(wc -l <now)" -ge 61 ]
    [ "$(uniq -d now | wc -l)" -eq 0 ]
    git -C "$ROOT" rev-parse --verify -q HEAD >/dev/null || skip "this is no checkout"
    git -C "$ROOT" log --format= -p -- "$list" | sed -n 's/^+\(unit\/\)/\1/p' | sort -u >ever
    [ -z "$(comm -23 ever now)" ]
}

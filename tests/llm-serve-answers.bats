#!/usr/bin/env bats
# llm-serve: choices, echoes, log-probabilities, /v1/responses, /v1/embeddings and /tokenizer_info.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/serve

text=/v1/completions chat=/v1/chat/completions

@test "n: choice k has seed + k, and each is what the four programs give" {
    start --record "$PWD"
    good $text '{"prompt": "Hello there", "n": 5, "seed": 11, "temperature": 1.1, "max_tokens": 9}' >out
    jq -e '[.choices[].index] == [0, 1, 2, 3, 4] and .usage.completion_tokens == 45' out
    [ "$(jq '[.choices[].text] | unique | length' out)" -gt 1 ]
    for k in 0 1 2 3 4; do
        printf '{"text": "Hello there", "params": {"temp": 1.1, "seed": %d}}' $((11 + k)) | tok-encode -j |
            llm-forward | llm-sample -n 9 | tok-decode >want
        jq -j ".choices[$k].text" out | cmp - want
    done
    [ "$(jq .usage.prompt_tokens out)" -eq "$(printf 'Hello there' | tok-encode | tail -n 1 | wc -w)" ]
    [ "$("$ROOT/examples/replay" "$PWD")" = "5 equal, 0 differ, 0 unfinished" ]
}

@test "several prompts, of texts or of ids, with n: the choices of prompt p begin at p * n" {
    start
    good $text '{"prompt": ["Hello", "What is", "Name"], "n": 2, "seed": 3, "max_tokens": 6}' >out
    jq -e '[.choices[].index] == [0, 1, 2, 3, 4, 5]' out
    p=0
    for prompt in Hello "What is" Name; do
        for k in 0 1; do
            good $text "{\"prompt\": \"$prompt\", \"seed\": $((3 + k)), \"max_tokens\": 6}" | jq -j '.choices[0].text' >want
            jq -j ".choices[$((2 * p + k))].text" out | cmp - want
        done
        p=$((p + 1))
    done
    lists=$(printf 'Hello\nWhat is\nName\n' | tok-encode -l | grep -v '^#' | jq -Rc 'split(" ") | map(tonumber)' | jq -sc .)
    good $text "{\"prompt\": $lists, \"n\": 2, \"seed\": 3, \"max_tokens\": 6}" | jq '[.choices[].text]' | cmp - <(jq '[.choices[].text]' out)
}

@test "a stream of several choices has all parts of each, and one finish_reason each" {
    start
    good $text '{"prompt": ["Hello", "What is"], "n": 3, "seed": 3, "max_tokens": 30, "logprobs": 1}' |
        jq -c '[.choices[] | [.text, .logprobs.tokens]]' >want
    post $text '{"prompt": ["Hello", "What is"], "n": 3, "seed": 3, "max_tokens": 30, "logprobs": 1, "stream": true}' | tail -n +2 >events
    python3 - <<'EOF'
import json
want = json.load(open("want"))
texts, tokens, ends = [""] * 6, [[] for _ in range(6)], [0] * 6
lines = open("events").read().strip().split("\n\n")
assert lines[-1] == "data: [DONE]"
for line in lines[:-1]:
    for c in json.loads(line[6:])["choices"]:
        texts[c["index"]] += c["text"]
        tokens[c["index"]] += (c["logprobs"] or {"tokens": []})["tokens"]
        ends[c["index"]] += c["finish_reason"] is not None
assert ends == [1] * 6, ends
assert [[t, k] for t, k in zip(texts, tokens)] == want
EOF
}

@test "logprobs are those of the model, before temperature, for every token that was sampled" {
    start --record "$PWD"
    good $text '{"prompt": "Hello there", "seed": 4, "temperature": 0.7, "max_tokens": 12, "logprobs": 5}' >out
    id=$(jq -r .id out)
    # The same ids, scored by llm-score.
    n=$(grep -v '^#' "$id.tokens" | wc -w)
    { grep '^# ' "$id.tokens"; llm-forward "$id.tokens" | llm-sample --echo | grep -v '^#'; } >ids
    llm-forward -a --no-return ids | llm-score --tokens | awk -v n="$n" 'NR > 1 && $2 >= n { print $4 }' >want
    [ "$(wc -l <want)" -ge 5 ]
    python3 - <<'EOF'
import json
out = json.load(open("out"))
p = out["choices"][0]["logprobs"]
want = [float(x) for x in open("want")]
assert len(p["token_logprobs"]) == len(want) == out["usage"]["completion_tokens"], (p, want)
assert all(abs(a - b) < 2e-5 for a, b in zip(p["token_logprobs"], want)), (p, want)
assert len(p["tokens"]) == len(p["top_logprobs"]) == len(p["text_offset"]) == len(want)
text = out["choices"][0]["text"]
for token, offset in zip(p["tokens"], p["text_offset"]):
    if not token.startswith("bytes:"):
        assert text[offset:offset + len(token)] == token or "\ufffd" in text, (token, offset)
for logprob, top in zip(p["token_logprobs"], p["top_logprobs"]):
    assert 4 <= len(top) <= 6 and logprob in top.values(), top
EOF
    # With chats the shape is another one.
    good $chat '{"messages": [{"role": "user", "content": "Hello"}], "seed": 4, "max_tokens": 7, "logprobs": true, "top_logprobs": 3}' >out
    python3 - <<'EOF'
import json
out = json.load(open("out"))
content = out["choices"][0]["logprobs"]["content"]
assert out["choices"][0]["logprobs"]["refusal"] is None
assert len(content) == out["usage"]["completion_tokens"]
for t in content:
    assert set(t) == {"token", "logprob", "bytes", "top_logprobs"} and t["logprob"] <= 0
    assert bytes(t["bytes"]).decode(errors="replace") == t["token"]
    assert len(t["top_logprobs"]) == 3 and set(t["top_logprobs"][0]) == {"token", "logprob", "bytes"}
    assert t["top_logprobs"] == sorted(t["top_logprobs"], key=lambda x: -x["logprob"])
EOF
    good $chat '{"messages": [{"role": "user", "content": "Hello"}], "seed": 4, "max_tokens": 7, "logprobs": true}' |
        jq -e '[.choices[0].logprobs.content[].top_logprobs] | all(. == [])'
    good $chat '{"messages": [{"role": "user", "content": "Hello"}], "seed": 4, "max_tokens": 7}' | jq -e '.choices[0].logprobs == null'
}

@test "echo: the prompt comes first, and is scored as llm-score does, also with max_tokens 0" {
    start --record "$PWD"
    good $text '{"prompt": "Hello there, my friend", "max_tokens": 3, "temperature": 0, "echo": true}' >out
    good $text '{"prompt": "Hello there, my friend", "max_tokens": 3, "temperature": 0}' | jq -j '"Hello there, my friend" + .choices[0].text' >want
    jq -j '.choices[0].text' out | cmp - want
    [ "$("$ROOT/examples/replay" "$PWD")" = "2 equal, 0 differ, 0 unfinished" ] # the recorded text has no echo
    ids=$(printf 'Hello there, my friend' | tok-encode | tail -n 1)
    printf 'Hello there, my friend' | tok-encode | llm-forward -a --no-return | llm-score --tokens | awk 'NR > 1 { print $4 }' >want
    for prompt in '"Hello there, my friend"' "[${ids// /,}]"; do
        for max in 0 1; do
            good $text "{\"prompt\": $prompt, \"max_tokens\": $max, \"temperature\": 0, \"echo\": true, \"logprobs\": 1}" >out
            MAX=$max python3 - <<'EOF'
import json, os
out = json.load(open("out"))
choice = out["choices"][0]
p, more = choice["logprobs"], int(os.environ["MAX"])
want = [float(x) for x in open("want")]
assert p["token_logprobs"][0] is None and p["top_logprobs"][0] is None
got = p["token_logprobs"][1:len(want) + 1]
assert len(p["tokens"]) == len(want) + 1 + more, (p, want)
assert all(abs(a - b) < 2e-5 for a, b in zip(got, want)), (got, want)
assert out["usage"]["completion_tokens"] == more and choice["finish_reason"] == "length"
assert choice["text"].startswith("Hello there, my friend") and (more or choice["text"] == "Hello there, my friend")
assert p["text_offset"] == sorted(p["text_offset"])
EOF
        done
    done
    good $text '{"prompt": "Hello", "max_tokens": 0}' | jq -e '.choices[0].text == "" and .choices[0].finish_reason == "length"'
    good $text '{"prompt": "Hello", "max_tokens": 0, "echo": true}' | jq -e '.choices[0].text == "Hello"'
    http --events "$port" $text '{"prompt": "Hello", "max_tokens": 2, "echo": true, "stream": true}' | grep -q '^"Hello'
}

@test "logit_bias, stop_token_ids and ignore_eos act; a seed may be negative" {
    start
    good $text '{"prompt": "Hello", "max_tokens": 4, "logit_bias": {"75": 100}, "temperature": 0}' | jq -e '.usage.completion_tokens == 4'
    good $text '{"prompt": "Hello", "max_tokens": 4, "logit_bias": {"75": 100}, "stop_token_ids": [75]}' |
        jq -e '.choices[0].finish_reason == "stop" and .usage.completion_tokens == 1'
    good $text '{"prompt": "Hello", "max_tokens": 4, "seed": -5}' >one
    good $text '{"prompt": "Hello", "max_tokens": 4, "seed": 18446744073709551611}' >two
    cmp <(jq .choices one) <(jq .choices two)
}

@test "texts with any characters come back: NUL, quotes, four bytes, combining marks" {
    start
    python3 - >body <<'EOF'
import json
print(json.dumps({"prompt": "a\0\"\\\n\u2028é𝄞👩‍👩‍👧e\u0301 \ud7ff", "max_tokens": 3, "echo": True, "seed": 1}))
EOF
    good $text @body >out
    python3 -c 'import json; b = json.load(open("body")); o = json.load(open("out")); assert o["choices"][0]["text"].startswith(b["prompt"]), o'
    refused 400 prompt "surrogate" $text '{"prompt": "a\ud800"}'
}

@test "/v1/responses: a text or messages, whole" {
    start --record "$PWD"
    good /v1/responses '{"input": "Hello", "instructions": "Be short.", "max_output_tokens": 9, "temperature": 0}' >out
    jq -e '.object == "response" and .status == "incomplete" and .incomplete_details.reason == "max_output_tokens" and .store == false
        and .output[0].type == "message" and .output[0].content[0].type == "output_text" and .usage.output_tokens == 9' out
    jq -j '.output[0].content[0].text' out >text
    tok-encode --chat <<<'[{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]' >ids
    llm-forward ids | llm-sample -n 9 | tok-decode | cmp - text
    jq -e --argjson n "$(tail -n 1 ids | wc -w)" '.usage.input_tokens == $n' out
    [ -e "$(jq -r .id out).tokens" ]
    # The same as messages, with the parts that an earlier answer has.
    good /v1/responses '{"input": [{"role": "developer", "content": [{"type": "input_text", "text": "Be short."}]},
        {"type": "message", "role": "user", "content": "Hello"}], "max_output_tokens": 9, "temperature": 0, "store": false, "tools": [],
        "text": {"format": {"type": "text"}}, "include": ["reasoning.encrypted_content"], "truncation": "disabled"}' |
        jq -j '.output[0].content[0].text' | cmp - text
    good /v1/responses '{"input": [{"role": "user", "content": "Hi"}, {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "Yes?", "annotations": [], "logprobs": []}]}, {"role": "user", "content": "So"}],
        "max_output_tokens": 2}' | jq -e '.output | length == 1'
    good /v1/responses '{"input": "Hello", "max_output_tokens": 4, "include": ["message.output_text.logprobs"], "top_logprobs": 2}' |
        jq -e '.output[0].content[0].logprobs | length == 4 and all(.top_logprobs | length == 2)'
}

@test "/v1/responses as a stream: the events in order, with one text" {
    start
    good /v1/responses '{"input": "Hello", "max_output_tokens": 9, "temperature": 0, "stream": true}' >events
    good /v1/responses '{"input": "Hello", "max_output_tokens": 9, "temperature": 0}' | jq -j '.output[0].content[0].text' >want
    [ "$(sed -n 's/^event: //p' events | uniq | tr '\n' ' ')" = "response.created response.in_progress response.output_item.added \
response.content_part.added response.output_text.delta response.output_text.done response.content_part.done \
response.output_item.done response.incomplete " ]
    sed -n 's/^data: //p' events >data
    jq -es '[.[].sequence_number] == [range(length)]' data
    cmp <(sed -n 's/^event: //p' events) <(jq -r .type data)
    jq -js 'map(select(.type == "response.output_text.delta").delta) | add' data | cmp - want
    for path in 'select(.type == "response.output_text.done").text' 'select(.type == "response.content_part.done").part.text' \
        'select(.type == "response.output_item.done").item.content[0].text' 'select(.type == "response.incomplete").response.output[0].content[0].text'; do
        jq -j "$path" data | cmp - want
    done
}

@test "/v1/responses refuses what it has not, with the path" {
    start
    r=/v1/responses
    refused 400 input "is missing" $r '{}'
    refused 400 input "must be a text or a list" $r '{"input": 7}'
    refused 400 "input[0]" "must be an object" $r '{"input": [7]}'
    refused 400 "input[1].type" "takes messages only" $r '{"input": [{"role": "user", "content": "a"}, {"type": "function_call_output", "output": "x"}]}'
    refused 400 "input[0].role" "is missing" $r '{"input": [{"content": "a"}]}'
    refused 400 "input[0].content" "is missing" $r '{"input": [{"role": "user"}]}'
    refused 400 "input[0].content" "must be a text" $r '{"input": [{"role": "user", "content": 7}]}'
    refused 400 "input[0].content[1].type" "texts only" $r '{"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]}]}'
    refused 400 "input[0].x" "not a field" $r '{"input": [{"role": "user", "content": "a", "x": 1}]}'
    refused 400 "text.format.type" "not supported" $r '{"input": "a", "text": {"format": {"type": "json_schema"}}}'
    refused 400 "text.verbosity" "not supported" $r '{"input": "a", "text": {"verbosity": "high"}}'
    refused 400 "include[0]" "not supported" $r '{"input": "a", "include": ["file_search_call.results"]}'
    refused 400 previous_response_id "not supported" $r '{"input": "a", "previous_response_id": "resp_1"}'
    refused 400 store "not supported" $r '{"input": "a", "store": true}'
    refused 400 tools "not supported" $r '{"input": "a", "tools": [{}]}'
    refused 400 truncation '"disabled"' $r '{"input": "a", "truncation": "auto"}'
    refused 400 stop "not a field" $r '{"input": "a", "stop": "b"}'
    refused 400 max_output_tokens "whole number" $r '{"input": "a", "max_output_tokens": "many"}'
}

@test "/tokenizer_info" {
    start
    get /tokenizer_info | tail -n +2 >out
    jq -e --arg t "$(jq -r .chat_template "$DATA/tiny/tokenizer_config.json")" '.chat_template == $t and .vocab_size == 1007' out
    [ "$(jq -r .fingerprint out)" = "$(tok-encode </dev/null | sed -n 's/.*tokenizer=//p')" ]
    [ "$(get '/tokenizer_info?model=other' | head -n 1)" = 404 ]
    [ "$(get '/tokenizer_info?model=tiny' | head -n 1)" = 200 ]
}

# The tiny model as one that makes embeddings.
embedder() { # FOLDER
    cp -rL "$DATA/tiny" "$1"
    chmod -R u+w "$1"
    mkdir "$1/1_Pooling"
    echo '{"pooling_mode_lasttoken": true}' >"$1/1_Pooling/config.json"
    echo '[{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]' >"$1/modules.json"
}

@test "/v1/embeddings: the vectors of llm-embed, as numbers and in base64, shortened" {
    embedder vec
    serve --embed vec
    e=/v1/embeddings
    get /v1/models | tail -n 1 | jq -e '.data[0].id == "vec"'
    body='{"input": ["Hello there", "Hi", "你好"], "encoding_format": "float"}'
    good $e "$body" >out
    jq -e '.object == "list" and .model == "vec" and [.data[].index] == [0, 1, 2] and .data[0].object == "embedding"' out
    printf 'Hello there\nHi\n你好\n' | tok-encode -m vec -l >ids
    llm-embed -m vec -j ids | jq -c .embedding | cmp - <(jq -c '.data[].embedding' out)
    [ "$(jq .usage.prompt_tokens out)" -eq "$(grep -v '^#' ids | wc -w)" ]
    good $e '{"input": "Hello there", "encoding_format": "base64"}' >b64
    good $e '{"input": "Hello there", "dimensions": 8}' >short
    llm-embed -m vec -j --dim 8 ids | head -n 1 | jq -c .embedding >short.want
    list=$(grep -v '^#' ids | head -n 1)
    good $e "{\"input\": [${list// /,}]}" | jq -c '.data[0].embedding' | cmp - <(jq -c '.data[0].embedding' out)
    good $e "{\"input\": [[${list// /,}], [5]]}" | jq -e '.data | length == 2'
    python3 - <<'EOF'
import base64, json, struct
values = json.load(open("out"))["data"][0]["embedding"]
raw = base64.b64decode(json.load(open("b64"))["data"][0]["embedding"], validate=True)
assert len(raw) == 4 * len(values)
assert all(abs(a - b) < 1e-8 for a, b in zip(struct.unpack(f"<{len(values)}f", raw), values))
got, want = json.load(open("short"))["data"][0]["embedding"], json.load(open("short.want"))
assert len(got) == 8 and all(abs(a - b) < 1e-6 for a, b in zip(got, want)), (got, want)
EOF
    # Several at once give the same.
    for i in 1 2 3 4 5 6; do
        post $e "$body" >"par$i" 3>&- &
        clients[i]=$!
    done
    wait "${clients[@]}"
    for i in 1 2 3 4 5 6; do tail -n +2 "par$i" | jq -c .data | cmp - <(jq -c .data out); done
    refused 400 input "is missing" $e '{}'
    refused 400 input "must be a text or a list" $e '{"input": 7}'
    refused 400 input "must be a text or a list" $e '{"input": ["a", 7]}'
    refused 400 input "comes twice" $e '{"input": "a", "input": "b"}'
    refused 400 "input[1]" "not in the vocabulary" $e '{"input": [[1], [9999999]]}'
    refused 400 dimensions "vectors have" $e '{"input": "a", "dimensions": 100000}'
    refused 400 dimensions "whole number" $e '{"input": "a", "dimensions": 0}'
    refused 400 encoding_format '"float" or "base64"' $e '{"input": "a", "encoding_format": "bf16"}'
    refused 400 x "not a field" $e '{"input": "a", "x": 1}'
    refused 404 model "no model of this name" $e '{"input": "a", "model": "other"}'
    refused 400 model "for another path" $text '{"prompt": "a", "model": "vec"}'
    refused 404 model "no model for this path" $text '{"prompt": "a"}'
    python3 -c 'import json; print(json.dumps({"input": ["a", "word " * 30000]}))' >long
    refused 400 "input[1]" "at most" $e "@long"
}

@test "a model that generates makes no embeddings" {
    start
    refused 404 model "no model for this path" /v1/embeddings '{"input": "a"}'
    refused 400 model "for another path" /v1/embeddings '{"input": "a", "model": "tiny"}'
    fails 66 "nowhere" llm-serve --embed nowhere
    fails 2 "folder has no modules.json" llm-serve --embed "$DATA/tiny"
    fails 2 "not by --embed" llm-serve --embed "$DATA/tiny" --engine s
}

@test "usage says what was cached of a prompt, and on request where the cache ends" {
    start
    long=$(printf 'word %.0s' $(seq 100))
    good $text "{\"prompt\": \"${long}one\", \"max_tokens\": 2}" | jq -e '.usage.prompt_tokens_details.cached_tokens == 0 and .usage.cache_why == null'
    HEADERS='X-Tokpipe-Cache: explain' good $text "{\"prompt\": \"${long}two\", \"max_tokens\": 2}" >out
    jq -e '.usage.prompt_tokens_details.cached_tokens >= 64 and (.usage.cache_why | test("the first 64 tokens are in the cache; then the prompt has"))' out
    get /metrics | grep -qE 'tokpipe:cached_tokens_total [1-9]'
}

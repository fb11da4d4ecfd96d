#!/usr/bin/env bats
# vec-prefix: chunks before questions, citations, templates, chats, failures.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    "$BATS_TEST_DIRNAME/lib/toy-embedder" "$BATS_TEST_DIRNAME/.." embedder
    PATH=$BATS_TEST_DIRNAME/../${BUILD:-build}/bin:$PATH
    printf 'The cat is red. \n\nThe dog is blue. \n\nA fish swim in the sea.\n\nA bird fly.\n\nThree fox sleep in one tree.\n' >notes.txt
    doc-chunk -m embedder -n 8 notes.txt >chunks
    tok-encode -m embedder -j chunks | llm-embed -m embedder | vec-index -i ix --records chunks
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    cp -r "$BATS_FILE_TMPDIR"/{embedder,chunks,ix} .
    export LLM_EMBED_MODEL=$PWD/embedder
}

# The ids that vec-search finds for a question.
nearest() { # QUESTION K
    jq -n --arg q "$1" '{text: $q}' -c | tok-encode -m embedder -j | llm-embed -m embedder | vec-search -i ix -k "$2" -j | jq -r .id
}

@test "the nearest chunks come before the question, in the order of their ids, with citations" {
    for q in 'where is the cat ?' 'what is in the sea ?' 'dog'; do
        jq -cn --arg q "$q" '{text: $q, id: 7, tag: [1]}' | vec-prefix -i ix -k 3 >out
        [ "$(jq -c '[.id, .tag, (.cite | length)]' out)" = '[7,[1],3]' ]
        diff <(nearest "$q" 3 | LC_ALL=C sort) <(jq -r '.cite[].id' out)
        [ "$(jq -r .text out | tail -n 2)" = "Question: $q"$'\n'Answer: ]
        for i in 1 2 3; do
            text=$(jq -r --arg id "$(jq -r ".cite[$i - 1].id" out)" 'select(.id == $id) | .text' chunks)
            [ "$(jq -r .text out | grep -A 1 "^\[$i\] notes.txt" | tail -n 1)" = "$(head -n 1 <<<"$text")" ]
        done
        jq -e '.cite[0] | .source == 1 and .file == "notes.txt" and has("from") and has("to") and has("score")' out
    done
}

@test "a conversation gets the chunks in its system message, and the last user's message is the question" {
    echo '{"messages": [{"role": "user", "content": "cat"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "dog"}]}], "params": {"max": 3}}' >in
    vec-prefix -i ix -k 2 in >out
    [ "$(jq -c '.messages[1:]' out)" = "$(jq -c .messages in)" ]
    [ "$(jq -r '.messages[0].role' out)" = system ]
    diff <(nearest dog 2 | LC_ALL=C sort) <(jq -r '.cite[].id' out)
    [ "$(jq -c .params out)" = '{"max":3}' ]
    jq -c '.messages = [{role: "system", content: "Be brief."}] + .messages' in | vec-prefix -i ix -k 2 >two
    [ "$(jq -r '.messages[0].content' two | head -n 1)" = 'Be brief.' ]
    [ "$(jq -c '.messages[1:]' two)" = "$(jq -c .messages in)" ]
    [ "$(jq -r '.messages[0].content' two | tail -n +3)" = "$(jq -r '.messages[0].content' out)" ]
}

@test "two questions with the same chunks have the same beginning" {
    printf '%s\n' '{"text": "cat"}' '{"text": "what ?"}' | vec-prefix -i ix -k 5 >out
    [ "$(jq -r .text out | grep -v '^Question' | sort | uniq -c | awk '$1 % 2 { print }')" = '' ]
    [ "$(head -n 1 out | jq -r .text | grep -v '^Question')" = "$(tail -n 1 out | jq -r .text | grep -v '^Question')" ]
}

@test "--template, --hybrid and -k" {
    printf '{%% for c in chunks %%}{{ c.id }} {%% endfor %%}q={{ question }} s={{ system }}' >t.jinja
    echo '{"text": "sea \u00e9"}' | vec-prefix -i ix -k 2 --template t.jinja >out
    [ "$(jq -r .text out)" = "$(jq -r '.cite[].id' out | paste -sd' ') q=sea é s=" ]
    echo '{"text": "fish", "cite": 1}' | vec-prefix -i ix -k 1 --hybrid >out
    [ "$(jq .cite out)" = 1 ]
    echo '{"text": "fish", "id": "q"}' >q
    [ "$(tok-encode -m embedder -j q | llm-embed -m embedder | vec-search -j -i ix -k 1 --hybrid --records q | jq -r .id)" = "$(jq -r '.cite_[0].id' out)" ]
    [ "$(echo '{"text": "fish"}' | vec-prefix -i ix -k 50 | jq '.cite | length')" -eq "$(wc -l <chunks)" ]
    printf '{%% for' >bad.jinja
    fails 65 "bad.jinja" vec-prefix -i ix --template bad.jinja
    fails 66 "cannot open" vec-prefix -i ix --template nowhere
}

@test "--tokens: the chunks become ids before those of a line, and citations an attribute" {
    export LLM_MODEL=$DATA/tiny
    printf '%s\n' '{"text": "where is the cat ?", "id": 3}' '{"text": "In short.", "question": "dog"}' | tok-encode -j >ids
    vec-prefix -i ix -k 2 --tokens "$DATA/tiny" ids >out
    [ "$(grep '^# tokens' out)" = "$(grep '^# tokens' ids)" ]
    # Each line ends with the ids that it had, and begins with the chunks of its question.
    paste -d'|' <(grep -v '^#' out) <(grep -v '^#' ids) | awk -F'|' 'substr($1, length($1) - length($2)) != " " $2 { exit 1 }'
    tok-decode -j out >decoded
    [ "$(jq -c '[.id, .question]' decoded | paste -sd' ')" = '[3,null] [null,"dog"]' ]
    for q in 'where is the cat ?' dog; do
        diff <(nearest "$q" 2 | LC_ALL=C sort) <(head -n 1 decoded | jq -r '.cite[].id')
        jq -cn --arg q "$q" '{text: $q}' | vec-prefix -i ix -k 2 | jq -c '.cite' | cmp - <(head -n 1 decoded | jq -c .cite)
        head -n 1 decoded | jq -r .text >text
        for id in $(head -n 1 decoded | jq -r '.cite[].id'); do
            grep -qF "$(jq -r --arg id "$id" 'select(.id == $id) | .text' chunks | head -n 1)" text
        done
        sed -i 1d decoded
    done
    # It is a filter: the answer comes with the sources.
    llm-forward out | llm-sample -n 2 | tok-decode -j >answers
    [ "$(jq -c '.cite | length' answers | paste -sd' ')" = '2 2' ]
    # The ids are those of the template; --template changes it.
    printf 'A{{ chunks | length }}' >t.jinja
    vec-prefix -i ix -k 2 --tokens "$DATA/tiny" --template t.jinja ids | grep -v '^#' | head -n 1 >got
    [ "$(cat got)" = "$(printf A2 | tok-encode | grep -v '^#') $(grep -v '^#' ids | head -n 1)" ]
}

@test "--tokens: ids that begin every text stay first; attributes that count ids are raised; special tokens of chunks are text" {
    cp -r "$DATA/tiny" m
    chmod -R u+w m
    python3 - <<'PY'
import json
t = json.load(open("m/tokenizer.json"))
t["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|a|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<|a|>": {"id": "<|a|>", "ids": [1], "tokens": ["<|a|>"]}}}
json.dump(t, open("m/tokenizer.json", "w"))
PY
    printf 'x{{ question }}' >t.jinja
    special=$(jq -r '[.added_tokens[] | select(.special)][0].content' m/tokenizer.json)
    id=$(jq -r '[.added_tokens[] | select(.special)][0].id' m/tokenizer.json)
    { echo '#@ question=cat'; echo '1 65 66'; echo '#@ from=2 begins=1 question=dog cite=mine'; echo '65 66 67'; printf '#@ question=%s\n65\n' "$special"; } >ids
    vec-prefix -i ix -k 1 --tokens m --template t.jinja ids >out
    x=$(printf xcat | tok-encode -m m --no-special | grep -v '^#')
    [ "$(sed -n 3p out)" = "1 $x 65 66" ]
    n=$(printf xdog | tok-encode -m m --no-special | grep -v '^#' | wc -w)
    [ "$(sed -n 5p out | wc -w)" -eq $((n + 3)) ]
    [[ "$(sed -n 4p out)" == '#@ from=2 begins=1 question=dog cite=mine from='$((n + 2))' begins='$((n + 1))' cite_='* ]]
    [[ " $(sed -n 7p out) " != *" $id "* ]] # the chunk's or the user's text makes no control token
    printf '%s' "$special" >t.jinja # the template's own does
    [[ " $(vec-prefix -i ix -k 1 --tokens m --template t.jinja ids | sed -n 3p) " == *" $id "* ]]
}

@test "--tokens: lines that fail, streams of another tokenizer or that were cut" {
    export LLM_MODEL=$DATA/tiny
    { echo '! no text'; echo '65 66'; echo; echo 999999; } >ids
    run --separate-stderr vec-prefix -i ix -k 1 --tokens "$LLM_MODEL" ids
    [ "$status" -eq 1 ]
    [ "$(grep -c '^!' <<<"$output")" -eq 3 ]
    [[ $output == *'! no text'*'#@ cite='*'! '*'! '* && $stderr != *'no text'* ]]
    printf '# tokens vocab=1007 tokenizer=0123456789abcdef\n65\n' >other
    fails 65 'the ids were made with tokenizer 0123456789abcdef' vec-prefix -i ix --tokens "$LLM_MODEL" other
    printf '# tokens vocab=1007\n65\n66' >cut
    run --separate-stderr vec-prefix -i ix -k 1 --tokens "$LLM_MODEL" cut
    [ "$status" -eq 65 ]
    [ "$(grep -c '^!' <<<"$output")" -eq 1 ]
    fails 66 '' vec-prefix -i ix --tokens nowhere ids
    fails 74 'No space left' bash -c 'echo "65 66" | vec-prefix -i ix --tokens "$LLM_MODEL" >/dev/full'
    [ -z "$(vec-prefix -i ix --tokens "$LLM_MODEL" </dev/null | grep -v '^# tokens')" ]
    jq -cn '{text: ("cat " * 3000)}' | tok-encode -j >long
    run --separate-stderr vec-prefix -i ix -k 1 --tokens "$LLM_MODEL" long
    [ "$status" -eq 1 ]
}

@test "a second question on the same chunks starts from the prefix cache" {
    export LLM_MODEL=$DATA/tiny
    prefilled() { sed -n 's/.*prefill: \([0-9]*\) tokens.*/\1/p' said; }
    for form in json tokens; do
        for questions in 'cat ?' 'what is red ?' 'cat ?|what is red ?'; do
            tr '|' '\n' <<<"$questions" | jq -Rc '{text: .}' >in
            if [ $form = json ]; then
                vec-prefix -i ix -k 5 in | tok-encode -j >asked
            else
                tok-encode -j in | vec-prefix -i ix -k 5 --tokens "$LLM_MODEL" >asked
            fi
            # A sequence at a time: what the first has computed is there when the second comes.
            llm-forward -v -b 1 asked 2>said | llm-sample -n 2 >answers
            prefilled >>"$form"
        done
        mapfile -t n <"$form"
        reused=$(sed -n 's/.*reused: \([0-9]*\) tokens.*/\1/p' said)
        echo "$form: ${n[*]} reused $reused"
        [ "$reused" -ge 64 ]
        [ $((n[2] + reused)) -eq $((n[0] + n[1])) ]
        [ "${n[2]}" -lt $((n[0] + n[1])) ]
    done
}

@test "--engine: a resident model gives the same output" {
    printf '%s\n' '{"text": "where is the cat ?"}' '{"text": "dog"}' >q
    vec-prefix -i ix -k 2 q >want
    llm-embed -m embedder --listen "$PWD/sock" 3>&- &
    engine=$!
    for i in $(seq 500); do [ ! -S sock ] || break; sleep 0.01; done
    vec-prefix -i ix -k 2 --engine "$PWD/sock" q | cmp - want
    for i in 1 2 3; do vec-prefix -i ix -k 2 --engine "$PWD/sock" q >"out$i" & done
    wait %2 %3 %4
    for i in 1 2 3; do cmp "out$i" want; done
    kill $engine
    wait $engine || true
    fails 65 "" vec-prefix -i ix --engine "$PWD/sock" q
}

@test "citations come out beside the answer" {
    echo '{"text": "where is the cat ?", "id": 3}' | vec-prefix -i ix -k 2 >asked
    export LLM_MODEL=$DATA/tiny
    tok-encode -j asked | llm-forward | llm-sample -n 2 | tok-decode -j >answer
    [ "$(jq -c .cite answer)" = "$(jq -c .cite asked)" ]
}

@test "a record that fails is a line with an error, and the others are answered" {
    printf '%s\n' '{"text": "cat"}' '{"id": 2}' 'no JSON' '{"text": "", "id": 4}' '{"messages": [{"role": "system", "content": "x"}], "id": 5}' \
        '{"text": "a", "messages": []}' '{"text": "dog"}' >in
    run --separate-stderr vec-prefix -i ix -k 1 in
    [ "$status" -eq 1 ]
    [ "$(jq -c '[.id, (.error != null)]' <<<"$output" | paste -sd' ')" = '[null,false] [2,true] [null,true] [4,true] [5,true] [null,true] [null,false]' ]
    [[ $stderr == *"line 2 of in"*"line 3 of in"* ]]
    jq -cn '{text: ("cat " * 3000), id: 1}' >long
    run --separate-stderr vec-prefix -i ix -k 1 long
    [ "$status" -eq 1 ]
    [ "$(jq -c .id <<<"$output")" = 1 ]
    [ "$(jq -r .error <<<"$output")" != null ]
}

@test "no records, no model, another model, no texts, no programs" {
    [ -z "$(vec-prefix -i ix </dev/null)" ]
    fails 2 "no embedding model" env -u LLM_EMBED_MODEL vec-prefix -i ix
    fails 2 "-i is needed" vec-prefix
    fails 66 "cannot open nowhere" vec-prefix -i nowhere
    echo '{"text": "cat"}' >q
    run vec-prefix -i ix -m nowhere q
    [ "$status" -eq 65 ]
    [[ $output == *nowhere* ]]
    python3 "$ROOT/tests/lib/make_vectors.py" random 3 "$(jq .hidden_size embedder/config.json)" 1 | vec-index -i other
    fails 65 "another embedding model" vec-prefix -i other q
    tok-encode -m embedder -j chunks | llm-embed -m embedder | vec-index -i bare
    fails 65 "has no text, which vec-index --records adds" vec-prefix -i bare q
    program=$(command -v vec-prefix)
    fails 71 "makes the vectors of questions, and it is not installed" env PATH=/nowhere "$program" -i ix q
}

@test "each answer comes before the next question; full disks and closed pipes" {
    mkfifo in out
    vec-prefix -i ix -k 1 <in >out 3>&- &
    exec 8>in 9<out
    for q in cat dog; do
        echo "{\"text\": \"$q\"}" >&8
        read -r -t 20 line <&9
        [[ $line == *"Question: $q"* ]]
    done
    exec 8>&-
    wait $!
    exec 9<&-
    echo '{"text": "cat"}' >q
    fails 74 "No space left" bash -c 'vec-prefix -i ix q >/dev/full'
    for i in $(seq 3000); do cat q; done >many
    run bash -c 'vec-prefix -i ix many | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}'
    [ "$output" = 141 ]
    sleep 0.3
    run pgrep -f "llm-embed -q -m $PWD/embedder"
    [ -z "$output" ]
}

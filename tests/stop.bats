#!/usr/bin/env bats
# Stop texts: --stop and the parameter stop, from llm-sample to the text that tok-decode shows.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/tiny TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
}

# The tiny model goes on from "The capital of France is" with 40 tokens. Among them are characters in two tokens, such as
# 朾 (e6 9c | be ...), and bytes that are no character.
prompt='The capital of France is'
answer() { printf %s "$prompt" | tok-encode | llm-forward 2>said | llm-sample -n 30 --ignore-eos "$@" | tee ids | tok-decode; }
finish() { sed -n 's/^#= finish=\([a-z]*\) .*/\1/p' ids; }
tokens() { sed -n 's/.*completion=//p' ids; }

@test "an answer is cut exactly before the text, wherever the borders of tokens are" {
    whole=$(answer)
    [ "$(finish)" = length ]
    # A part of a token, several tokens, a character in two tokens, the text's very beginning, one character.
    for stop in hou oueг 'oueг' 'internationalisationokeniz {' 'alisation' 朾 仏 ily i; do
        [[ $whole == *"$stop"* ]] || { echo "not there: $stop"; false; }
        [ "$(answer --stop "$stop")" = "${whole%%"$stop"*}" ] || { echo "$stop: $(answer --stop "$stop")"; false; }
        [ "$(finish)" = stop ]
    done
    # What is not there stops nothing, also where it begins at the end.
    [[ $whole == *4F ]]
    for stop in nowhere 4Fx 'internationalisationokeniz {no'; do
        [ "$(answer --stop "$stop")" = "$whole" ]
        [ "$(finish)" = length ]
    done
}

@test "the text that is complete first counts, and of those that end together the longest" {
    whole=$(answer)
    cut() { answer "${@/#/--stop=}"; }
    [ "$(cut internationalisation international)" = "${whole%%international*}" ]
    [ "$(cut ternat internationalisation)" = "${whole%%ternat*}" ]
    [ "$(cut tional ternational al)" = "${whole%%ternational*}" ]
    [ "$(cut zzz D '{')" = "${whole%%D*}" ]
    [ "$(cut '{' D zzz)" = "${whole%%D*}" ]
    # A text that could begin earlier and does not get complete.
    [ "$(cut internationalize nationalisation)" = "${whole%%nationalisation*}" ]
}

@test "the sampler stops paying: the sequence is closed with the token that completes the text" {
    answer >whole
    tok-decode --pieces ids >pieces
    at=$(awk -F '\t' '$2 ~ /internationalisation/ { print NR; exit }' pieces)
    answer --stop national >/dev/null
    [ "$(tokens)" -eq "$at" ]
    printf %s "$prompt" | tok-encode | llm-forward -v 2>said | llm-sample -n 40 --ignore-eos --stop national >ids
    [ "$(sed -n 's/.*decode: \([0-9]*\) tokens.*/\1/p' said)" -eq $((at - 1)) ]
    # The last new id of -n may complete it.
    answer --stop national -n "$at" >/dev/null
    [ "$(finish)" = stop ]
    answer --stop national -n $((at - 1)) >/dev/null
    [ "$(finish)" = length ]
}

@test "many sequences together, each with its own texts, in every form" {
    python3 - >in <<'EOF'
import json
prompts = ["The capital of France is", "def f(x):\n", "Once upon a time", "1 2 3"]
stops = [None, [], "internationalisation", ["zzz", "D"], ["朾", "e"], "o", ["ou", "hou"], " "]
for i in range(64):
    record = {"text": prompts[i % 4], "id": i}
    if stops[i // 4 % 8] is not None:
        record["stop"] = stops[i // 4 % 8]
    print(json.dumps(record))
EOF
    tok-encode -j in | llm-forward | llm-sample -n 30 --ignore-eos | tok-decode -j >got
    jq -c 'del(.stop)' in | tok-encode -j | llm-forward | llm-sample -n 30 --ignore-eos | tok-decode -j >whole
    python3 - <<'EOF'
import json
n = 0
for line, record, whole in zip(open("got"), open("in"), open("whole")):
    got, record, text = json.loads(line), json.loads(record), json.loads(whole)["text"]
    stops = record.get("stop") or []
    stops = [stops] if isinstance(stops, str) else stops
    want, finish = text, "length"
    for end in range(len(text) + 1):
        hits = [s for s in stops if text[:end].endswith(s)]
        if hits:
            want, finish = text[:end - max(map(len, hits))], "stop"
            break
    assert (got["text"], got["finish"], got["id"]) == (want, finish, record["id"]), (got, want, record)
    n += finish == "stop"
assert n >= 16, n
EOF
    tok-encode -j in | llm-forward -b 2 | llm-sample -n 30 --ignore-eos | tok-decode -j | cmp - got
    tok-encode -j in | llm-forward | llm-sample -n 30 --ignore-eos >ids
    [ "$(tok-decode -l ids | wc -l)" -eq 64 ]
    # -0 writes a NUL of the text as a space.
    tok-decode -0 ids | cmp - <(jq -j '(.text | gsub("\u0000"; " ")) + "\u0000"' got)
    tok-decode ids | cmp - <(jq -r '.text' got | head -c -1)
}

@test "a record's texts replace the option's; --echo shows the prompt whole" {
    whole=$(answer)
    one() { jq -nc --arg text "$prompt" --argjson stop "$1" '$ARGS.named' | tok-encode -j | llm-forward | llm-sample -n 30 --ignore-eos --stop D "${@:2}" | tok-decode; }
    [ "$(one '["national"]')" = "${whole%%national*}" ]
    [ "$(one null)" = "${whole%%D*}" ]
    [ "$(one '["France", "national"]' --echo)" = "$prompt${whole%%national*}" ]
    [ "$(one '["is'"${whole:0:2}"'"]' --echo)" = "$prompt$whole" ] # not across the end of the prompt
}

@test "nothing of a stop text is shown while it may still become one" {
    printf '#@ ends=["national","na{"]\n' >head
    ids() { printf %s "$1" | tok-encode --no-special | tail -n 1; }
    shown() { # IDS: what tok-decode has written while the line goes on
        mkfifo pipe
        tok-decode <pipe >out &
        exec 8>pipe
        (cat head; printf '%s ' "$1") >&8
        for i in $(seq 50); do [ "$(stat -c %s out)" -ge ${#2} ] && break; sleep 0.02; done
        sleep 0.1
        shown=$(cat out)
        exec 8>&-
        wait $!
        rm pipe
        [ "$shown" = "$2" ] || { echo "shown: '$shown', not '$2'"; false; }
        [ "$(cat out)" = "$3" ] || { echo "in the end: '$(cat out)', not '$3'"; false; }
    }
    shown "$(ids 'inter')" inter inter
    shown "$(ids 'internati')" inter internati # complete only at the end: it is shown
    shown "$(ids 'internatinatio')" internati internatinatio
    shown "$(ids 'international')" inter inter
    shown "$(ids 'internationalisation')" inter inter
    shown "$(ids 'xna') $(ids '{')" x x
}

@test "bytes of a character in tokens of their own, and byte fallback" {
    export LLM_MODEL=$DATA/tokenizers/bpe-llama2
    byte() { for b in "$@"; do echo -n "$((b + 3)) "; done; } # <0x00> is id 3
    [ "$(tok-decode --pieces <<<"$(byte 10)" | head -n 1)" = "$(printf '13\t\\n')" ]
    word() { printf 'x%s' "$1" | tok-encode --no-special | tail -n 1 | cut -d ' ' -f 2-; }
    cut() { printf '#@ continues=1 ends=%s\n%s\n' "$1" "$2" | tok-decode; }
    # é and a newline as bytes, before and after a word.
    [ "$(cut '["é"]' "$(word abc) $(byte 195 169) $(word def)")" = "$(cut '[]' "$(word abc)")" ]
    [ "$(cut '["\n"]' "$(word abc) $(byte 10) $(word def)")" = "$(cut '[]' "$(word abc)")" ]
    [ "$(cut '["\n"]' "$(word abc) $(byte 10)")" = "$(cut '[]' "$(word abc)")" ]
    [ "$(cut '["\n"]' "$(word abc) $(byte 195)")" = "$(cut '[]' "$(word abc) $(byte 195)")" ]
    [ "$(cut '["\n\n"]' "$(word abc) $(byte 10) $(word def)")" = "$(cut '[]' "$(word abc) $(byte 10) $(word def)")" ]
}

@test "a stop text that is a special token ends with it" {
    end=$(printf '<|end|>' | tok-encode | tail -n 1)
    [ "$(answer --logit-bias "$end=1000" --stop '<|end|>')" = '' ]
    [ "$(finish) $(tokens)" = 'stop 1' ]
    answer --logit-bias "$end=1000" --stop '<|end|' -n 3 >/dev/null # only as a whole
    [ "$(finish) $(tokens)" = 'length 3' ]
}

@test "texts that cannot be, and a tokenizer that is missing or another" {
    printf '1 2\n' | llm-forward --no-return >rec
    fails 2 'must not be empty' llm-sample --stop '' rec
    fails 2 'is not valid UTF-8' llm-sample --stop $'\xff' rec
    fails 2 'has 5000 bytes, more than 4096' llm-sample --stop "$(head -c 5000 /dev/zero | tr '\0' a)" rec
    stops=()
    for i in $(seq 65); do stops+=(--stop "a$i"); done
    fails 2 'at most 64 texts' llm-sample "${stops[@]}" rec
    fails 2 'give -m DIR or set LLM_MODEL' env -u LLM_MODEL llm-sample --stop a rec
    fails 66 'no tokenizer.json' llm-sample -m "$DATA/models/llama" --stop a rec
    fails 65 'the model has tokenizer' llm-sample -m "$DATA/tokenizers/bpe-llama2" --stop a rec
    env -u LLM_MODEL llm-sample -m "$DATA/tiny/tokenizer.json" -n 1 --stop a rec >out
    # In a record they fail it alone.
    (echo '#@ stop=[1]'; echo 1; echo '#@ stop='; echo 1; echo '#@ stop=["a"'; echo 1; echo '#@ stop=[]'; echo 1) >ids
    run --separate-stderr bash -c 'llm-forward ids | llm-sample -n 1 | grep -v "^#@"'
    [ "${lines[1]}" = '! stop takes a text or a list of texts' ]
    [ "${lines[2]}" = '! stop: a text that ends an answer must not be empty' ]
    [[ ${lines[4]} == '#= finish=length'* ]] # ["a" is a text
    [[ ${lines[6]} == '#= finish=length'* ]]
    run bash -c '(echo "#@ stop=a"; cat ids) | llm-forward | env -u LLM_MODEL llm-sample -n 1'
    [[ $output == *'! stop texts need the model'* ]]
    # tok-decode is not cut short by a strange attribute.
    run --separate-stderr tok-decode < <(printf '#@ ends=[1] begins=x\n508 602\n')
    [ "$status" -eq 0 ]
    [ "${output:0:3}" = ily ]
    [[ $stderr == *'sequence 1: stop takes a text or a list of texts'* && $stderr == *'begins takes a number of ids'* ]]
}

#!/usr/bin/env bats
# tok-decode: tokens(5) in, text out as soon as it is certain.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common
bats_require_minimum_version 1.5.0

setup() {
    export LLM_MODEL=$DATA/tokenizers/bpe-llama2
    cd "$BATS_TEST_TMPDIR"
}

@test "there and back again, in every form" {
    printf 'Hello, world\n\n  two  spaces\nünï 你好 👍' >l
    tok-encode -l l | tok-decode -l | diff - <(cat l; echo)
    tr '\n' '\0' <l | tok-encode -0 | tok-decode -0 | diff - <(tr '\n' '\0' <l; printf '\0')
    [ "$(tok-encode l | tok-decode)" = "$(cat l)" ]
    [ "$(printf 'a\nb' | tok-encode -0 | tok-decode -l)" = "a b" ]
    [ "$(tok-encode -l l | tok-decode)" = "$(cat l)" ]
    [ "$(printf 'a\t"b"\n' | tok-encode | tok-decode -j)" = '{"text": "a\t\"b\""}' ]
}

@test "special tokens are left out, or kept" {
    [ "$(printf 'Hi' | tok-encode | tok-decode)" = Hi ]
    [[ "$(printf 'Hi' | tok-encode | tok-decode --special)" == "<s>"*Hi ]]
}

@test "a continuation keeps its first space; a beginning does not" {
    # The ids of " world" behind "Hello".
    all=$(printf 'Hello world' | tok-encode --no-special | grep -v '^#')
    first=$(printf 'Hello' | tok-encode --no-special | grep -v '^#')
    rest=${all#"$first "}
    [ "$(echo "$rest" | tok-decode | od -c)" = "$(printf 'world' | od -c)" ]
    [ "$(echo "$rest" | tok-decode --continue | od -c)" = "$(printf ' world' | od -c)" ]
    [ "$(printf '#@ continues=1\n%s\n%s\n' "$rest" "$rest" | tok-decode -l | od -c)" = "$(printf ' world\nworld\n' | od -c)" ]
}

@test "text comes out with the id that makes it certain, never a part of a character" {
    export LLM_MODEL=$DATA/tokenizers/bpe-gpt2
    printf '你' | tok-encode --no-special | grep -v '^#' | tr ' ' '\n' >ids
    [ "$(wc -l <ids)" -ge 2 ]
    mkfifo in out
    tok-decode <in >out &
    exec 5>in 6<out
    printf '64 ' >&5
    read -r -n 1 -t 5 -u 6 c
    [ "$c" = a ]
    printf '%s ' "$(head -n 1 ids)" >&5
    run read -r -n 1 -t 0.2 -u 6 c
    [ "$status" -ne 0 ]
    printf '%s\n' "$(tail -n +2 ids | tr '\n' ' ' | sed 's/ $//')" >&5
    exec 5>&-
    read -r -t 5 -u 6 c || true
    [ "$c" = 你 ]
    wait
}

@test "bytes that are no UTF-8 become U+FFFD" {
    export LLM_MODEL=$DATA/tokenizers/bpe-gpt2
    first=$(printf '你' | tok-encode --no-special | grep -v '^#' | cut -d ' ' -f 1)
    [ "$(echo "$first" | tok-decode)" = $'\xef\xbf\xbd' ]
    [ "$(echo "$first 64" | tok-decode)" = $'\xef\xbf\xbda' ]
}

@test "a failed sequence is told, and keeps its place" {
    run --separate-stderr tok-decode -l < <(printf '# tokens\n1\n! too long\n1\n')
    [ "$status" -eq 1 ]
    [[ $stderr == *"sequence 2 failed: too long"* ]]
    [ "$(tok-decode -l 2>/dev/null < <(printf '1\n! too long\n1\n') | wc -l)" -eq 3 ]
    [ "$(tok-decode -j 2>/dev/null < <(printf '#@ id=4\n! too long\n'))" = '{"text": "", "id": 4, "error": "too long"}' ]
}

@test "what ended a sequence stands in its JSON record" {
    printf '1\n#= finish=a%%f6b\n' | tok-decode -j | jq -e '.finish == "a\ufffdb"'
    run tok-decode -j < <(printf '#@ id=a\n1\n#= finish=eos n=3\n#@ id=b\n1\n')
    [ "${lines[0]}" = '{"text": "", "id": "a", "finish": "eos", "n": 3}' ]
    [ "${lines[1]}" = '{"text": "", "id": "b"}' ]
}

@test "ids of another tokenizer are refused, and both are named" {
    printf 'x' | tok-encode -m "$DATA/tokenizers/bpe-gpt2" >ids
    fails 65 'another tokenizer: ' tok-decode ids
    [[ $output == *"$(b2sum -l 256 "$LLM_MODEL/tokenizer.json" | cut -c1-16)"* ]]
    fails 0 'a vocabulary of 9, this tokenizer' tok-decode < <(printf '# tokens vocab=9\n1\n')
    [ "$(printf '99999999 5\n' | tok-decode --special | wc -c)" -le 8 ]
}

@test "bad streams and full disks are told" {
    fails 65 'line 1' tok-decode < <(printf '1 x\n')
    fails 66 'cannot open nowhere' tok-decode nowhere
    fails 74 'No space left' sh -c 'echo 300 | tok-decode -l >/dev/full'
    [ "$(tok-decode </dev/null | wc -c)" -eq 0 ]
}

@test "--pieces shows each id and its bytes, escaped" {
    [ "$(printf '1 3 226 10\n' | tok-decode --pieces -m "$DATA/tokenizers/bpe-llama2" | sed -n 1p)" = $'1\t<s>' ]
    byte=$(printf '\xf0\x9f\xa6\x84' | tok-encode --no-special -m "$DATA/tokenizers/bpe-gpt2" | grep -v '^#' | cut -d' ' -f1)
    [[ $(echo "$byte" | tok-decode --pieces -m "$DATA/tokenizers/bpe-gpt2") == "$byte"$'\t\\xf0'* ]]
    newline=$(printf '\n' | tok-encode -0 -m "$DATA/tokenizers/bpe-gpt2" | grep -v '^#')
    [ "$(echo "$newline" | tok-decode --pieces -m "$DATA/tokenizers/bpe-gpt2" | head -n 1)" = "$newline"$'\t\\n' ]
}

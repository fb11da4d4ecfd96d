#!/usr/bin/env bats
# Messages that say what helps: a file of another kind, a stage left out, an option that does not mean what it seems to.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/models/llama TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n' >pointer
}

@test "a Git LFS pointer in place of a file" {
    mkdir m
    cp "$LLM_MODEL/config.json" m/
    cp pointer m/model.safetensors
    fails 65 'a Git LFS pointer, not the file itself: fetch it with git lfs pull: m/model.safetensors' llm-forward -m m --no-return </dev/null
    fails 65 'a Git LFS pointer' st-inspect m
    cp pointer m/tokenizer.json
    fails 65 'a Git LFS pointer, not the file itself: fetch it with git lfs pull: m/tokenizer.json' tok-encode -m m </dev/null
    cp pointer m/config.json
    fails 65 'fetch it with git lfs pull: m/config.json' llm-forward -m m --no-return </dev/null
}

@test "what is no model folder" {
    printf 'GGUF\003\0\0\0' >x.gguf
    fails 66 'a GGUF file: st-convert makes a model folder of it: x.gguf' llm-forward -m x.gguf </dev/null
    fails 65 'a GGUF file: st-convert makes a model folder of it: x.gguf' tok-encode -m x.gguf </dev/null
    fails 66 "expected a model folder, found a file: plain" sh -c 'echo 1 >plain; llm-forward -m plain </dev/null'
    mkdir adapter bin consolidated
    echo '{}' >adapter/adapter_config.json
    fails 66 'a LoRA adapter, not a model: merge it into its base first: adapter' llm-forward -m adapter --no-return </dev/null
    fails 66 'adapter_config.json is there: a LoRA adapter, not a model: its base model has the tokenizer' tok-encode -m adapter </dev/null
    cp "$LLM_MODEL/config.json" bin/
    : >bin/pytorch_model.bin
    fails 66 'its weights are pytorch_model.bin, and only safetensors files are read' llm-forward -m bin --no-return </dev/null
    cp "$LLM_MODEL/config.json" consolidated/
    : >consolidated/consolidated.safetensors
    fails 66 "Mistral's own names" llm-forward -m consolidated --no-return </dev/null
    mkdir pth cut
    cp "$LLM_MODEL/config.json" pth/
    cp "$LLM_MODEL/config.json" cut/
    : >pth/consolidated.00.pth
    : >cut/model-00001-of-00002.safetensors
    fails 66 'but consolidated.00.pth (only safetensors files are read): pth' llm-forward -m pth --no-return </dev/null
    fails 66 'but model-00001-of-00002.safetensors (is the download whole?): cut' llm-forward -m cut --no-return </dev/null
}

@test "a folder without tokenizer.json, and what it has instead" {
    mkdir m
    fails 66 'no tokenizer.json: m' tok-encode -m m </dev/null
    for file in tekken.json tokenizer.model spiece.model qwen.tiktoken vocab.json; do
        : >m/$file
        fails 66 "no tokenizer.json; $file is there: st-convert makes a tokenizer.json of it: m" tok-encode -m m </dev/null
        fails 66 "no tokenizer.json; $file" tok-decode -m m </dev/null
        rm m/$file
    done
    : >m/vocab.txt
    fails 66 'vocab.txt is there: transformers makes a tokenizer.json' tok-encode -m m </dev/null
    rm m/vocab.txt
    : >m/x-Q4_K_M.gguf
    fails 66 'x-Q4_K_M.gguf is there: st-convert makes a model folder of it: m' tok-encode -m m </dev/null
    fails 66 'no config.json, but a GGUF file: st-convert makes a model folder of it: m' llm-forward -m m --no-return </dev/null
    fails 66 'x-Q4_K_M.gguf (st-convert makes a model folder of a GGUF file): m' st-inspect m
    rm m/x-Q4_K_M.gguf
    : >m/params.json
    fails 66 "no config.json, but params.json: the folder in transformers' form is needed: m" llm-forward -m m --no-return </dev/null
    rm m/params.json
    mkdir m/snapshots
    fails 66 'a folder of the Hugging Face cache: give org/name, or snapshots/COMMIT in it: m' llm-forward -m m --no-return </dev/null
}

@test "a stage left out of the pipe" {
    echo 1 2 | llm-forward --no-return >rec
    fails 65 'logits(5), as llm-forward writes them: llm-sample makes tokens(5) of them: stdin' tok-decode -m "$DATA/tokenizers/bpe-llama3" <rec
    fails 65 'logits(5), as llm-forward writes them' llm-forward --no-return rec
    printf '# tokens vocab=3\n1 2\n' >ids
    fails 65 'not a logits(5) stream: tokens(5), as tok-encode writes them: llm-forward makes logits(5) of them: ids' llm-sample ids
    fails 65 'llm-forward makes logits(5) of them' llm-inspect ids
    # A text where ids or logits belong, and a stream where a text belongs.
    fails 65 'expected a token id in decimal digits, as tok-encode writes them: stdin: line 1, byte 1' llm-forward --no-return < <(echo hi)
    fails 65 'not a logits(5) stream, as llm-forward writes it: stdin: byte 0' llm-sample < <(echo hi)
    export LLM_MODEL=$DATA/tokenizers/bpe-llama3
    fails 0 'the input is encoded as text, but it is tokens(5), as tok-encode writes them' tok-encode ids
    fails 0 'the input is encoded as text, but it is logits(5), as llm-forward writes them' tok-encode rec
    fails 0 'the input is encoded as text, but it is a Git LFS pointer' tok-encode -l pointer
    [ "$(echo '<html>' | tok-encode 2>&1 >/dev/null)" = '' ]
    [ "$(tok-encode -q ids 2>&1 >/dev/null)" = '' ]
    # Bad bytes that look like no other stage's have their own message.
    fails 65 'line 1, byte 1' tok-decode -m "$DATA/tokenizers/bpe-llama3" < <(echo LOG)
}

@test "a failure is one message, with file, line and byte of the input" {
    one() { # MESSAGE COMMAND...
        want=$1
        shift
        run "$@"
        [ "$(grep -c . <<<"$output")" = 1 ] && [ "$output" = "$want" ] || { echo "$output"; return 1; }
    }
    printf '1 2\n3 9999\n' >ids
    one 'llm-forward: sequence 1: id 9999 is not in the vocabulary of 288: id 2 of the sequence: ids: line 2' sh -c 'llm-forward --no-return ids >out'
    printf '1 2\n3 x\n' >ids
    one 'llm-forward: sequence 1: expected a token id in decimal digits: ids: line 2, byte 3' sh -c 'llm-forward --no-return ids >out'
    export LLM_MODEL=$DATA/tokenizers/bpe-qwen2
    printf '{"text":"a"}\n\n{"text":"a",}\n{"text":7}\n' >r.jsonl
    run sh -c 'tok-encode -j r.jsonl >out'
    [ "$output" = 'tok-encode: the line is blank: r.jsonl: line 2
tok-encode: JSON has byte 0x7d where a string was expected: byte 12: r.jsonl: line 3
tok-encode: JSON has byte 0x37 where a string was expected: byte 8: r.jsonl: line 4' ] || { echo "$output"; return 1; }
    printf 'a\0b\377\0' >nul
    one 'tok-encode: invalid UTF-8: byte 0xff at offset 1: nul: record 2' sh -c 'tok-encode -0 --strict nul >out'
    printf '[{"role":"user",\n"content":}]' >talk.json
    one 'tok-encode: JSON has byte 0x7d where a value was expected: talk.json: line 2, byte 27' sh -c 'tok-encode --chat talk.json >out'
    printf '[{"role":"user","content":"Hi"}]\n' >talk.jsonl
    fails 1 'an array, not an object: messages are {"messages": [...]}, or read by --chat without -j: talk.jsonl: line 1' tok-encode -j talk.jsonl
    # A BOM before a conversation is no error.
    [ "$(printf '\xef\xbb\xbf[{"role":"user","content":"Hi"}]' | tok-encode --chat)" = "$(tok-encode --chat talk.jsonl)" ]
}

@test "--stop is no abbreviation of --stop-id, and takes its text as it is" {
    echo 1 2 | llm-forward --no-return >rec
    said() { llm-sample -m "$DATA/tiny" -n 1 "$@" rec 2>&1 >out || true; }
    [[ "$(said --stop 42)" == *'--stop 42 ends an answer before the text "42"; --stop-id ends it after'* ]]
    [[ "$(said --stop '\n')" == *"has backslashes, which stand for themselves: the shell writes a newline as \$'\n'"* ]]
    [ "$(said -q --stop 42)" = '' ]
    [ "$(said --stop '\name 42')" = '' ]
    fails 2 'takes token ids' llm-sample --stop-i x /dev/null # an abbreviation as any other
    fails 2 'stop texts need the model'"'"'s tokenizer: give -m DIR or set LLM_MODEL' env -u LLM_MODEL llm-sample --stop x rec
}

@test "-c past the model's limit is warned about" {
    fails 0 '-c 300 is past the 256 positions that the model was made for' sh -c 'echo 1 | llm-forward --no-return -c 300 >out'
    [ "$(echo 1 | llm-forward --no-return -c 256 2>&1 >out)" = '' ]
    [ "$(echo 1 | llm-forward -q --no-return -c 300 2>&1 >out)" = '' ]
}

@test "what the input of tok-encode has that nobody meant" {
    export LLM_MODEL=$DATA/tokenizers/bpe-llama3
    bos=$(printf '' | tok-encode | tail -n 1 | tr -d ' ')
    text=$(echo "$bos" | tok-decode --special)
    said() { tok-encode "$@" 2>&1 >out; }
    [[ "$(printf '%s hi\n' "$text" | said)" == *'which is then there twice: --no-special leaves that out' ]]
    [ "$(printf '%s hi\n' "$text" | said --no-special)" = '' ]
    [ "$(printf '%s hi\n' "$text" | said -q)" = '' ]
    [ "$(echo hi | said)" = '' ]
    [[ "$(printf 'a\r\nb\r\n' | said -l)" == *'lines end in CR LF, and the CR is part of each text' ]]
    [ "$(printf 'a\nb\n' | said -l)" = '' ]
    # A BOM before JSON lines is no error, a blank line says what it is.
    [ "$(printf '\xef\xbb\xbf{"text":"a"}\n' | tok-encode -j)" = "$(echo a | tok-encode)" ]
    fails 1 '! the line is blank' tok-encode -j < <(printf '{"text":"a"}\n\r\n')
}

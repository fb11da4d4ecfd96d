#!/usr/bin/env bats
# st-convert on other libraries' tokenizer files: tests/data/tokconv has them, with the ids of the reference.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

# The converted tokenizer gives the ids of every case:  same_ids OUT CASES
same_ids() {
    jq -c '{text}' "$2" | tok-encode -j -q -m "$1" | tail -n +2 >got
    jq -r '.ids | map(tostring) | join(" ")' "$2" >want
    [ -s want ]
    diff want got || { echo "$1"; return 1; }
}

converts() { # NAME...
    local name
    for name; do
        st-convert -q "$DATA/tokconv/$name" "$name"
        same_ids "$name" "$DATA/tokconv/$name/cases.jsonl"
    done
}

nothing_left() { [ "$(ls -A | grep -cE '^out|tmp$|old$')" -eq 0 ] || { ls -A; false; }; }

# The file must be refused, and nothing is left:  refused FILE TEXT
refused() {
    fails 65 "$2" st-convert "$1" out
    [[ $output == *"$1"* ]]
    nothing_left
}

# A ModelProto of pieces "TEXT SCORE TYPE", with more fields of the message in hexadecimal:  model FILE HEX [PIECE...]
model() {
    python3 - "$@" <<'EOF'
import struct, sys
def field(number, data):
    out, n = bytes([number << 3 | 2]), len(data)
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n]) + data
out = b""
for piece in sys.argv[3:]:
    text, score, kind = piece.rsplit(" ", 2)
    out += field(1, field(1, text.encode("utf-8", "surrogateescape")) +
                 b"\x15" + struct.pack("<f", float(score)) + bytes([0x18, int(kind)]))
open(sys.argv[1], "wb").write(out + bytes.fromhex(sys.argv[2]))
EOF
}

# vocab.json and merges.txt of a byte-level tokenizer of ours, without its added tokens:  split_files NAME FOLDER
split_files() {
    mkdir -p "$2"
    jq -c '(.added_tokens | map(.content)) as $a | .model.vocab | with_entries(select(.key as $k | $a | index([$k]) | not))' \
        "$DATA/tokenizers/$1/tokenizer.json" >"$2/vocab.json"
    { echo '#version: 0.2'; jq -r '.model.merges[] | if type == "array" then join(" ") else . end' \
        "$DATA/tokenizers/$1/tokenizer.json"; } >"$2/merges.txt"
    jq -c '.added_tokens | map({(.content): .id}) | add' "$DATA/tokenizers/$1/tokenizer.json" >"$2/added_tokens.json"
}

@test "SentencePiece, no class: ids as SentencePiece and transformers give them" {
    converts sp-bpe sp-bpe-bytes sp-unigram sp-no-prefix
}

@test "SentencePiece: Llama with and without legacy, Gemma, T5, XLM-RoBERTa" {
    converts llama llama-sp gemma t5 xlmr
}

@test "placeholders that tokenizer_config.json renames, ids past the vocabulary, eos" {
    converts sp-renamed
    [ "$(jq -c '.added_tokens[] | select(.content == "[x]") | [.id, .lstrip, .special]' sp-renamed/tokenizer.json)" = '[900,true,false]' ]
}

@test "tiktoken's ranks and tekken.json" {
    converts tiktoken tekken
    [ "$(jq -r '.added_tokens[6].content, .model.vocab["<SPECIAL_9>"]' tekken/tokenizer.json | xargs)" = '<SPECIAL_6> 9' ]
    [ "$(jq -r '.added_tokens | map(.content) | join(" ")' tiktoken/tokenizer.json)" = \
        "$(for i in 0 1 2; do printf '<|reserved_token_%d|> ' $((560 + i)); done)<s> <|reserved_token_564|> <|endoftext|>" ]
}

@test "vocab.json and merges.txt: GPT-2's class and Qwen 2's" {
    split_files bpe-gpt2 gpt2
    echo '{"model_type": "gpt2"}' >gpt2/config.json
    st-convert gpt2 out-gpt2
    same_ids out-gpt2 "$DATA/tokenizers/bpe-gpt2/cases.jsonl"
    split_files bpe-qwen2 qwen2
    echo '{"tokenizer_class": "Qwen2TokenizerFast"}' >qwen2/tokenizer_config.json
    st-convert qwen2 out-qwen2
    same_ids out-qwen2 "$DATA/tokenizers/bpe-qwen2/cases.jsonl"
    diff <(jq -S '[.normalizer, .pre_tokenizer, .decoder, .model.merges]' out-qwen2/tokenizer.json) \
        <(jq -S '[.normalizer, .pre_tokenizer, .decoder, .model.merges]' "$DATA/tokenizers/bpe-qwen2/tokenizer.json")
}

@test "text comes back from a converted Llama vocabulary" {
    converts llama-sp
    jq -c 'select(.text | length > 0 and (contains("▁") | not)) | {text}' "$DATA/tokconv/llama-sp/cases.jsonl" >texts
    tok-encode -j -q -m llama-sp texts | tok-decode -j -m llama-sp | jq -c '{text}' | diff texts -
}

@test "a folder without weights: small files are copied; a tokenizer_config.json is made where there is none" {
    cp -r "$DATA/tokconv/llama" src
    echo x >src/chat_template.jinja
    echo y >src/other.bin
    run st-convert src out
    [ "$status" -eq 0 ]
    [ "$output" = 'st-convert: the folder has no weights, so only a tokenizer is made: src' ]
    [ "$(ls out | xargs)" = 'chat_template.jinja config.json tokenizer.json tokenizer.model tokenizer_config.json' ] || { ls out; false; }
    cmp src/tokenizer_config.json out/tokenizer_config.json
    cmp src/config.json out/config.json
    rm -r out src/tokenizer_config.json
    run st-convert src out
    [ "$status" -eq 0 ]
    [[ $output == *"no '<s>' is put before a text, because no file says \"add_bos_token\": src/tokenizer.model"* ]]
    [ "$(jq -c '[.bos_token, .eos_token, .unk_token, .add_bos_token]' out/tokenizer_config.json)" = '["<s>","</s>","<unk>",false]' ]
    run st-convert -fqv src out
    [ "$status" -eq 0 ]
    [[ $output == *"st-convert: a SentencePiece vocabulary: "*" tokens, "*" merges"* ]]
}

@test "one file, with the files beside it" {
    st-convert "$DATA/tokconv/t5/spiece.model" t5
    [ "$(ls t5 | xargs)" = 'tokenizer.json tokenizer_config.json' ]
    same_ids t5 "$DATA/tokconv/t5/cases.jsonl"
    st-convert -q "$DATA/tokconv/tekken/tekken.json" tekken
    same_ids tekken "$DATA/tokconv/tekken/cases.jsonl"
    split_files bpe-gpt2 g
    echo '{"model_type": "gpt2"}' >g/config.json
    st-convert g/merges.txt m
    (cd g && st-convert vocab.json ../v)
    cmp m/tokenizer.json v/tokenizer.json
    cp "$DATA/tokconv/tiktoken/tokenizer.model" qwen.tiktoken
    st-convert qwen.tiktoken q
    [ "$(jq -c '[.normalizer, (.pre_tokenizer.pretokenizers[0].pattern.Regex | contains("N}{1,3}"))]' q/tokenizer.json)" = '[null,false]' ]
}

@test "a folder with weights gets its tokenizer.json too, and keeps the one that it has" {
    cp -r "$DATA/models/llama" src
    rm -f src/tokenizer.json
    cp "$DATA/tokconv/llama/tokenizer.model" src
    echo '{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "legacy": true}' >src/tokenizer_config.json
    st-convert src out
    same_ids out "$DATA/tokconv/llama-sp/cases.jsonl"
    [ -s out/model.safetensors ]
    echo '{}' >src/tokenizer.json
    st-convert src again
    [ "$(cat again/tokenizer.json)" = '{}' ]
}

@test "weights that are not read are no folder without weights" {
    cp -r "$DATA/tokconv/tekken" src
    : >src/consolidated.safetensors
    fails 66 "" st-convert src out
    [[ $output == *consolidated.safetensors* ]]
    rm src/consolidated.safetensors
    : >src/pytorch_model.bin
    fails 66 "pytorch_model.bin" st-convert src out
    nothing_left
}

@test "weights are converted although the tokenizer cannot be" {
    cp -r "$DATA/models/llama" src
    rm -f src/tokenizer.json
    echo '{"tokenizer_class": "XLNetTokenizer"}' >src/tokenizer_config.json
    cp "$DATA/tokconv/llama/tokenizer.model" src
    run st-convert src out
    [ "$status" -eq 0 ]
    [[ $output == *"no tokenizer.json is made: the tokenizer class 'XLNetTokenizer' is not supported: src"* ]]
    [ -s out/model.safetensors ]
    [ ! -e out/tokenizer.json ]
}

@test "--force replaces a folder that has a tokenizer.json" {
    st-convert -q "$DATA/tokconv/tekken" out
    fails 74 "already exists" st-convert -q "$DATA/tokconv/tekken" out
    st-convert -qf "$DATA/tokconv/t5" out
    same_ids out "$DATA/tokconv/t5/cases.jsonl"
}

@test "--pre chooses the pre-tokenizer of ranks and of vocab.json" {
    run st-convert "$DATA/tokconv/tiktoken" out
    [ "$status" -eq 0 ]
    [[ $output == *"so 'llama-bpe' is used; --pre NAME chooses another"* ]]
    st-convert -f --pre qwen2 "$DATA/tokconv/tiktoken" out
    [ "$(jq -r .normalizer.type out/tokenizer.json)" = NFC ]
    fails 65 "'nonesuch' is not known (known: gpt-2" st-convert -f --pre nonesuch "$DATA/tokconv/tiktoken" out
}

@test "special tokens: special_tokens_map.json, added_tokens.json, null, a class's own" {
    mkdir src
    printf 'YQ== 0\nYg== 1\n' >src/tokenizer.model
    echo '{"bos_token": null, "image_token": "<img>", "extra_special_tokens": {"call": "<call>"}}' >src/tokenizer_config.json
    echo '{"eos_token": {"content": "<e>", "lstrip": true}, "unk_token": "<u>"}' >src/special_tokens_map.json
    echo '{"<e>": 2, "<p>": 3}' >src/added_tokens.json
    st-convert -q src out
    [ "$(jq -c '[.added_tokens[] | [.id, .content, .special, .normalized, .lstrip]]' out/tokenizer.json)" = \
        '[[2,"<e>",true,false,false],[3,"<p>",false,true,false],[4,"<u>",true,false,false],[5,"<img>",true,false,false],[6,"<call>",true,false,false]]' ]
    echo '{"added_tokens_decoder": {}, "add_eos_token": true, "eos_token": "<z>"}' >src/tokenizer_config.json
    st-convert -qf src out # the two older files are not read
    [ "$(jq -c '[[.added_tokens[].content], .post_processor.special_tokens["<z>"].ids]' out/tokenizer.json)" = '[["<z>"],[2]]' ]
    echo '{"added_tokens_decoder": {"1": {"content": "<q>"}}}' >src/tokenizer_config.json
    run st-convert -f src out
    [[ $output == *"the added token '<q>' gets the id 2, not 1"* ]]
}

@test "SentencePiece: control, unknown, byte and unused pieces never result from a merge" {
    model tokenizer.model 12021802 '<unk> 0 2' '<s> 0 3' '< -1 1' 's> -2 1' 'ab -3 5' 'a -4 1' 'b -5 1' 'ba -6 1' '▁ -7 1'
    st-convert -q tokenizer.model out
    [ "$(jq -c .model.merges out/tokenizer.json)" = '[["b","a"]]' ]
}

@test "refused: SentencePiece models that are malformed or not supported" {
    model a.model 12021803 'a 0 1' && refused a.model "the model type 'word' is not supported"
    model a.model 12021809 'a 0 1' && refused a.model "the model type 9 is unknown"
    model a.model 1203c00101 'a 0 1' && refused a.model "treat_whitespace_as_suffix is not supported"
    model a.model '' 'a 0 1' 'a 0 1' && refused a.model "pieces 0 and 1 are both 'a'"
    model a.model '' 'a nan 1' && refused a.model "the score of piece 0 is not a number: a.model: byte"
    model a.model '' 'a inf 1' && refused a.model "the score of piece 0 is not a number"
    model a.model '' 'a 0 7' && refused a.model "piece 0 has the unknown type 7"
    model a.model '' ' 0 1' && refused a.model "piece 0 is empty"
    model a.model '' $'\xff 0 1' && refused a.model "a text is not UTF-8"
    model a.model 1203c00209 'a 0 1' && refused a.model "unk_id is 9 of 1 pieces"
    model a.model '1203c00209' && refused a.model "expected 1 to 16777216 pieces, found 0"
    model a.model 0affffffffffffffffff01 'a 0 1' && refused a.model "a field is longer than its message: a.model: byte"
    model a.model ffffffffffffffffffff01 'a 0 1' && refused a.model "a varint has more than 64 bits"
    model a.model ff 'a 0 1' && refused a.model "a varint is cut short"
    model a.model 0500 'a 0 1' && refused a.model "a field has no valid number"
    model a.model 0b 'a 0 1' && refused a.model "a field has an unsupported wire type"
    model a.model 150000 'a 0 1' && refused a.model "a number is cut short"
    model a.model 1001 'a 0 1' && refused a.model "field 2 has the wire type 0, not 2"
    : >a.model && refused a.model "the file is empty"
    printf 'version https://git-lfs.github.com/spec/v1\n' >a.model && refused a.model "Git LFS pointer"
    fails 66 "none.model" st-convert none.model out
    nothing_left
}

@test "every truncation of a SentencePiece model is refused or converted, never half-written" {
    model whole.model 12041802900101 '<unk> 0 2' '▁a -1 1' '▁ -2 1' 'a -3 1'
    size=$(stat -c %s whole.model)
    for ((n = 0; n < size; n++)); do
        head -c "$n" whole.model >cut.model
        run st-convert -q cut.model out
        case $status in
        0) jq -e . out/tokenizer.json >/dev/null && rm -r out ;;
        65) nothing_left ;;
        *) echo "exit $status at $n: $output"; false ;;
        esac
    done
}

@test "refused: ranks, tekken.json, vocab.json and merges.txt" {
    printf 'YQ== 0\nYg==\n' >a.tiktoken && refused a.tiktoken "expected a token in base64 and its rank: a.tiktoken: line 2"
    printf 'YQ== 0\n!!!! 1\n' >a.tiktoken && refused a.tiktoken "'!!!!' is not a token in base64: a.tiktoken: line 2"
    printf 'YQ== 0\nYQ== 1\n' >a.tiktoken && refused a.tiktoken "there twice"
    printf 'YQ== 0\nYg== 0\n' >a.tiktoken && refused a.tiktoken "the id 0 of token 'b' is there twice"
    printf 'YQ== 99999999\n' >a.tiktoken && refused a.tiktoken "more than 16777216 tokens"
    tekken() { printf '%s' "$1" >tekken.json; }
    tekken '{"config": {"version": "v13"}, "vocab": [], "special_tokens": []}' && refused tekken.json "key 'pattern' of 'config' is missing"
    tekken '{"config": {"pattern": "."}, "vocab": []}' && refused tekken.json "key 'vocab' is missing or empty"
    tekken '{"config": {"pattern": "."}, "vocab": [{"rank": 1, "token_bytes": "YQ=="}]}' && refused tekken.json "token 0 of 'vocab' has the rank 1"
    tekken '{"config": {"pattern": "."}, "vocab": [{"token_bytes": "*"}]}' && refused tekken.json "not a token in base64: tekken.json: token 0"
    tekken '{"config": {"pattern": ".", "default_num_special_tokens": 1}, "vocab": [{"token_bytes": "YQ=="}],
        "special_tokens": [{"rank": 0, "token_str": "x"}, {"rank": 1, "token_str": "y"}]}' &&
        refused tekken.json "default_num_special_tokens is 1, but special_tokens has 2"
    tekken '{"config": {"pattern": ".", "default_vocab_size": 1}, "vocab": [{"token_bytes": "YQ=="}]}' &&
        refused tekken.json "default_vocab_size is 1, less than the 20 special tokens"
    tekken '{"config": {"pattern": "."}, "vocab": [{"token_bytes": "YQ=="}], "special_tokens": [{"rank": 1, "token_str": "x"}]}' &&
        refused tekken.json "special token 'x' has the rank 1, not 0"
    tekken '{"config": {"pattern": ".", "default_num_special_tokens": 99999999}}' && refused tekken.json "99999999 tokens are more than"
    mkdir g
    echo '{"a": 0, "b": 1, "ab": 2}' >g/vocab.json
    printf 'a b\nb a\n' >g/merges.txt
    fails 65 "'ba' is not in the vocabulary: g/merges.txt: line 2" st-convert g out
    printf 'a b c\n' >g/merges.txt
    fails 65 "expected two tokens with a space between them: g/merges.txt: line 1" st-convert g out
    printf 'a b\n' >g/merges.txt
    echo '{"a": 0, "b": 0}' >g/vocab.json
    fails 65 "the id 0 of token 'b' is there twice" st-convert g out
    echo '{"a": 99999999999}' >g/vocab.json
    fails 65 "is more than 16777215: g/vocab.json: line 1" st-convert g out
    rm g/merges.txt
    fails 66 "needs a file that is missing: g/merges.txt" st-convert g/vocab.json out
    nothing_left
}

@test "refused: bad files beside the vocabulary, T5 with BPE, no room" {
    cp -r "$DATA/tokconv/llama" src
    chmod -R u+w src
    echo '{"legacy": "yes"}' >src/tokenizer_config.json
    fails 65 "src/tokenizer_config.json: line 1" st-convert src out
    echo '{"added_tokens_decoder": {"x": {"content": "y"}}}' >src/tokenizer_config.json
    fails 65 "'x' in added_tokens_decoder is not an id" st-convert src out
    echo '{"tokenizer_class": "T5Tokenizer"}' >src/tokenizer_config.json
    fails 65 "a T5Tokenizer must have a unigram model" st-convert src out
    echo '{"tokenizer_class": "AlbertTokenizer"}' >src/tokenizer_config.json
    fails 65 "the tokenizer class 'AlbertTokenizer' is not supported" st-convert src out
    fails 74 "cannot" sh -c 'trap "" XFSZ; ulimit -f 4; exec st-convert -q '"$DATA/tokconv/tekken"' out'
    nothing_left
}

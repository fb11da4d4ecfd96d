/* Fuzz entry: the normalizer Precompiled between others, before each kind of pre-tokenizer and
 * model. The input is two bytes that choose these, the length of a text, the text, and the bytes of
 * precompiled_charsmap. In fuzz builds, norms_apply checks the text after each normalizer.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "tokens/tokenizer.h"

static const char *const pre_tokenizers[] = {
    "null",
    "{\"type\":\"Whitespace\"}",
    "{\"type\":\"BertPreTokenizer\"}",
    ("{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\","
     "\"split\":true}"),
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}",
    "{\"type\":\"UnicodeScripts\"}",
    "{\"type\":\"FixedLength\",\"length\":2}",
    ("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\w+|\\\\s+|[^\\\\w\\\\s]+\"},"
     "\"behavior\":\"Isolated\",\"invert\":false}"),
};
static const char *const normalizers[] = {
    "{\"type\":\"Sequence\",\"normalizers\":[]}",
    "{\"type\":\"NFKC\"}",
    "{\"type\":\"Lowercase\"}",
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"StripAccents\"}]}",
    ("{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
     "\"strip_accents\":null,\"lowercase\":true}"),
    "{\"type\":\"Nmt\"}",
    "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}",
    "{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"}",
};
static const char *const models[] = {
    ("{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"b\",-2],"
     "[\"ab\",-1.5],[\" \",-3]]}"),
    ("{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"],"
     "\"unk_token\":\"a\"}"),
    ("{\"type\":\"WordPiece\",\"unk_token\":\"a\",\"continuing_subword_prefix\":\"##\","
     "\"max_input_chars_per_word\":100,\"vocab\":{\"a\":0,\"b\":1,\"##b\":2}}"),
    "{\"type\":\"WordLevel\",\"unk_token\":\"a\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}}",
};

static void add_base64(struct buf *out, const uint8_t *p, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        v |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < n ? (uint32_t)p[i + 2] : 0;
        buf_byte(out, digits[v >> 18 & 63]);
        buf_byte(out, digits[v >> 12 & 63]);
        buf_byte(out, i + 1 < n ? digits[v >> 6 & 63] : '=');
        buf_byte(out, i + 2 < n ? digits[v & 63] : '=');
    }
}

static void encode(const struct tokenizer *t, struct str bytes, bool want_offsets) {
    struct buf text = {0};
    struct err e = {0};
    utf8_repair(&text, bytes.p, bytes.n);
    struct str exact = fuzz_exact(buf_view(&text));
    struct encoder *en = encoder_new(t);
    struct token_ids ids = {.want_offsets = want_offsets};
    struct encode_options o = {0};
    if (tokenizer_encode(en, exact, &o, &ids, &e) != 0)
        fuzz_check_refusal(&e);
    else
        for (size_t i = 0; i < ids.n; i++) {
            assert(ids.ids[i] < tokenizer_vocab(t));
            assert(!want_offsets ||
                   (ids.offsets[i][0] <= ids.offsets[i][1] && ids.offsets[i][1] <= exact.n));
        }
    token_ids_free(&ids);
    encoder_free(en);
    buf_free(&text);
    free((char *)exact.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3)
        return 0;
    unsigned steps = data[0], rest = data[1];
    size_t n_text = data[2] < size - 3 ? data[2] : size - 3;
    const uint8_t *text = data + 3, *map = text + n_text;
    struct buf json = {0};
    struct err e = {0};
    buf_fmt(&json,
            "{\"pre_tokenizer\":%s,\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s,"
            "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"",
            pre_tokenizers[steps & 7], normalizers[steps & 64 ? steps >> 3 & 7 : 0]);
    add_base64(&json, map, size - 3 - n_text);
    buf_fmt(&json, "\"},%s]},\"model\":%s}", normalizers[steps >> 3 & 7], models[rest & 3]);
    struct tokenizer *t = tokenizer_load("fuzz", json.p, json.n, &e);
    if (t)
        encode(t, (struct str){(const char *)text, n_text}, rest & 4);
    else
        fuzz_check_refusal(&e);
    tokenizer_free(t);
    buf_free(&json);
    return 0;
}

/* Fuzz entry of the importers of tokenizers. The first byte chooses one; the rest is its file:
 *
 *     p l g 5 x   SentencePiece, as the plain class, Llama, Gemma, T5, XLM-RoBERTa
 *     t           tiktoken's ranks
 *     k           tekken.json
 *     b           vocab.json, a byte 0, merges.txt
 *     c           tokenizer_config.json, a byte 0, tiktoken's ranks
 *     m           special_tokens_map.json, a byte 0, added_tokens.json
 *
 * What is accepted is written as JSON that must parse, and is loaded and used as a tokenizer.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tokconv/import.h"
#include "tokens/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_parse(const struct buf *text) {
    struct err e;
    struct json j;
    json_init(&j, "output", text->p, text->n, &e);
    json_skip(&j);
    if (!json_end(&j)) {
        fprintf(stderr, "%s\n%s\n", e.msg, text->p);
        abort();
    }
    json_free(&j);
}

/* tokenizer.json may ask for more than the loader takes, so a refusal is no finding. */
static void use(const struct buf *text) {
    static const char sample[] = " a<s>\xE2\x96\x81 \xC3\xA9\n 12";
    struct err e;
    struct tokenizer *t = tokenizer_load("output", text->p, text->n, &e);
    if (!t)
        return;
    struct encoder *en = encoder_new(t);
    struct encode_options o = {0};
    struct token_ids ids = {0};
    tokenizer_encode(en, str_of(sample), &o, &ids, &e);
    token_ids_free(&ids);
    encoder_free(en);
    tokenizer_free(t);
}

static void check(const struct tokbuild *b) {
    struct buf out = {0};
    tokjson_write(&b->json, &out);
    must_parse(&out);
    use(&out);
    buf_clear(&out);
    tokbuild_config_json(b, &out);
    must_parse(&out);
    buf_free(&out);
}

static int import(struct tokbuild *b, char which, struct str first, struct str rest,
                  struct tokconv_config *c, struct err *e) {
    static const char *const classes[] = {['p'] = "",
                                          ['l'] = "LlamaTokenizer",
                                          ['g'] = "GemmaTokenizer",
                                          ['5'] = "T5Tokenizer",
                                          ['x'] = "XLMRobertaTokenizer",
                                          ['z'] = NULL};
    const struct tokpre *p = tokpre_find(str_of("gpt-2"));
    c->class_name =
        str_of(which >= '5' && which <= 'x' && classes[(int)which] ? classes[(int)which] : "");
    const struct tokconv_class *k = tokconv_class_of(c, "fuzz", e);
    switch (which) {
    case 't':
        return tokconv_import_tiktoken(b, "fuzz", first, c, k, p, e);
    case 'k':
        return tokconv_import_tekken(b, "fuzz", first, c, e);
    case 'b':
        return tokconv_import_bpe(
            b, &(struct tokconv_bpe_files){"fuzz.json", "fuzz.txt", first, rest}, c, k, p, e);
    case 'c':
        if (tokconv_config_json(c, "fuzz", first, e) != 0)
            return -1;
        return tokconv_import_tiktoken(b, "fuzz", rest, c, k, p, e);
    case 'm':
        if (tokconv_special_json(c, "fuzz", first, e) != 0 ||
            tokconv_added_json(c, "fuzz", rest, e) != 0)
            return -1;
        return tokconv_import_tiktoken(b, "fuzz", str_of("YQ== 0\nYg== 1\n"), c, k, p, e);
    default:
        return tokconv_import_sp(b, "fuzz", first, c, k, e);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tokconv_config c = {.legacy = NOT_GIVEN,
                               .add_bos = NOT_GIVEN,
                               .add_eos = NOT_GIVEN,
                               .prefix_space = NOT_GIVEN,
                               .extra_ids = NOT_GIVEN};
    struct tokbuild b = {0};
    struct err e = {0};
    if (size == 0)
        return 0;
    char which = (char)data[0];
    struct str first = {(const char *)data + 1, size - 1}, rest = {0};
    const char *end = strchr("bcm", which) ? memchr(first.p, 0, first.n) : NULL;
    if (end) {
        rest = (struct str){end + 1, first.n - (size_t)(end + 1 - first.p)};
        first.n = (size_t)(end - first.p);
    }
    warn_quiet(1);
    if (import(&b, which, first, rest, &c, &e) == 0)
        check(&b);
    else if (e.code == 0 || !e.msg[0])
        abort();
    tokbuild_free(&b);
    tokconv_config_free(&c);
    return 0;
}

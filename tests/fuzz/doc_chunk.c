/* Fuzz entry of docs/: a byte of options, a text, a byte 0 and what mandoc may have rendered of it.
 * The text is cut as all three formats. Chunks must be in their section, fit, be UTF-8 and go
 * forward.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "docs/chunk.h"
#include "docs/doc.h"
#include "tokens/tokenizer.h"

static const char words[] =
    "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
    "\"Split\",\"pattern\":{\"Regex\":\"[a-z]+|.\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"WordLevel\",\"vocab\":{"
    "\"<unk>\":0,\"a\":1},\"unk_token\":\"<unk>\"}}";

static size_t count(const struct tokenizer *t, struct str text) {
    struct encoder *en = encoder_new(t);
    struct token_ids ids = {0};
    struct err e = {0};
    const struct encode_options o = {0};
    if (tokenizer_encode(en, text, &o, &ids, &e) != 0)
        abort();
    size_t n = ids.n;
    token_ids_free(&ids);
    encoder_free(en);
    return n;
}

static void check_doc(const struct tokenizer *t, const struct chunk_options *o,
                      const struct doc *d) {
    struct chunker *c = chunker_new(t, o);
    struct doc_chunk chunk;
    struct err e = {0};
    size_t last = 0;
    int rc;
    for (size_t i = 0; i < d->n_sections; i++)
        assert(d->sections[i].from <= d->sections[i].to && d->sections[i].to <= d->text.n);
    chunker_begin(c, d);
    while ((rc = chunker_next(c, &chunk, &e)) == 1) {
        assert(chunk.from < chunk.to && chunk.to > last);
        assert(chunk.section->from <= chunk.from && chunk.to <= chunk.section->to);
        fuzz_check_utf8(chunk.text);
        assert(count(t, chunk.text) <= o->tokens || chunk.to - chunk.from <= 4);
        last = chunk.to;
    }
    assert(rc == 0 || (o->strict && e.code == EXIT_DATA));
    chunker_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tokenizer *t;
    struct err e = {0};
    if (!t && !(t = tokenizer_load("words", words, sizeof words - 1, &e)))
        abort();
    if (size == 0 || size > 20000)
        return 0;
    struct fuzz_parts parts = fuzz_split(data + 1, size - 1);
    struct str source = fuzz_exact(parts.first), rendering = fuzz_exact(parts.rest);
    struct chunk_options o = {.tokens = 8 + data[0] % 16,
                              .overlap = data[0] & 16 ? 4 : 0,
                              .with_head = data[0] & 32,
                              .strict = data[0] & 64};
    struct doc text = {0}, markdown = {0}, page = {0};
    doc_open_text(&text, source);
    check_doc(t, &o, &text);
    doc_open_markdown(&markdown, source);
    check_doc(t, &o, &markdown);
    doc_open_man(&page, source, rendering);
    check_doc(t, &o, &page);
    doc_free(&text);
    doc_free(&markdown);
    doc_free(&page);
    free((char *)(uintptr_t)source.p);
    free((char *)(uintptr_t)rendering.p);
    return 0;
}

/* vocab.json and merges.txt as a tokenizer.json: see import.h.
 *
 *     vocab.json    {"!": 0, "\"": 1, ...}
 *     merges.txt    #version: 0.2
 *                   Ġ t
 *                   Ġ a
 *
 * Lines that begin with "#version" and blank lines are skipped; any other line has two tokens of
 * the vocabulary, which together make a third, with one space between them (`tokenizers`,
 * models/bpe/model.rs).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "tokconv/import.h"

#define MAX_MERGES (1u << 25)

static size_t count_members(const char *name, struct str text, struct err *e) {
    struct json j;
    struct str key;
    size_t n = 0;
    json_init(&j, name, text.p, text.n, e);
    json_enter_object(&j);
    for (; json_key(&j, &key); n++)
        json_skip(&j);
    json_end(&j);
    if (json_failed(&j))
        n = 0;
    else if (n == 0 || n > TOKJSON_MAX_TOKENS) {
        err_set(e, EXIT_DATA, "expected 1 to %u tokens, found %zu: %s", TOKJSON_MAX_TOKENS, n,
                name);
        n = 0;
    }
    json_free(&j);
    return n;
}

static int by_id(const void *a, const void *b) {
    const struct tokjson_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Adds the tokens in the order of their ids, which the file need not have. */
static int read_vocab(struct tokbuild *b, size_t n, const char *name, struct str text,
                      struct err *e) {
    struct tokjson_token *list = xcalloc(n, sizeof *list);
    struct json j;
    struct str key;
    json_init(&j, name, text.p, text.n, e);
    json_enter_object(&j);
    for (size_t i = 0; i < n && json_key(&j, &key); i++) {
        uint64_t id = json_u64(&j);
        if (id >= TOKJSON_MAX_TOKENS)
            json_refuse(&j, "the id %" PRIu64 " is more than %u", id, TOKJSON_MAX_TOKENS - 1);
        list[i] = (struct tokjson_token){arena_str(&b->arena, key.p, key.n), (uint32_t)id, 0};
    }
    int rc = json_failed(&j) ? -1 : 0;
    json_free(&j);
    if (rc == 0)
        qsort(list, n, sizeof *list, by_id);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = tokbuild_token(b, list[i].text, list[i].id, 0, e);
    free(list);
    return rc;
}

struct merges {
    struct tokbuild *b;
    const char *name;
    size_t line, cap;
    struct buf both;
};

static int add_merge(struct merges *m, struct str line, struct err *e) {
    const char *space = memchr(line.p, ' ', line.n);
    size_t n = space ? (size_t)(space - line.p) : line.n;
    struct str left = {line.p, n}, right = {line.p + n + 1, space ? line.n - n - 1 : 0};
    struct tokjson_merge merge;
    uint32_t both;
    if (left.n == 0 || right.n == 0 || memchr(right.p, ' ', right.n))
        return err_set(e, EXIT_DATA, "expected two tokens with a space between them: %s: line %zu",
                       m->name, m->line);
    buf_clear(&m->both);
    buf_add(&m->both, left.p, left.n);
    buf_add(&m->both, right.p, right.n);
    const struct str *missing = !strmap_find(&m->b->ids, left, &merge.left)     ? &left
                                : !strmap_find(&m->b->ids, right, &merge.right) ? &right
                                                                                : NULL;
    struct str made = buf_view(&m->both);
    if (!missing && !strmap_find(&m->b->ids, made, &both))
        missing = &made;
    if (missing)
        return err_set(e, EXIT_DATA, "'%.*s' is not in the vocabulary: %s: line %zu",
                       str_shown(*missing), missing->p, m->name, m->line);
    if (m->b->json.n_merges == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 65536;
        m->b->merges = xreallocarray(m->b->merges, m->cap, sizeof *m->b->merges);
    }
    m->b->merges[m->b->json.n_merges++] = merge;
    m->b->json.merges = m->b->merges;
    return 0;
}

static int read_merges(struct merges *m, struct str text, struct err *e) {
    static const char version[] = "#version";
    while (text.n) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = end ? (size_t)(end - text.p) : text.n;
        struct str line = {text.p, n};
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        n += end != NULL;
        text = (struct str){text.p + n, text.n - n};
        m->line++;
        if (line.n == 0 ||
            (line.n >= sizeof version - 1 && memcmp(line.p, version, sizeof version - 1) == 0))
            continue;
        if (m->b->json.n_merges == MAX_MERGES)
            return err_set(e, EXIT_DATA, "more than %u merges: %s", MAX_MERGES, m->name);
        if (add_merge(m, line, e) != 0)
            return -1;
    }
    return 0;
}

int tokconv_import_bpe(struct tokbuild *b, const struct tokconv_bpe_files *f,
                       const struct tokconv_config *c, const struct tokconv_class *k,
                       const struct tokpre *p, struct err *e) {
    struct merges m = {.b = b, .name = f->merges_name};
    size_t n = count_members(f->vocab_name, f->vocab, e);
    tokbuild_init(b, f->vocab_name, n, 0, c);
    int rc = n == 0 ? -1 : read_vocab(b, n, f->vocab_name, f->vocab, e);
    if (rc == 0)
        rc = read_merges(&m, f->merges, e);
    buf_free(&m.both);
    if (rc == 0)
        rc = tokbuild_config(b, c, k, e);
    if (rc != 0)
        return rc;
    tokpre_normalizer(p, &b->json.normalizer);
    tokpre_pre_tokenizer(p, c->prefix_space == 1, &b->json.pre_tokenizer);
    tokjson_byte_level_decoder(&b->json.decoder);
    tokbuild_template(b);
    return 0;
}

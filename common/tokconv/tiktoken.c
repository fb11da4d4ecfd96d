/* A file of tiktoken ranks as a tokenizer.json: see import.h.
 *
 *     IQ== 0
 *     Ig== 1
 *
 * The file has neither the pre-tokenizer nor the special tokens. The caller chooses the first; the
 * second come from tokenizer_config.json. As in transformers (_convert_from_tiktoken), the gaps
 * between the ranks and the largest id of added_tokens_decoder become reserved tokens.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "base/num.h"
#include "tokconv/import.h"
#include "tokconv/ranks.h"

static int read_line(struct ranks *r, struct str line, size_t number, struct err *e) {
    char where[32];
    uint64_t rank;
    snprintf(where, sizeof where, "line %zu", number);
    struct str base64 = str_word(&line), digits = str_word(&line);
    if (base64.n == 0)
        return 0; // blank
    if (!parse_u64(digits, 0, UINT32_MAX, &rank) || str_word(&line).n)
        return err_set(e, EXIT_DATA, "expected a token in base64 and its rank: %s: %s", r->name,
                       where);
    return ranks_add(r, base64, rank, where, e);
}

static int read_lines(struct ranks *r, struct str file, struct err *e) {
    size_t number = 0;
    while (file.n) {
        const char *end = memchr(file.p, '\n', file.n);
        size_t n = end ? (size_t)(end - file.p) : file.n;
        struct str line = {file.p, n};
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (read_line(r, line, ++number, e) != 0)
            return -1;
        n += end != NULL;
        file = (struct str){file.p + n, file.n - n};
    }
    return r->n ? 0 : err_set(e, EXIT_DATA, "the file has no tokens: %s", r->name);
}

/* Fills the ids from the ranks' end to the largest id of the added tokens. */
static void reserve(struct tokbuild *b, const struct tokconv_config *c) {
    uint32_t last = c->added.n ? c->added.items[c->added.n - 1].id : 0;
    size_t k = 0;
    for (uint32_t id = b->next_id; id < last; id++) {
        while (k < c->added.n && c->added.items[k].id < id)
            k++;
        if (k < c->added.n && c->added.items[k].id == id) {
            b->next_id = id + 1; // tokbuild_config adds it
            continue;
        }
        char name[48];
        int n = snprintf(name, sizeof name, "<|reserved_token_%" PRIu32 "|>", id);
        b->next_id = id;
        tokbuild_special(b, arena_str(&b->arena, name, (size_t)n), true);
    }
}

/* How many tokens `reserve` may add. */
static size_t room(const struct ranks *r, const struct tokconv_config *c) {
    uint32_t last = c->added.n ? c->added.items[c->added.n - 1].id : 0;
    return last > r->n ? last - r->n : 0;
}

int tokconv_import_tiktoken(struct tokbuild *b, const char *name, struct str file,
                            const struct tokconv_config *c, const struct tokconv_class *k,
                            const struct tokpre *p, struct err *e) {
    struct ranks r = {.name = name};
    int rc = read_lines(&r, file, e);
    tokbuild_init(b, name, r.n, room(&r, c), c);
    if (rc == 0)
        rc = ranks_build(&r, r.n, 0, b, e);
    if (rc == 0) {
        reserve(b, c);
        rc = tokbuild_config(b, c, k, e);
    }
    if (rc == 0) {
        tokpre_normalizer(p, &b->json.normalizer);
        tokpre_pre_tokenizer(p, c->prefix_space == 1, &b->json.pre_tokenizer);
        tokjson_byte_level_decoder(&b->json.decoder);
        tokbuild_template(b);
    }
    ranks_free(&r);
    return rc;
}

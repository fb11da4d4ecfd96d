/* The merges of a SentencePiece BPE vocabulary: see gguf_spm_merges.
 *
 * SentencePiece joins, of all neighbours whose concatenation is a piece, the pair whose piece has
 * the best score. tokenizer.json wants a list of pairs, best first: every cut of every piece into
 * two pieces, ordered by the piece's score, then by the length of the left and of the right part in
 * characters, longer first (transformers, convert_slow_tokenizer.py, generate_merges; ties keep the
 * order of piece id and of the parts' ids).
 *
 * Control, unknown, byte and unused pieces never result from a merge, so that text cannot form
 * them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "gguf/vocab.h"

#define MAX_MERGES (1u << 25)

/* A piece of n bytes has n - 1 cuts, each of which looks up n bytes. This bounds the quadratic
 * cost. */
enum { MAX_PIECE_BYTES = 1024 };

struct merge {
    double score;
    uint32_t piece, left, right; // ids
    uint32_t n_left, n_right;    // characters
};

static size_t characters(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

static int order(const void *a, const void *b) {
    const struct merge *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->n_left != y->n_left)
        return x->n_left > y->n_left ? -1 : 1;
    if (x->n_right != y->n_right)
        return x->n_right > y->n_right ? -1 : 1;
    if (x->piece != y->piece)
        return x->piece < y->piece ? -1 : 1;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

struct merges {
    struct merge *items;
    size_t n, cap;
};

static int cut_piece(const struct gguf_vocab *v, uint32_t id, struct merges *m, struct err *e) {
    struct str t = v->tokens[id];
    double score = gguf_float_at(v->scores, id);
    if (isnan(score))
        return err_set(e, EXIT_DATA, "the score of token %u is not a number: %s", id, v->g->path);
    if (t.n > MAX_PIECE_BYTES)
        return err_set(e, EXIT_DATA, "token %u has %zu bytes, more than %d: %s", id, t.n,
                       MAX_PIECE_BYTES, v->g->path);
    size_t total = characters(t), n_left = 0;
    for (size_t at = 0; at < t.n; at++) {
        if (((unsigned char)t.p[at] & 0xC0) == 0x80)
            continue;
        struct merge c = {.score = score,
                          .piece = id,
                          .n_left = (uint32_t)n_left,
                          .n_right = (uint32_t)(total - n_left)};
        n_left++;
        if (at == 0 || !strmap_find(&v->ids, (struct str){t.p, at}, &c.left) ||
            !strmap_find(&v->ids, (struct str){t.p + at, t.n - at}, &c.right))
            continue;
        if (m->n == MAX_MERGES)
            return err_set(e, EXIT_DATA, "more than %u merges: %s", MAX_MERGES, v->g->path);
        if (m->n == m->cap) {
            m->cap = m->cap ? m->cap * 2 : 65536;
            m->items = xreallocarray(m->items, m->cap, sizeof *m->items);
        }
        m->items[m->n++] = c;
    }
    return 0;
}

int gguf_spm_merges(const struct gguf_vocab *v, struct buf *out, struct err *e) {
    struct merges m = {0};
    int rc = 0;
    for (uint32_t id = 0; id < v->n && rc == 0; id++)
        if (v->types[id] == GGUF_TOKEN_NORMAL || v->types[id] == GGUF_TOKEN_USER_DEFINED)
            rc = cut_piece(v, id, &m, e);
    if (m.n)
        qsort(m.items, m.n, sizeof *m.items, order);
    for (size_t i = 0; i < m.n && rc == 0; i++) {
        buf_str(out, i ? ",\n    [" : "\n    [");
        json_write_str(out, v->tokens[m.items[i].left]);
        buf_byte(out, ',');
        json_write_str(out, v->tokens[m.items[i].right]);
        buf_byte(out, ']');
    }
    free(m.items);
    return rc;
}

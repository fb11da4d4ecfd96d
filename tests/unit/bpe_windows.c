/* Merging a word in windows against merging the whole word, with random vocabularies of random
 * merges in any order.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/bpe_windows.h"

#include <stdlib.h>

#include "../lib/check.h"

enum { LETTERS = 4, WORD = 700 };

static uint64_t seed = 1;

static uint32_t below(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

struct bpe_case {
    struct vocab vocab;
    struct bpe_merges merges;
    struct region mem;
    struct json json; // owns the tokens' texts
    struct buf text;
    uint32_t byte_ids[256];
};

/* Makes the letters and n merges of existing tokens, in a random order of rank. */
static void make(struct bpe_case *c, uint32_t n, uint32_t letters) {
    char *names[LETTERS + 512], *merges[512];
    uint32_t count = 0, n_merges = 0;
    *c = (struct bpe_case){0};
    for (uint32_t i = 0; i < letters; i++) {
        c->byte_ids['a' + i] = count;
        names[count++] = xasprintf("%c", (int)('a' + i));
    }
    for (uint32_t i = 0; i < n; i++) {
        const char *left = names[below(count)], *right = names[below(count)];
        if (strlen(left) + strlen(right) > 40)
            continue;
        merges[n_merges++] = xasprintf("\"%s %s\"", left, right);
        names[count++] = xasprintf("%s%s", left, right);
    }
    vocab_begin(&c->vocab, 1, false);
    for (uint32_t i = 0; i < count; i++)
        vocab_add(&c->vocab, str_of(names[i]), i);
    for (uint32_t i = n_merges; i > 1; i--) {
        uint32_t k = below(i);
        char *swap = merges[i - 1];
        merges[i - 1] = merges[k];
        merges[k] = swap;
    }
    buf_byte(&c->text, '[');
    for (uint32_t i = 0; i < n_merges; i++)
        buf_fmt(&c->text, "%s%s", i ? "," : "", merges[i]);
    buf_byte(&c->text, ']');
    struct err e = {0};
    json_init(&c->json, "merges", c->text.p, c->text.n, &e);
    bpe_merges_load(&c->merges, &c->vocab, (struct str){0}, &c->json, &c->mem);
    CHECK_MSG(!json_failed(&c->json), "%s", e.msg);
    vocab_free(&c->vocab);
    for (uint32_t i = 0; i < count; i++)
        free(names[i]);
    for (uint32_t i = 0; i < n_merges; i++)
        free(merges[i]);
}

static const uint32_t *byte_ranks(const struct bpe_case *c) {
    static uint32_t ranks[1 << 16];
    for (size_t pair = 0; pair < 1 << 16; pair++) {
        const struct bpe_merge *found =
            bpe_find(&c->merges, c->byte_ids[pair >> 8], c->byte_ids[pair & 0xFF]);
        ranks[pair] = found ? (uint32_t)(found - c->merges.list) : NO_ID;
    }
    return ranks;
}

static void compare(const struct bpe_case *c, struct str word) {
    struct bpe_work whole = {0}, work[2] = {{0}, {0}}, units = {0};
    struct token_ids got = {.want_offsets = true};
    bool symbols = below(2);       // some symbols have more than one byte
    token_ids_add(&got, 77, 0, 0); // earlier ids must stay
    for (size_t i = 0; i < word.n; i++) {
        bpe_add(&whole, c->byte_ids[(unsigned char)word.p[i]], symbols ? 1 + i % 3 : 1);
        bpe_add(&units, c->byte_ids[(unsigned char)word.p[i]], symbols ? 1 + i % 3 : 1);
    }
    bpe_merge_word(&c->merges, &whole);
    struct bpe_units u = {.symbols = units.symbols, .n = units.n};
    if (!symbols)
        u = (struct bpe_units){(const unsigned char *)word.p, c->byte_ids,
                               below(2) ? byte_ranks(c) : NULL, NULL, word.n};
    CHECK(bpe_windows(&c->merges, &u, work, 5, &got));
    size_t k = 1, at = 5;
    bool same = got.ids[0] == 77;
    for (uint32_t i = 0; i != NO_ID && same;
         at += whole.symbols[i].len, i = whole.symbols[i].next, k++)
        same = k < got.n && got.ids[k] == whole.symbols[i].id && got.offsets[k][0] == at &&
               got.offsets[k][1] == at + whole.symbols[i].len;
    CHECK_MSG(same && k == got.n, "token %zu of \"%.*s\"", k, (int)word.n, word.p);
    bpe_work_free(&whole);
    bpe_work_free(&work[0]);
    bpe_work_free(&work[1]);
    bpe_work_free(&units);
    token_ids_free(&got);
}

static void random_words(void) {
    char word[WORD];
    for (int i = 0; i < 400; i++) {
        struct bpe_case c;
        uint32_t letters = 1 + below(LETTERS), runs = 1 + below(20);
        make(&c, 1 + below(200), letters);
        for (int k = 0; k < 5; k++) {
            size_t n = 1 + below(WORD);
            for (size_t x = 0; x < n; x++)
                word[x] = x && below(runs) ? word[x - 1] : (char)('a' + below(letters));
            compare(&c, (struct str){word, n});
        }
        region_free(&c.mem);
        json_free(&c.json);
        buf_free(&c.text);
    }
}

int main(void) {
    RUN(random_words);
    return check_done();
}

/* Log-probabilities of ids: see scores.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/scores.h"

#include <stdlib.h>

#include "base/mem.h"
#include "sample/rank.h"

void scores_init(struct scores *s, uint32_t n_top) {
    *s = (struct scores){.n_top = n_top};
    pthread_mutex_init(&s->lock, NULL);
}

void scores_free(struct scores *s) {
    pthread_mutex_destroy(&s->lock);
    free(s->s);
}

static void score_row(const float *logits, size_t vocab_size, uint32_t id, uint32_t n_top,
                      struct score *out) {
    double log_sum = rank_distribution(logits, vocab_size).log_sum;
    uint32_t top[BODY_MAX_TOP];
    out->logprob = (double)logits[id] - log_sum;
    out->n_top = (uint32_t)rank_top(logits, vocab_size, top, n_top);
    for (uint32_t i = 0; i < out->n_top; i++) {
        out->top[i].id = top[i];
        out->top[i].logprob = (double)logits[top[i]] - log_sum;
    }
}

void scores_take(void *ctx, const struct sample_rows *rows) {
    struct scores *s = ctx;
    for (uint32_t i = 0; i < rows->rows; i++) {
        size_t pos = (size_t)rows->pos + i + 1;
        struct score score;
        if (pos >= rows->n_ids || rows->ids[pos] >= rows->vocab_size)
            continue;
        score_row(rows->values + (size_t)i * rows->vocab_size, rows->vocab_size, rows->ids[pos],
                  s->n_top, &score);
        pthread_mutex_lock(&s->lock);
        if (s->n == 0)
            s->first = (uint32_t)pos;
        if (s->n == s->cap) {
            s->cap = s->cap ? 2 * s->cap : 16;
            s->s = xreallocarray(s->s, s->cap, sizeof *s->s);
        }
        if (pos == (size_t)s->first + s->n)
            s->s[s->n++] = score;
        pthread_mutex_unlock(&s->lock);
    }
}

bool scores_get(struct scores *s, uint32_t pos, struct score *out) {
    pthread_mutex_lock(&s->lock);
    bool there = pos >= s->first && pos - s->first < s->n;
    if (there)
        *out = s->s[pos - s->first];
    pthread_mutex_unlock(&s->lock);
    return there;
}

/* embedder.h: texts and ids give the same vectors as llm-embed's loop, in any batch and from
 * several threads; shorter vectors; prompts; and what is refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embedder.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "base/io.h"
#include "kernels/kernels.h"
#include "stages/embed.h"

enum { N_TEXTS = 9, N_THREADS = 4 };

static const char *const texts[N_TEXTS] = {
    "Hello", "a",  "two words",         "?",    "Hello, world! Hello again.",
    "one",   "a ", "\xc3\xa9t\xc3\xa9", "x y z"};

/* tests/data/tiny, a causal model with a tokenizer, as an embedding model. */
static struct embedder *open_tiny(struct embedder_options o) {
    struct buf warnings = {0};
    struct err e = {0};
    o.pools = o.pools ? o.pools : POOL_MEAN;
    o.texts = true;
    struct embedder *m = embedder_open("tests/data/tiny", &o, &warnings, &e);
    CHECK_MSG(m != NULL, "%s", e.msg);
    buf_free(&warnings);
    return m;
}

static void inputs_of(struct embedder_input *in) {
    for (size_t i = 0; i < N_TEXTS; i++)
        in[i] = (struct embedder_input){.text = str_of(texts[i])};
}

/* All texts -> [N_TEXTS, dim], owned by the caller. */
static float *vectors_of(struct embedder *m, size_t *dim, uint64_t *n_tokens) {
    struct embedder_input in[N_TEXTS];
    struct err e = {0};
    inputs_of(in);
    *dim = embedder_job(m)->header.dim;
    float *v = xcalloc(N_TEXTS * *dim, sizeof *v);
    CHECK_MSG(embedder_vectors(m, in, N_TEXTS, 0, v, n_tokens, &e) == 0, "%s", e.msg);
    return v;
}

/* Ids of the texts, as tok-encode gives them. */
static struct token_ids ids_of(const struct tokenizer *t, size_t i) {
    return tokenizer_ids(t, str_of(texts[i]), true);
}

static void same_as_the_stage(void) {
    struct embedder *m = open_tiny((struct embedder_options){.normalize = true});
    struct err e = {0};
    struct tokenizer *t = tokenizer_open("tests/data/tiny", &e);
    size_t dim;
    uint64_t n_tokens, n_ids = 0;
    float *v = vectors_of(m, &dim, &n_tokens), *w = xcalloc(N_TEXTS * dim, sizeof *w);
    FILE *in = tmpfile(), *out = tmpfile();
    struct embedder_input by_ids[N_TEXTS];
    struct token_ids ids[N_TEXTS];
    CHECK(t && in && out);
    for (size_t i = 0; i < N_TEXTS; i++) {
        ids[i] = ids_of(t, i);
        by_ids[i] = (struct embedder_input){.ids = ids[i].ids, .n_ids = ids[i].n};
        n_ids += ids[i].n;
        for (size_t k = 0; k < ids[i].n; k++)
            fprintf(in, "%u ", ids[i].ids[k]);
        putc('\n', in);
    }
    CHECK_INT(n_tokens, n_ids);
    CHECK(embedder_vectors(m, by_ids, N_TEXTS, 0, w, &n_tokens, &e) == 0);
    CHECK(memcmp(v, w, N_TEXTS * dim * sizeof *v) == 0);
    rewind(in);
    int code = -1;
    CHECK(stage_embed(embedder_job(m), &(struct embed_form){0}, fileno(in), "ids", out, &code,
                      &e) == 0);
    CHECK_INT(code, EXIT_DONE);
    rewind(out);
    struct vectors_header h;
    struct vectors_record r;
    struct vectors_reader *reader = vectors_reader_new(fileno(out), "test", &h, &e);
    CHECK(reader && h.dim == dim);
    for (size_t i = 0; i < N_TEXTS; i++) {
        CHECK(vectors_next(reader, &r, &e) == 1 && r.type == VECTORS_VALUES);
        CHECK(memcmp(r.values, v + i * dim, dim * sizeof *v) == 0);
        token_ids_free(&ids[i]);
    }
    vectors_reader_free(reader);
    fclose(in);
    fclose(out);
    free(v);
    free(w);
    tokenizer_free(t);
    embedder_close(m);
}

/* A batch of one, and threads that share an embedder. */
struct shared {
    struct embedder *m;
    const float *want;
    size_t dim, i;
    bool same;
};

static void *one_text(void *arg) {
    struct shared *s = arg;
    struct embedder_input in = {.text = str_of(texts[s->i])};
    float *v = xcalloc(s->dim, sizeof *v);
    struct err e = {0};
    uint64_t n;
    s->same = embedder_vectors(s->m, &in, 1, 0, v, &n, &e) == 0 &&
              memcmp(v, s->want + s->i * s->dim, s->dim * sizeof *v) == 0;
    free(v);
    return NULL;
}

static void same_for_threads_and_batches(void) {
    struct embedder *m = open_tiny((struct embedder_options){.batch = 2, .n_threads = 2}),
                    *other = open_tiny((struct embedder_options){.batch = 64});
    size_t dim;
    uint64_t n;
    float *want = vectors_of(other, &dim, &n), *v = vectors_of(m, &dim, &n);
    CHECK(memcmp(v, want, N_TEXTS * dim * sizeof *v) == 0);
    pthread_t threads[N_THREADS];
    struct shared shared[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        shared[i] = (struct shared){m, want, dim, i + 3, false};
        CHECK(pthread_create(&threads[i], NULL, one_text, &shared[i]) == 0);
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(shared[i].same);
    }
    free(v);
    free(want);
    embedder_close(m);
    embedder_close(other);
}

/* The first values, at length 1 where whole vectors have it. */
static void fewer_values(void) {
    for (int unit = 0; unit < 2; unit++) {
        struct embedder *m = open_tiny((struct embedder_options){.normalize = unit});
        size_t dim;
        uint64_t n;
        struct err e = {0};
        struct embedder_input in[N_TEXTS];
        float *whole = vectors_of(m, &dim, &n), *v = xcalloc(N_TEXTS * 5, sizeof *v);
        inputs_of(in);
        CHECK(embedder_vectors(m, in, N_TEXTS, 5, v, &n, &e) == 0);
        for (size_t i = 0; i < N_TEXTS; i++) {
            double squares = 0;
            for (size_t k = 0; k < 5; k++)
                squares += (double)v[i * 5 + k] * (double)v[i * 5 + k];
            CHECK(!unit || fabs(squares - 1) < 1e-6);
            CHECK(unit || memcmp(v + i * 5, whole + i * dim, 5 * sizeof *v) == 0);
        }
        CHECK(embedder_vectors(m, in, 1, dim + 1, v, &n, &e) != 0 && e.code == EXIT_DATA);
        free(whole);
        free(v);
        embedder_close(m);
    }
}

static void refusals(void) {
    static const uint32_t bad[] = {65, 999999};
    struct embedder *m = open_tiny((struct embedder_options){.context = 4});
    struct err e = {0};
    struct buf warnings = {0};
    float v[2 * 1024];
    uint64_t n;
    CHECK(embedder_job(m)->header.dim <= 1024);
    const struct {
        struct embedder_input in;
        const char *why;
    } cases[] = {
        {{.ids = bad, .n_ids = 2}, "id 999999 is not in the vocabulary"},
        {{.ids = bad, .n_ids = 0}, "the sequence is empty"},
        {{.text = str_of("a text of far more ids than four, without doubt")}, "at most 4 fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct embedder_input in[2] = {{.text = str_of("a")}, cases[i].in};
        e = (struct err){0};
        CHECK(embedder_vectors(m, in, 2, 0, v, &n, &e) != 0);
        CHECK_MSG(e.code == EXIT_DATA && strstr(e.msg, cases[i].why) && strstr(e.msg, "input 1"),
                  "%s", e.msg);
        // The next call is not affected.
        CHECK(embedder_vectors(m, in, 1, 0, v, &n, &e) == 0);
    }
    embedder_close(m);
    e = (struct err){0};
    CHECK(!embedder_open("tests/data/tiny", &(struct embedder_options){.texts = true}, &warnings,
                         &e));
    CHECK(e.code == EXIT_USAGE && strstr(e.msg, "no modules.json"));
    e = (struct err){0};
    const struct embedder_options prompt = {.pools = POOL_MEAN, .texts = true, .prompt = "query"};
    CHECK(!embedder_open("tests/data/tiny", &prompt, &warnings, &e) && e.code == EXIT_USAGE);
    e = (struct err){0};
    CHECK(!embedder_open("tests/data/none", &prompt, &warnings, &e) && e.code);
    buf_free(&warnings);
}

int main(void) {
    struct err e = {0};
    if (kernels_init(&e) != 0)
        die_err(&e);
    RUN(same_as_the_stage);
    RUN(same_for_threads_and_batches);
    RUN(fewer_values);
    RUN(refusals);
    return check_done();
}

/* Embedding models: tests/data/embed against the vectors of sentence-transformers, on every
 * instruction set of this CPU; the same bits for any batch, order and number of threads; and
 * whether the goldens would notice an error: one field of a spec at a time is made wrong.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embed.h"

#include <stdlib.h>

#include "../lib/check.h"
#include "../lib/models.h"
#include "model/internal.h"

#define EMBED_DIR "tests/data/embed"

enum { MAX_LINES = 16 };

/* Rounding of hidden states whose values are near 1, through a few layers of f32. The largest
 * difference seen is 5e-6. */
static const float tolerance = 2e-5f;

static const char *const models[] = {"bert",  "xlm-roberta", "modernbert", "nomic-bert",
                                     "qwen3", "gemma3",      "pools"};

enum { N_MODELS = sizeof models / sizeof *models };

struct golden {
    struct weights weights;
    const float *vectors; // [lines, dim]
    size_t lines, dim;
};

static struct golden golden_of(const char *name) {
    char *path = xasprintf("%s/%s/golden.safetensors", EMBED_DIR, name);
    struct golden g;
    struct err e = {0};
    if (weights_open(&g.weights, path, &e) != 0)
        die_err(&e);
    const struct tensor *t = weights_find(&g.weights, "vectors");
    g.vectors = t->data;
    g.lines = (size_t)t->shape[0];
    g.dim = (size_t)t->shape[1];
    free(path);
    return g;
}

typedef void mutation(struct spec *s);

struct setup {
    const char *name;
    size_t batch, threads;
    mutation *mutate; // or NULL
    bool precise, reversed;
};

/* The lines of the model's ids, in order or reversed. */
static struct buf ids_of(const struct setup *u) {
    char *path = xasprintf("%s/%s/ids", EMBED_DIR, u->name);
    struct buf text = {0}, out = {0};
    struct err e = {0};
    if (read_file(path, 1 << 20, &text, &e) != 0)
        die_err(&e);
    free(path);
    if (!u->reversed)
        return text;
    for (size_t end = text.n, at; end > 0; end = at) {
        for (at = end - 1; at > 0 && text.p[at - 1] != '\n'; at--)
            ;
        buf_add(&out, text.p + at, end - at);
    }
    buf_free(&text);
    return out;
}

/* Runs the stage, and reads its vectors into out [lines, dim]. False: the model cannot be opened.
 */
static bool embed(const struct setup *u, float *out, size_t lines, size_t dim, struct err *e) {
    char *dir = path_join(EMBED_DIR, u->name);
    struct sentence_spec sentence;
    struct buf warnings = {0}, ids = ids_of(u);
    struct spec spec;
    const struct model_options o = {.embeds = true,
                                    .precise = u->precise,
                                    .n_threads = u->threads,
                                    .max_sequences = u->batch,
                                    .max_rows = EMBED_ROWS};
    struct embed_job job = {.max_batch = u->batch, .normalize = true};
    int code = -1, rc = sentence_read(&sentence, dir, &warnings, e);
    if (rc != 0 || spec_read(&spec, dir, &warnings, e) != 0)
        die_err(e);
    if (u->mutate)
        u->mutate(&spec);
    rc = model_open_spec(&job.model, &spec, dir, &o, e);
    if (rc == 0) {
        size_t hidden_dim = model_spec(job.model)->hidden_dim;
        job.pools = sentence.pools;
        job.max_ids = model_context(job.model);
        job.steps = embed_steps_open(&sentence, dir, pooling_count(job.pools) * hidden_dim, e);
        job.header = (struct vectors_header){
            .dim = (uint32_t)dim, .dtype = VECTORS_F32, .metric = VECTORS_COSINE};
        FILE *in = tmpfile(), *f = tmpfile();
        CHECK(in && f && job.steps && embed_steps_dim(job.steps) == dim);
        CHECK(fwrite(ids.p, 1, ids.n, in) == ids.n && fflush(in) == 0);
        rewind(in);
        CHECK(stage_embed(&job, &(struct embed_form){0}, fileno(in), "ids", f, &code, e) == 0 &&
              code == EXIT_DONE);
        rewind(f);
        struct vectors_header h;
        struct vectors_record v;
        struct vectors_reader *r = vectors_reader_new(fileno(f), "test", &h, e);
        size_t n = 0;
        for (; r && vectors_next(r, &v, e) == 1 && n < lines; n++) {
            CHECK(v.id == n && v.type == VECTORS_VALUES);
            vectors_unpack(&h, &v, out + n * dim);
        }
        CHECK_INT(n, lines);
        vectors_reader_free(r);
        fclose(in);
        fclose(f);
        embed_steps_free(job.steps);
    }
    model_close(job.model);
    sentence_free(&sentence);
    buf_free(&warnings);
    buf_free(&ids);
    free(dir);
    return rc == 0;
}

static void goldens(void) {
    for (const char *const *isa = kernels_isas(); *isa; isa++)
        for (size_t i = 0; i < N_MODELS; i++) {
            struct golden g = golden_of(models[i]);
            struct err e = {0};
            float *v = xcalloc(g.lines * g.dim, sizeof *v);
            kernels_use(*isa);
            CHECK_MSG(
                embed(&(struct setup){models[i], 64, 2, NULL, true, false}, v, g.lines, g.dim, &e),
                "%s: %s", models[i], e.msg);
            float d = models_difference(v, g.vectors, g.lines * g.dim);
            CHECK_MSG(d <= tolerance, "%s, %s: differs by %g", models[i], *isa, (double)d);
            free(v);
            weights_close(&g.weights);
        }
}

/* Alone, in any batch, in reverse order and with any number of threads; f32 and not. */
static void same_bits(void) {
    static const struct { size_t batch, threads; } ways[] = {{1, 1}, {2, 3}, {64, 1}, {64, 4}};
    for (size_t i = 0; i < 2 * N_MODELS; i++) {
        const char *name = models[i / 2];
        struct golden g = golden_of(name);
        struct err e = {0};
        size_t n = g.lines * g.dim, bytes = n * sizeof(float);
        float *a = xcalloc(n, sizeof *a), *b = xcalloc(n, sizeof *b);
        bool precise = i % 2;
        embed(&(struct setup){name, 64, 2, NULL, precise, false}, a, g.lines, g.dim, &e);
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            memset(b, 0, bytes);
            embed(&(struct setup){name, ways[k].batch, ways[k].threads, NULL, precise, false}, b,
                  g.lines, g.dim, &e);
            CHECK_MSG(memcmp(a, b, bytes) == 0, "%s: batch of %zu, %zu threads", name,
                      ways[k].batch, ways[k].threads);
        }
        embed(&(struct setup){name, 64, 2, NULL, precise, true}, b, g.lines, g.dim, &e);
        for (size_t l = 0; l < g.lines; l++)
            CHECK_MSG(memcmp(a + l * g.dim, b + (g.lines - 1 - l) * g.dim, g.dim * sizeof *a) == 0,
                      "%s: line %zu in reverse order", name, l);
        free(a);
        free(b);
        weights_close(&g.weights);
    }
}

/* ---- Mutations ---- */

static void causal(struct spec *s) {
    s->bidirectional = !s->bidirectional;
}
static void no_types(struct spec *s) {
    s->token_types = 0;
}
static void no_embed_norm(struct spec *s) {
    s->embed_norm = false;
}
static void eps(struct spec *s) {
    s->norm_eps = 1e-3f;
}
static void act_tanh(struct spec *s) {
    s->act = ACT_GELU_TANH;
}
static void act_silu(struct spec *s) {
    s->act = ACT_SILU;
}
static void qkv_bias(struct spec *s) {
    s->qkv_bias = false;
}
static void ffn_bias(struct spec *s) {
    s->ffn_bias = false;
}
static void o_bias(struct spec *s) {
    s->o_bias = false;
}
static void offset(struct spec *s) {
    s->pos_offset--;
    s->max_pos++;
}
static void window(struct spec *s) {
    for (size_t l = 0; l < s->n_layers; l++)
        s->layers[l].window += s->layers[l].window > 0;
}
static void window_off(struct spec *s) {
    for (size_t l = 0; l < s->n_layers; l++)
        s->layers[l].window = 0;
}
static void theta(struct spec *s) {
    s->ropes[0].theta *= 1.5;
}
static void local_theta(struct spec *s) {
    s->ropes[1].theta *= 1.5;
}
static void no_final_norm(struct spec *s) {
    s->no_final_norm = true;
}
static void first_norm(struct spec *s) {
    s->no_first_norm = !s->no_first_norm;
}
static void norm_offset(struct spec *s) {
    s->norm_offset = 0;
}

static const struct {
    const char *what, *model;
    mutation *mutate;
} mutations[] = {
    {"causal", "bert", causal},
    {"causal", "xlm-roberta", causal},
    {"causal", "modernbert", causal},
    {"causal", "nomic-bert", causal},
    {"causal", "gemma3", causal},
    {"bidirectional", "qwen3", causal},
    {"token types", "bert", no_types},
    {"token types", "xlm-roberta", no_types},
    {"token types", "nomic-bert", no_types},
    {"embedding norm", "bert", no_embed_norm},
    {"embedding norm", "modernbert", no_embed_norm},
    {"embedding norm", "nomic-bert", no_embed_norm},
    {"eps", "bert", eps},
    {"eps", "modernbert", eps},
    {"tanh GELU", "bert", act_tanh},
    {"tanh GELU", "modernbert", act_tanh},
    {"SiLU", "pools", act_silu},
    {"GELU", "nomic-bert", act_tanh},
    {"q, k, v biases", "bert", qkv_bias},
    {"FFN biases", "bert", ffn_bias},
    {"o bias", "bert", o_bias},
    {"position offset", "xlm-roberta", offset},
    {"window", "modernbert", window},
    {"window", "gemma3", window},
    {"no window", "modernbert", window_off},
    {"theta", "modernbert", theta},
    {"theta", "nomic-bert", theta},
    {"theta", "qwen3", theta},
    {"local theta", "modernbert", local_theta},
    {"local theta", "gemma3", local_theta},
    {"final norm", "modernbert", no_final_norm},
    {"final norm", "qwen3", no_final_norm},
    {"first norm", "modernbert", first_norm},
    {"norm offset", "gemma3", norm_offset},
};

/* Each error moves a vector by more than the tolerance, or the weights no longer fit. */
static void errors_are_noticed(void) {
    kernels_use(kernels_isas()[0]);
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        struct golden g = golden_of(mutations[i].model);
        struct err e = {0};
        float *v = xcalloc(g.lines * g.dim, sizeof *v);
        const struct setup u = {mutations[i].model, 64, 2, mutations[i].mutate, true, false};
        if (embed(&u, v, g.lines, g.dim, &e)) {
            float d = models_difference(v, g.vectors, g.lines * g.dim);
            CHECK_MSG(d > 4 * tolerance, "%s: an error in '%s' moves it by %g", mutations[i].model,
                      mutations[i].what, (double)d);
        }
        free(v);
        weights_close(&g.weights);
    }
}

/* ---- Pooling ---- */

static void poolings(void) {
    const float rows[3][2] = {{1, -2}, {3, 0}, {2, 8}};
    const unsigned all =
        POOL_CLS | POOL_MAX | POOL_MEAN | POOL_MEAN_SQRT | POOL_WEIGHTED | POOL_LAST;
    const float want[12] = {1,         -2,        3, 8, 2, 2, 6 / 1.7320508f, 6 / 1.7320508f,
                            13.0f / 6, 22.0f / 6, 2, 8};
    struct embed_pool p;
    float out[12];
    embed_pool_init(&p, all, 2);
    for (int twice = 0; twice < 2; twice++) {
        embed_pool_clear(&p);
        for (size_t i = 0; i < 3; i++)
            embed_pool_take(&p, rows[i], i);
        embed_pool_end(&p, 3, out);
        CHECK(models_difference(out, want, 12) <= 1e-6f);
    }
    embed_pool_free(&p);
    CHECK(embed_pool_wants(POOL_CLS, 0, 3) && !embed_pool_wants(POOL_CLS, 1, 3));
    CHECK(embed_pool_wants(POOL_LAST, 2, 3) && !embed_pool_wants(POOL_LAST, 1, 3));
    CHECK(embed_pool_wants(POOL_MEAN | POOL_CLS, 1, 3));
    float v[2] = {3, -4}, zero[2] = {0, 0};
    embed_normalize(v, 2);
    embed_normalize(zero, 2);
    CHECK(fabsf(v[0] - 0.6f) < 1e-7f && fabsf(v[1] + 0.8f) < 1e-7f && zero[0] == 0);
}

int main(int argc, char **argv) {
    struct err e = {0};
    (void)argc;
    program_init(argv[0]);
    if (kernels_init(&e) != 0)
        die_err(&e);
    warn_quiet(true); // of tensors that a mutation leaves over
    RUN(poolings);
    RUN(goldens);
    RUN(same_bits);
    RUN(errors_are_noticed);
    return check_done();
}

/* An embedding model in this process: see embedder.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embedder.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "spec/sentence.h"
#include "tokens/frame.h"
#include "weights/hashlist.h"
#include "weights/safetensors.h"

enum { DEFAULT_BATCH = 64 };

struct embedder {
    char *dir;
    struct sentence_spec sentence;
    struct embed_job job;
    struct tokenizer *tokenizer; // NULL: neither texts nor the ends of texts were asked for
    struct encoder *encoder;
    struct token_frame frame; // what job.begin and job.end are in
    struct buf before;        // the prompt
    pthread_mutex_t in_use;   // the model and the encoder are for one thread at a time
};

/* ---- Opening ---- */

static int open_model(struct embedder *m, const struct embedder_options *o, struct err *e) {
    const struct model_options options = {.precise = o->precise,
                                          .embeds = true,
                                          .n_threads = o->n_threads,
                                          .context = o->context,
                                          .limit = m->sentence.max_ids,
                                          .max_sequences = m->job.max_batch,
                                          .max_rows = EMBED_ROWS};
    if (model_open(&m->job.model, m->dir, &options, e) != 0)
        return -1;
    m->job.max_ids = model_context(m->job.model);
    return o->verify ? hashlist_verify(model_weights(m->job.model), m->dir, o->verify, o->n_threads,
                                       NULL, NULL, e)
                     : 0;
}

/* Pooling and the steps after it. */
static int open_steps(struct embedder *m, const struct embedder_options *o, struct err *e) {
    const struct sentence_spec *s = &m->sentence;
    struct embed_job *job = &m->job;
    const size_t hidden_dim = model_spec(job->model)->hidden_dim;
    job->pools = o->pools ? o->pools : s->pools;
    if (job->pools == 0)
        return err_set(e, EXIT_USAGE, "the folder has no modules.json: --pool says how to pool: %s",
                       m->dir);
    if (s->dim > 0 && s->dim != hidden_dim)
        return err_set(e, EXIT_DATA,
                       "the pooling is for %zu values, but hidden states have %zu: %s", s->dim,
                       hidden_dim, m->dir);
    job->steps = embed_steps_open(s, m->dir, pooling_count(job->pools) * hidden_dim, e);
    if (!job->steps)
        return -1;
    const size_t dim = embed_steps_dim(job->steps);
    if (o->dim > dim)
        return err_set(e, EXIT_USAGE, "--dim %zu is more than the model's %zu values: %s", o->dim,
                       dim, m->dir);
    if (dim > VECTORS_MAX_DIM)
        return err_set(e, EXIT_DATA, "vectors have %zu values, more than %d: %s", dim,
                       VECTORS_MAX_DIM, m->dir);
    const bool last = s->n_steps > 0 && s->steps[s->n_steps - 1].kind == SENTENCE_NORMALIZE;
    job->normalize = !o->no_normalize;
    job->header.dim = (uint32_t)(o->dim > 0 ? o->dim : dim);
    job->header.unit = (last && job->normalize) || o->normalize;
    job->unit = job->header.unit && !(last && job->normalize && job->header.dim == dim);
    return 0;
}

static int hash_tokenizer(struct embedder *m, struct err *e) {
    char *path = path_join(m->dir, "tokenizer.json");
    struct map map = {0};
    int rc = 0;
    if (is_there(path) && (rc = map_file_within(&map, path, TOKENIZER_MAX_FILE, e)) == 0) {
        m->job.tokenizer = hash_fingerprint(map.p, map.n);
        unmap_file(&map);
    }
    free(path);
    return rc;
}

static int fill_header(struct embedder *m, const struct embedder_options *o, struct err *e) {
    static const enum vectors_metric metrics[] = {
        [SENTENCE_COSINE] = VECTORS_COSINE,
        [SENTENCE_DOT] = VECTORS_DOT,
        [SENTENCE_EUCLIDEAN] = VECTORS_EUCLIDEAN,
    };
    struct embed_job *job = &m->job;
    char text[128];
    if (hash_tokenizer(m, e) != 0)
        return -1;
    snprintf(text, sizeof text, "pools=%u normalize=%d unit=%d dim=%u", job->pools, job->normalize,
             job->header.unit, (unsigned)job->header.dim);
    job->header.dtype = o->dtype ? o->dtype : VECTORS_F32;
    job->header.metric = metrics[m->sentence.metric];
    job->header.model = embed_fingerprint(job->steps, model_weights(job->model), text);
    job->header.tokenizer = job->tokenizer;
    return 0;
}

static int find_ends(struct embedder *m, struct err *e) {
    struct embed_job *job = &m->job;
    if (token_frame_find(&m->frame, m->encoder, e) != 0)
        return -1;
    job->n_begin = m->frame.n_begin;
    job->n_end = m->frame.n_end;
    job->begin = m->frame.begin;
    job->end = m->frame.end;
    const size_t n = job->n_begin + job->n_end;
    if (n >= job->max_ids)
        return err_set(e, EXIT_USAGE,
                       "-c %zu leaves no room beside the %zu ids that every text has", job->max_ids,
                       n);
    return 0;
}

static int open_tokenizer(struct embedder *m, const struct embedder_options *o, struct err *e) {
    const bool ends = o->is_long != EMBED_REFUSE;
    if (o->prompt && sentence_prompt(m->dir, o->prompt, &m->before, e) != 0)
        return -1;
    if (!ends && !o->texts)
        return 0;
    if (!(m->tokenizer = tokenizer_open(m->dir, e)))
        return -1;
    m->encoder = encoder_new(m->tokenizer);
    return ends ? find_ends(m, e) : 0;
}

struct embedder *embedder_open(const char *dir, const struct embedder_options *o,
                               struct buf *warnings, struct err *e) {
    struct embedder *m = xcalloc(1, sizeof *m);
    m->dir = xstrdup(dir);
    pthread_mutex_init(&m->in_use, NULL);
    m->job.max_batch = o->batch ? o->batch : DEFAULT_BATCH;
    m->job.is_long = o->is_long;
    if (sentence_read(&m->sentence, dir, warnings, e) == 0 && open_model(m, o, e) == 0 &&
        open_steps(m, o, e) == 0 && fill_header(m, o, e) == 0 && open_tokenizer(m, o, e) == 0)
        return m;
    embedder_close(m);
    return NULL;
}

void embedder_close(struct embedder *m) {
    if (!m)
        return;
    token_ids_free(&m->frame.both);
    encoder_free(m->encoder);
    tokenizer_free(m->tokenizer);
    embed_steps_free(m->job.steps);
    model_close(m->job.model);
    sentence_free(&m->sentence);
    pthread_mutex_destroy(&m->in_use);
    buf_free(&m->before);
    free(m->dir);
    free(m);
}

const struct embed_job *embedder_job(const struct embedder *m) {
    return &m->job;
}

const char *embedder_default_prompt(const struct embedder *m) {
    return m->sentence.default_prompt;
}

void embedder_describe(const struct embedder *m, char *text, size_t size) {
    char device[100];
    model_device_text(m->job.model, device, sizeof device);
    snprintf(text, size, "%s: %s, %u values, at most %zu ids, %s%s", m->dir,
             model_spec(m->job.model)->model_type, (unsigned)m->job.header.dim, m->job.max_ids,
             device, model_precise(m->job.model) ? ", f32" : "");
}

/* ---- Vectors ---- */

/* One call of embedder_vectors. */
struct call {
    const struct embedder *m;
    float *out; // [n, dim]
    size_t dim;
    uint64_t n_tokens;
};

/* An embed_done_fn. */
static int take_vector(void *ctx, const struct embed_record *r, const float *vector,
                       struct err *e) {
    struct call *c = ctx;
    if (r->failed)
        return err_set(e, EXIT_DATA, "%.*s: input %" PRIu64, str_shown(r->reason), r->reason.p,
                       r->number);
    float *to = c->out + r->number * c->dim;
    memcpy(to, vector, c->dim * sizeof *to);
    if (c->dim < c->m->job.header.dim && c->m->job.header.unit)
        embed_normalize(to, c->dim);
    c->n_tokens += r->n_tokens;
    return 0;
}

/* Encodes the text of an input into ids, unless it has ids. -1 with e set: EXIT_DATA. */
static int encode(struct embedder *m, const struct embedder_input *in, struct token_ids *ids,
                  struct err *e) {
    const struct encode_options options = {0};
    if (in->ids)
        return 0;
    if (!m->before.n)
        return tokenizer_encode(m->encoder, in->text, &options, ids, e);
    struct buf text = {0};
    buf_add(&text, m->before.p, m->before.n);
    buf_add(&text, in->text.p, in->text.n);
    int rc = tokenizer_encode(m->encoder, buf_view(&text), &options, ids, e);
    buf_free(&text);
    return rc;
}

static int add_input(struct embedder *m, struct embed_batch *batch, const struct embedder_input *in,
                     size_t number, struct token_ids *ids, struct err *e) {
    if (encode(m, in, ids, e) != 0)
        return err_where(e, "input %zu", number);
    const struct embed_sequence q = {.number = number,
                                     .ids = in->ids ? in->ids : ids->ids,
                                     .n_ids = in->ids ? in->n_ids : ids->n};
    const size_t vocab = model_spec(m->job.model)->vocab_size;
    for (size_t i = 0; i < q.n_ids; i++)
        if (q.ids[i] >= vocab)
            return err_set(e, EXIT_DATA,
                           "id %" PRIu32 " is not in the vocabulary of %zu: input %zu", q.ids[i],
                           vocab, number);
    return embed_batch_add(batch, &q, e);
}

int embedder_vectors(struct embedder *m, const struct embedder_input *in, size_t n, size_t dim,
                     float *out, uint64_t *n_tokens, struct err *e) {
    struct call call = {m, out, dim ? dim : m->job.header.dim, 0};
    struct token_ids ids = {0};
    int rc = 0;
    if (call.dim > m->job.header.dim)
        return err_set(e, EXIT_DATA, "%zu values were asked for, but vectors have %u", call.dim,
                       (unsigned)m->job.header.dim);
    pthread_mutex_lock(&m->in_use);
    struct embed_batch *batch = embed_batch_new(&m->job, take_vector, &call);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_input(m, batch, &in[i], i, &ids, e);
    if (rc == 0)
        rc = embed_batch_run(batch, e);
    embed_batch_free(batch);
    pthread_mutex_unlock(&m->in_use);
    token_ids_free(&ids);
    *n_tokens = call.n_tokens;
    return rc;
}

/* Opening llm-forward's model: see forward_model.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/forward_model.h"

#include <stdlib.h>

#include "base/hash_thread.h"
#include "base/io.h"
#include "tokens/tokenizer.h"
#include "weights/hashlist.h"
#include "weights/safetensors.h"

/* The fingerprint of the model's tokenizer.json; 0 where it has none. A thread hashes it while the
 * model is opened, because hashing takes a millisecond a MB. */
struct fingerprint {
    struct map map;
    struct hash_thread hash;
    bool found;
    struct err e; // of opening the file; it is reported after the model's own errors
};

static void fingerprint_start(struct fingerprint *f, const char *dir) {
    char *path = path_join(dir, "tokenizer.json");
    *f = (struct fingerprint){0};
    f->found = is_there(path) && map_file_within(&f->map, path, TOKENIZER_MAX_FILE, &f->e) == 0;
    if (f->found)
        hash_thread_start(&f->hash, f->map.p, f->map.n);
    free(path);
}

static uint64_t fingerprint_end(struct fingerprint *f) {
    if (!f->found)
        return 0;
    uint64_t fingerprint = hash_thread_end(&f->hash);
    unmap_file(&f->map);
    return fingerprint;
}

static void fill_header(struct logits_header *h, const struct model *m, bool hidden) {
    const struct spec *spec = model_spec(m);
    h->vocab_size = (uint32_t)spec->vocab_size;
    h->hidden_dim = hidden ? (uint32_t)spec->hidden_dim : 0;
    h->context = (uint32_t)model_context(m);
    h->bos = spec->bos;
    h->n_eos = spec->n_eos;
    memcpy(h->eos, spec->eos, sizeof h->eos);
    h->weights = model_weights(m)->fingerprint;
}

/* Chooses the layers, compares the weights, opens kv files, and warns. */
static int check_model(struct model *m, const char *dir, const struct forward_model_options *o,
                       struct err *e) {
    if (o->layers && model_set_hidden(m, o->layers, e) != 0) {
        struct err why = *e;
        return err_set(e, EXIT_USAGE, "--hidden: %s: %s", why.msg, dir);
    }
    if (o->verify &&
        hashlist_verify(model_weights(m), dir, o->verify, o->model.n_threads, NULL, NULL, e) != 0)
        return -1;
    for (size_t i = 0; i < o->n_kv_load; i++)
        if (model_kv_load(m, o->kv_load[i], e) != 0)
            return -1;
    if (o->kv_save && model_kv_prepare(m, e) != 0)
        return -1;
    const struct spec *spec = model_spec(m);
    if (o->model.context > spec->max_pos &&
        !(spec->n_ropes > 0 && spec->ropes[0].kind == ROPE_DYNAMIC))
        warn("-c %zu is past the %zu positions that the model was made for: what comes after them "
             "may be of no use",
             o->model.context, spec->max_pos);
    return 0;
}

int forward_model_open(struct model **m, struct logits_header *h, const char *dir,
                       const struct forward_model_options *o, struct err *e) {
    struct fingerprint tokenizer;
    fingerprint_start(&tokenizer, dir);
    int rc = model_open(m, dir, &o->model, e);
    if (rc == 0 && check_model(*m, dir, o, e) != 0) {
        model_close(*m);
        rc = -1;
    }
    if (rc == 0)
        fill_header(h, *m, o->hidden);
    h->tokenizer = fingerprint_end(&tokenizer);
    if (rc != 0 || !tokenizer.e.code)
        return rc;
    *e = tokenizer.e;
    model_close(*m);
    return -1;
}

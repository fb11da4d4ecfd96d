/* Embeddings: see embeddings.h.
 *
 *     body -> texts or ids -> embedder_vectors -> JSON
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/embeddings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/num.h"
#include "kernels/kernels.h"
#include "wire/vectors.h"

struct embedder *embeddings_open(const char *dir, size_t n_threads, struct err *e) {
    const struct embedder_options o = {.n_threads = n_threads, .texts = true};
    struct buf warnings = {0};
    struct embedder *m = kernels_init(e) == 0 ? embedder_open(dir, &o, &warnings, e) : NULL;
    warn_lines(warnings.p);
    buf_free(&warnings);
    return m;
}

/* ---- The body ---- */

struct embeddings_reader {
    struct embeddings_body *b;
    struct json j;
    char *field;
};

static void refuse(struct embeddings_reader *r, const char *field, const char *what) {
    if (json_failed(&r->j))
        return;
    snprintf(r->field, BODY_MAX_FIELD, "%s", field);
    json_refuse(&r->j, "%s %s", field, what);
}

static void read_member(struct embeddings_reader *r, struct str key) {
    struct embeddings_body *b = r->b;
    uint64_t n;
    if (str_eq(key, "input")) {
        if (b->n > 0)
            refuse(r, "input", "comes twice");
        body_read_prompts(&r->j, "input", EMBEDDINGS_MAX_INPUTS, &b->inputs, &b->n);
        return;
    }
    struct json before = r->j;
    struct str raw = json_skip(&r->j);
    if (str_eq(key, "model")) {
        before.strings = r->j.strings;
        r->j = before;
        if (b->model)
            refuse(r, "model", "comes twice");
        else if (!json_null(&r->j) && json_peek(&r->j) == JSON_STRING)
            b->model = str_dup(json_str(&r->j));
        else if (!str_eq(raw, "null"))
            refuse(r, "model", "must be a text");
    } else if (str_eq(key, "encoding_format")) {
        b->base64 = str_eq(raw, "\"base64\"");
        if (!b->base64 && !str_eq(raw, "\"float\"") && !str_eq(raw, "null"))
            refuse(r, "encoding_format", "must be \"float\" or \"base64\"");
    } else if (str_eq(key, "dimensions")) {
        if (!str_eq(raw, "null") && !parse_u64(raw, 1, VECTORS_MAX_DIM, &n))
            refuse(r, "dimensions", "must be a whole number from 1 to the model's");
        else if (!str_eq(raw, "null"))
            b->dimensions = (size_t)n;
    } else if (!str_eq(key, "user")) {
        char name[BODY_MAX_ERROR];
        snprintf(name, sizeof name, "%.*s", str_shown(key), key.p);
        refuse(r, name, "is not a field that this server knows");
    }
}

int embeddings_read(struct embeddings_body *b, struct str text, char *field, struct err *e) {
    struct embeddings_reader r = {.b = b, .field = field};
    struct str key;
    *b = (struct embeddings_body){0};
    *field = '\0';
    json_init(&r.j, "the body", text.p, text.n, e);
    json_enter_object(&r.j);
    while (json_key(&r.j, &key)) {
        read_member(&r, key);
        if (json_failed(&r.j) && !*field)
            snprintf(field, BODY_MAX_FIELD, "%.*s", str_shown(key), key.p);
    }
    bool good = json_end(&r.j);
    if (good && b->n == 0) {
        snprintf(field, BODY_MAX_FIELD, "input");
        err_set(e, EXIT_DATA, "input is missing");
        good = false;
    }
    json_free(&r.j);
    return good ? 0 : -1;
}

void embeddings_free(struct embeddings_body *b) {
    body_free_prompts(b->inputs, b->n);
    free(b->model);
    *b = (struct embeddings_body){0};
}

/* ---- Vectors ---- */

/* The inputs for the model; texts of the request are unescaped by the parser j. */
static int find_inputs(const struct embeddings_body *b, struct json *j, struct embedder_input *in,
                       char *field, struct err *e) {
    for (size_t i = 0; i < b->n; i++) {
        const struct body_prompt *p = &b->inputs[i];
        in[i] = (struct embedder_input){.ids = p->ids, .n_ids = p->n_ids, .text = str_of("")};
        if (p->ids)
            continue;
        json_init(&j[i], NULL, p->text.p, p->text.n, e);
        struct str text = json_str(&j[i]);
        if (json_failed(&j[i])) {
            snprintf(field, BODY_MAX_FIELD, b->n > 1 ? "input[%zu]" : "input", i);
            return -1;
        }
        if (text.n)
            in[i].text = text;
    }
    return 0;
}

static void write_vector(const struct embeddings_body *b, const float *values, size_t dim,
                         size_t index, struct buf *out) {
    buf_fmt(out, "%s{\"object\": \"embedding\", \"index\": %zu, \"embedding\": ", index ? ", " : "",
            index);
    if (b->base64) {
        buf_byte(out, '"');
        base64_encode(values, dim * sizeof *values, out);
        buf_byte(out, '"');
    } else {
        for (size_t i = 0; i < dim; i++) {
            buf_str(out, i ? ", " : "[");
            json_write_f64(out, (double)values[i]);
        }
        buf_byte(out, ']');
    }
    buf_byte(out, '}');
}

static void write_answer(const struct embeddings_body *b, const float *vectors, size_t dim,
                         const char *name, uint64_t n_tokens, struct buf *out) {
    buf_str(out, "{\"object\": \"list\", \"data\": [");
    for (size_t i = 0; i < b->n; i++)
        write_vector(b, vectors + i * dim, dim, i, out);
    buf_str(out, "], \"model\": ");
    json_write_str(out, str_of(name));
    buf_fmt(out, ", \"usage\": {\"prompt_tokens\": %" PRIu64 ", \"total_tokens\": %" PRIu64 "}}",
            n_tokens, n_tokens);
}

int embeddings_run(struct embedder *m, const struct embeddings_body *b, const char *name,
                   struct buf *out, uint64_t *n_tokens, char *field, struct err *e) {
    size_t all = embedder_job(m)->header.dim, dim = b->dimensions ? b->dimensions : all;
    *n_tokens = 0;
    if (dim > all) {
        snprintf(field, BODY_MAX_FIELD, "dimensions");
        return err_set(e, EXIT_DATA, "dimensions is %zu, but the model's vectors have %zu values",
                       dim, all);
    }
    struct embedder_input *in = xcalloc(b->n, sizeof *in);
    struct json *j = xcalloc(b->n, sizeof *j);
    float *vectors = xcalloc(b->n, dim * sizeof *vectors);
    int rc = find_inputs(b, j, in, field, e);
    if (rc == 0 && (rc = embedder_vectors(m, in, b->n, dim, vectors, n_tokens, e)) == 0)
        write_answer(b, vectors, dim, name, *n_tokens, out);
    if (rc != 0 && e->code == EXIT_DATA && !*field) { // "...: input 3"
        const char *at = strstr(e->msg, ": input ");
        snprintf(field, BODY_MAX_FIELD, at && b->n > 1 ? "input[%lu]" : "input",
                 at ? strtoul(at + 8, NULL, 10) : 0);
    }
    for (size_t i = 0; i < b->n; i++)
        json_free(&j[i]);
    free(in);
    free(j);
    free(vectors);
    return rc;
}

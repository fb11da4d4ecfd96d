/* config.json and the metadata of a quantised model: see write.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "base/hash.h"
#include "base/jobs.h"
#include "base/json.h"
#include "base/progress.h"
#include "quantize/release.h"
#include "quantize/write.h"

#define MAX_CONFIG (1u << 24) // bytes

/* ---- config.json ---- */

static const char own_config[] = "{\"quant_method\": \"tokpipe\"}";

/* Whether the value says that nothing is quantised. */
static bool is_off(struct str value) {
    return str_eq(value, "null") || str_eq(value, "false") || str_eq(value, "{}");
}

/* Copies the object with quantization_config set. If it is missing it is added as the first key. */
static void set_config(struct json *j, struct buf *out) {
    const char *from = j->start;
    struct str key;
    size_t n_keys = 0;
    bool found = false;
    json_enter_object(j);
    const char *inside = j->p;
    while (json_key(j, &key)) {
        struct str value = json_skip(j);
        n_keys++;
        bool ours = str_eq(key, "quantization_config"), other = str_eq(key, "quantization");
        if ((ours || other) && !is_off(value))
            json_refuse(j, "the model is quantised already (%.*s)", str_shown(key), key.p);
        if (json_failed(j) || !ours)
            continue;
        buf_add(out, from, (size_t)(value.p - from));
        buf_str(out, own_config);
        from = value.p + value.n;
        found = true;
    }
    if (!json_end(j))
        return;
    if (!found) {
        buf_add(out, from, (size_t)(inside - from));
        buf_fmt(out, "\n  \"quantization_config\": %s%s", own_config, n_keys ? "," : "");
        from = inside;
    }
    buf_add(out, from, (size_t)(j->end - from));
}

int quantize_config(const char *source, struct buf *out, struct err *e) {
    char *path = path_join(source, "config.json");
    struct buf in = {0};
    int rc = read_file(path, MAX_CONFIG, &in, e);
    if (rc == 0) {
        struct json j;
        json_init(&j, path, in.p, in.n, e);
        set_config(&j, out);
        rc = json_failed(&j) ? -1 : 0;
        json_free(&j);
    }
    buf_free(&in);
    free(path);
    return rc;
}

/* ---- Metadata ---- */

struct hashing {
    const struct weights *w;
    struct hash *hashes; // [n_files]
};

static void hash_one(void *arg, size_t i) {
    enum { PIECE = 1 << 22 }; // bytes of the mapping in memory at a time
    const struct hashing *job = arg;
    const struct map *m = &job->w->files[i].map;
    struct hash_state *s = hash_new();
    for (size_t at = 0, n; at < m->n; at += n) {
        n = m->n - at < PIECE ? m->n - at : PIECE;
        hash_update(s, m->p + at, n);
        release_pages(m->p + at, n);
    }
    hash_final(s, &job->hashes[i]);
}

int quantize_metadata(const struct weights *source, size_t n_threads, struct buf *out,
                      struct err *e) {
    struct hashing job = {source, xcalloc(source->n_files, sizeof *job.hashes)};
    struct jobs_list list = {.n = source->n_files, .work = hash_one, .arg = &job};
    int rc = jobs_run(&list, n_threads, e);
    buf_str(out, "{\"format\":\"pt\"");
    for (size_t i = 0; rc == 0 && i < source->n_files; i++) {
        char hex[HASH_HEX];
        const char *slash = strrchr(source->files[i].path, '/');
        char *key = xasprintf("source:%s", slash ? slash + 1 : source->files[i].path);
        hash_hex(&job.hashes[i], hex);
        buf_byte(out, ',');
        json_write_str(out, str_of(key));
        buf_fmt(out, ":\"blake2b-256:%s\"", hex);
        free(key);
    }
    buf_byte(out, '}');
    free(job.hashes);
    return rc;
}

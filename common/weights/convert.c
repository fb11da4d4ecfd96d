/* Tensors from any source into one model.safetensors: see convert.h. They are converted row by row,
 * so that memory use does not grow with the model.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/convert.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/progress.h"
#include "weights/st_write.h"

#define MAX_CONFIG (1u << 24) // bytes

/* Bytes between two calls of `interrupted`. */
enum { STEP_BYTES = 1 << 22 };

static void weights_row(const void *source, uint64_t i, float *out) {
    const struct tensor *t = source;
    size_t n_cols = t->n_dims ? (size_t)t->shape[t->n_dims - 1] : 1;
    for (size_t k = 0; k < n_cols; k++)
        out[k] = (float)dtype_value(t->dtype, t->data, (size_t)i * n_cols + k);
}

struct convert_item *convert_from_weights(const struct weights *w, enum dtype t, struct err *e) {
    struct convert_item *items = xcalloc(w->n_tensors, sizeof *items);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *from = &w->tensors[i];
        enum dtype d = from->dtype;
        if (dtype_name(d)[0] == 'F' && dtype_bits(d) <= 8) {
            err_set(e, EXIT_DATA, "tensor '%s' is %s, which cannot be re-typed: %s", from->name,
                    dtype_name(d), w->files[from->file].path);
            free(items);
            return NULL;
        }
        bool is_float = d == DT_F16 || d == DT_BF16 || d == DT_F32 || d == DT_F64;
        uint64_t n_cols = from->n_dims ? from->shape[from->n_dims - 1] : 1;
        items[i] = (struct convert_item){
            .name = from->name,
            .dtype = is_float ? t : d,
            .n_dims = from->n_dims,
            .n_rows = n_cols ? from->n_elements / n_cols : 0,
            .n_cols = n_cols,
            .raw = is_float && d != t ? NULL : from->data,
            .n_bytes = is_float ? from->n_elements * (dtype_bits(t) / 8) : from->n_bytes,
            .source = from,
            .row = weights_row};
        memcpy(items[i].shape, from->shape, sizeof items[i].shape);
    }
    return items;
}

/* Little-endian bytes of n values; returns how many finite ones became infinite. */
static uint64_t pack(enum dtype t, const float *in, size_t n, unsigned char *out) {
    uint64_t lost = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        if (t == DT_F32) {
            memcpy(&bits, &in[i], sizeof bits);
            for (int b = 0; b < 4; b++)
                *out++ = (unsigned char)(bits >> (8 * b));
            continue;
        }
        bits = t == DT_F16 ? f16_from_f32(in[i]) : bf16_from_f32(in[i]);
        lost += isfinite(in[i]) && (bits & 0x7fff) == (t == DT_F16 ? 0x7c00u : 0x7f80u);
        *out++ = (unsigned char)bits;
        *out++ = (unsigned char)(bits >> 8);
    }
    return lost;
}

struct writing {
    struct st_writer *w;
    struct progress progress;
    int (*interrupted)(void);
    size_t since_look; // bytes since the last call of interrupted
};

static int put(struct writing *out, const void *p, size_t n, struct err *e) {
    if (st_writer_data(out->w, p, n, e) != 0)
        return -1;
    progress_add(&out->progress, n);
    out->since_look += n;
    if (out->since_look < STEP_BYTES)
        return 0;
    out->since_look = 0;
    return out->interrupted && out->interrupted() ? err_set(e, EXIT_SYSTEM, "interrupted") : 0;
}

static int put_pieces(struct writing *out, const struct convert_item *t, struct err *e) {
    unsigned char *bytes = xmalloc((size_t)t->n_cols);
    int rc = 0;
    for (uint64_t i = 0; i < t->n_rows && rc == 0; i++) {
        const size_t n = t->piece(t->source, i, bytes);
        rc = n > 0 ? put(out, bytes, n, e) : 0;
    }
    free(bytes);
    return rc;
}

static int put_item(struct writing *out, const struct convert_item *t, struct err *e) {
    if (t->piece)
        return put_pieces(out, t, e);
    if (t->raw) {
        const char *p = t->raw;
        for (size_t at = 0, n; at < t->n_bytes; at += n) {
            n = t->n_bytes - at < STEP_BYTES ? (size_t)t->n_bytes - at : STEP_BYTES;
            if (put(out, p + at, n, e) != 0)
                return -1;
        }
        return 0;
    }
    size_t row_bytes = (size_t)t->n_cols * (dtype_bits(t->dtype) / 8);
    float *row = xreallocarray(NULL, (size_t)t->n_cols, sizeof *row);
    unsigned char *bytes = xmalloc(row_bytes);
    uint64_t lost = 0;
    int rc = 0;
    for (uint64_t i = 0; i < t->n_rows && rc == 0; i++) {
        t->row(t->source, i, row);
        lost += pack(t->dtype, row, (size_t)t->n_cols, bytes);
        rc = put(out, bytes, row_bytes, e);
    }
    free(row);
    free(bytes);
    if (lost)
        warn("%" PRIu64 " values of tensor '%s' are too large for %s and became infinite", lost,
             t->name, dtype_name(t->dtype));
    return rc;
}

int convert_write(const struct convert_item *items, size_t n, const struct outdir *dir,
                  int (*interrupted)(void), struct err *e) {
    struct writing out = {.w = st_writer_new("{\"format\":\"pt\"}"),
                          .interrupted = interrupted,
                          .since_look = STEP_BYTES};
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        st_writer_add(out.w, items[i].name, items[i].dtype, items[i].n_dims, items[i].shape);
        total += items[i].n_bytes;
    }
    char *path = path_join(dir->temp, "model.safetensors");
    int rc = st_writer_begin(out.w, path, e);
    free(path);
    progress_start(&out.progress, "converting", total);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = put_item(&out, &items[i], e);
    progress_end(&out.progress);
    if (rc == 0)
        return st_writer_commit(out.w, e);
    st_writer_abort(out.w);
    return -1;
}

/* Copies the object with the values of torch_dtype and dtype replaced. If both are missing,
 * torch_dtype is added as the first key. */
static void retype(struct json *j, const char *name, struct buf *out) {
    const char *from = j->start;
    struct str key;
    size_t n_keys = 0, n_found = 0;
    json_enter_object(j);
    const char *inside = j->p;
    while (json_key(j, &key)) {
        struct str value = json_skip(j);
        n_keys++;
        if (str_eq(key, "quantization_config") && !str_eq(value, "null"))
            json_refuse(j,
                        "the weights are quantised (quantization_config) and cannot be re-typed");
        if (json_failed(j) || (!str_eq(key, "torch_dtype") && !str_eq(key, "dtype")))
            continue;
        buf_add(out, from, (size_t)(value.p - from));
        buf_str(out, name);
        from = value.p + value.n;
        n_found++;
    }
    if (!json_end(j))
        return;
    if (n_found == 0) {
        buf_add(out, from, (size_t)(inside - from));
        buf_fmt(out, "\n  \"torch_dtype\": %s%s", name, n_keys ? "," : "");
        from = inside;
    }
    buf_add(out, from, (size_t)(j->end - from));
}

int convert_config(const char *dir, enum dtype t, struct buf *out, struct err *e) {
    const char *name = t == DT_F32 ? "\"float32\"" : t == DT_F16 ? "\"float16\"" : "\"bfloat16\"";
    char *path = path_join(dir, "config.json");
    struct buf in = {0};
    int rc = read_file(path, MAX_CONFIG, &in, e);
    if (rc == 0) {
        struct json j;
        json_init(&j, path, in.p, in.n, e);
        retype(&j, name, out);
        rc = json_failed(&j) ? -1 : 0;
        json_free(&j);
    }
    buf_free(&in);
    free(path);
    return rc;
}

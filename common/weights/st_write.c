/* Writing safetensors: see st_write.h.
 *
 * The header is built as text, and safetensors.c reads it before a byte is written. So what the
 * reader would refuse (duplicate names, control characters, sizes that overflow) is refused here
 * with the same message.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/st_write.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "weights/safetensors.h"

enum {
    LENGTH_BYTES = 8, // the header's length, in front of it
    LENGTH_AND_BRACE = LENGTH_BYTES + 1,
    DATA_ALIGN = 64, // a cache line, and the widest vector
};

struct st_writer {
    struct buf header; // 8 bytes of length, then JSON
    uint64_t n_bytes;  // of data announced
    uint64_t written;
    struct err err; // the first error of st_writer_add, for st_writer_begin
    struct outfile out;
};

struct st_writer *st_writer_new(const char *metadata_json) {
    struct st_writer *w = xcalloc(1, sizeof *w);
    buf_add(&w->header, "\0\0\0\0\0\0\0\0{", LENGTH_AND_BRACE);
    if (metadata_json) {
        buf_str(&w->header, "\"__metadata__\":");
        buf_str(&w->header, metadata_json);
    }
    return w;
}

void st_writer_add(struct st_writer *w, const char *name, enum dtype t, size_t n_dims,
                   const uint64_t *shape) {
    uint64_t n_elements, n_bytes, end;
    struct str s = str_of(name);
    if (w->err.code)
        return;
    if (utf8_valid(s.p, s.n) != s.n) {
        err_set(&w->err, EXIT_DATA, "tensor name is not valid UTF-8: '%.200s'", name);
        return;
    }
    if (!dtype_array_size(t, n_dims, shape, &n_elements, &n_bytes) ||
        __builtin_add_overflow(w->n_bytes, n_bytes, &end)) {
        err_set(&w->err, EXIT_DATA, "tensor '%.200s' is too large, or not whole bytes", name);
        return;
    }
    if (w->header.n > LENGTH_AND_BRACE)
        buf_byte(&w->header, ',');
    json_write_str(&w->header, s);
    buf_fmt(&w->header, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t));
    for (size_t i = 0; i < n_dims; i++)
        buf_fmt(&w->header, "%s%" PRIu64, i ? "," : "", shape[i]);
    buf_fmt(&w->header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", w->n_bytes, end);
    w->n_bytes = end;
}

/* Closes the object, pads it, and sets the 8 bytes of its length. */
static void finish_header(struct buf *h) {
    buf_byte(h, '}');
    while (h->n % DATA_ALIGN != 0)
        buf_byte(h, ' ');
    uint64_t length = h->n - LENGTH_BYTES;
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        h->p[i] = (char)(length >> (8 * i));
}

int st_writer_begin(struct st_writer *w, const char *path, struct err *e) {
    struct weights check;
    uint64_t file_bytes;
    if (w->err.code)
        return err_set(e, w->err.code, "%s: %s", w->err.msg, path);
    finish_header(&w->header);
    if (__builtin_add_overflow(w->header.n, w->n_bytes, &file_bytes))
        return err_set(e, EXIT_DATA, "%" PRIu64 " bytes of tensors are too many for a file: %s",
                       w->n_bytes, path);
    if (weights_from_bytes(&check, path, w->header.p, w->header.n, file_bytes, e) != 0)
        return -1;
    weights_close(&check);
    if (outfile_open(&w->out, path, e) != 0)
        return -1;
    return outfile_write(&w->out, w->header.p, w->header.n, e);
}

int st_writer_data(struct st_writer *w, const void *p, size_t n, struct err *e) {
    if (n > w->n_bytes - w->written)
        return err_set(e, EXIT_BUG, "more data than the %" PRIu64 " bytes announced: %s",
                       w->n_bytes, w->out.path);
    w->written += n;
    return outfile_write(&w->out, p, n, e);
}

static void writer_free(struct st_writer *w) {
    buf_free(&w->header);
    free(w);
}

int st_writer_commit(struct st_writer *w, struct err *e) {
    int rc;
    if (w->written == w->n_bytes) {
        rc = outfile_commit(&w->out, e);
    } else {
        rc = err_set(e, EXIT_BUG, "%" PRIu64 " bytes of data of the %" PRIu64 " announced: %s",
                     w->written, w->n_bytes, w->out.path);
        outfile_abort(&w->out);
    }
    writer_free(w);
    return rc;
}

void st_writer_abort(struct st_writer *w) {
    outfile_abort(&w->out);
    writer_free(w);
}

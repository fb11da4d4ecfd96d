/* Fuzz entry of wire/vectors: streams that are accepted are written again and must be the same
 * bytes. A first byte of 1, 2 or 3 stands for a good header with that dtype, so that the fuzzer
 * gets to the records.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "wire/vectors.h"

static void check_again(FILE *again, const struct buf *stream) {
    char *bytes = NULL;
    long n = ftell(again);
    rewind(again);
    bytes = xmalloc((size_t)n + 1);
    if (n < 0 || (size_t)n > stream->n || fread(bytes, 1, (size_t)n, again) != (size_t)n ||
        memcmp(bytes, stream->p, (size_t)n) != 0)
        abort();
    free(bytes);
}

/* Reads the records up to the first END, and writes them again. */
static void read_records(struct vectors_reader *r, const struct vectors_header *h,
                         const struct buf *stream) {
    FILE *again = tmpfile();
    struct vectors_record v;
    struct err e = {0};
    float *values = xcalloc(h->dim, sizeof *values);
    uint64_t n = 0;
    int rc = 0;
    if (!again || vectors_write_header(again, h, &e) != 0)
        abort();
    for (bool same = true; (rc = vectors_next(r, &v, &e)) == 1; n++) {
        if (v.type == VECTORS_VALUES)
            vectors_unpack(h, &v, values);
        fuzz_check_utf8(v.attrs);
        fuzz_check_utf8(v.reason);
        long at = ftell(again);
        same = same && at >= 0 && (size_t)at < stream->n && memcmp(stream->p + at, "END ", 4) != 0;
        if (same && vectors_write(again, h, &v, &e) != 0)
            abort();
    }
    check_again(again, stream);
    if (rc < 0 && (e.code != EXIT_DATA || !e.msg[0]))
        abort();
    free(values);
    fclose(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct vectors_header h = {.dim = 3, .metric = VECTORS_COSINE, .unit = true, .model = 5};
    struct buf stream = {0};
    struct err e = {0};
    if (size && data[0] >= 1 && data[0] <= 3) {
        char bytes[VECTORS_HEADER_BYTES];
        FILE *f = tmpfile();
        h.dtype = (enum vectors_dtype)data[0];
        if (!f || vectors_write_header(f, &h, &e) != 0 || fflush(f) != 0 ||
            pread(fileno(f), bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
            abort();
        fclose(f);
        buf_add(&stream, bytes, sizeof bytes);
        data++;
        size--;
    }
    buf_add(&stream, data, size);
    struct vectors_reader *r =
        vectors_reader_new(fuzz_fd((const uint8_t *)stream.p, stream.n), "fuzz", &h, &e);
    if (r)
        read_records(r, &h, &stream);
    else if (e.code != EXIT_DATA)
        abort();
    vectors_reader_free(r);
    buf_free(&stream);
    return 0;
}

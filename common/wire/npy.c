/* .npy files: see npy.h. The header has a fixed length, so that it can be written again at the end,
 * when the number of rows is known.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/npy.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "wire/in_order.h"

enum { NPY_HEADER_BYTES = 128 };

struct npy {
    struct outfile file;
    struct in_order *ordered;
    size_t columns, per_row;
    uint64_t rows;
};

static void npy_free(struct npy *n) {
    in_order_free(n->ordered);
    free(n);
}

static int write_header(struct npy *n, struct err *e) {
    unsigned char head[NPY_HEADER_BYTES + 1];
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10); // version 1.0; 118 bytes follow
    char middle[32] = "";
    if (n->per_row > 1)
        snprintf(middle, sizeof middle, "%zu, ", n->per_row);
    int len = snprintf((char *)head + 10, NPY_HEADER_BYTES - 10,
                       "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %s%zu), }",
                       (unsigned long long)n->rows, middle, n->columns);
    head[10 + len] = ' ';
    head[NPY_HEADER_BYTES - 1] = '\n';
    return outfile_write(&n->file, head, NPY_HEADER_BYTES, e);
}

struct npy *npy_open(const char *path, size_t columns, struct err *e) {
    struct npy *n = xcalloc(1, sizeof *n);
    n->columns = columns;
    n->per_row = 1;
    if (outfile_open(&n->file, path, e) != 0) {
        free(n);
        return NULL;
    }
    const char *slash = strrchr(path, '/');
    char *folder = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
    n->ordered = in_order_new(n->file.f, folder); // rows that wait need as much room as the file
    free(folder);
    if (write_header(n, e) != 0) {
        npy_abort(n);
        return NULL;
    }
    return n;
}

void npy_per_row(struct npy *n, size_t per_row) {
    n->per_row = per_row;
}

int npy_rows(struct npy *n, uint32_t seq, const void *values, size_t rows, struct err *e) {
    n->rows += rows;
    return in_order_write(n->ordered, seq, values, rows * n->per_row * n->columns * sizeof(float),
                          e);
}

int npy_end(struct npy *n, uint32_t seq, struct err *e) {
    return in_order_end(n->ordered, seq, e);
}

int npy_commit(struct npy *n, struct err *e) {
    int rc = in_order_finish(n->ordered, e);
    if (rc == 0 && fseek(n->file.f, 0, SEEK_SET) != 0)
        rc = err_errno(e, EXIT_IO, "cannot write %s", n->file.path);
    if (rc == 0)
        rc = write_header(n, e);
    if (rc != 0) {
        npy_abort(n);
        return -1;
    }
    rc = outfile_commit(&n->file, e);
    npy_free(n);
    return rc;
}

void npy_abort(struct npy *n) {
    if (!n)
        return;
    outfile_abort(&n->file);
    npy_free(n);
}

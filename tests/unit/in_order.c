/* Interleaved sequences are written in order, and .npy files have the shape that they say.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/in_order.h"

#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/io.h"
#include "wire/npy.h"

/* Runs a script such as "0a 1b 0. 1.": a sequence (a digit, or F for a number after a gap), then a
 * byte of it, or '.' for its end. Returns the output. */
static const char *run(const char *script) {
    static char got[512];
    FILE *f = tmpfile();
    struct in_order *o = in_order_new(f, NULL);
    struct err e = {0};
    for (const char *p = script; *p; p += 2 + (p[2] == ' ')) {
        uint32_t seq = *p == 'F' ? 1u << 30 : (uint32_t)(*p - '0');
        CHECK(p[1] == '.' ? in_order_end(o, seq, &e) == 0
                          : in_order_write(o, seq, p + 1, 1, &e) == 0);
        if (p[2] == '\0')
            break;
    }
    CHECK(in_order_finish(o, &e) == 0);
    in_order_free(o);
    rewind(f);
    got[fread(got, 1, sizeof got - 1, f)] = '\0';
    fclose(f);
    return got;
}

static void in_order(void) {
    CHECK_STR(run("0a 0b 0. 1c 1. 2d"), "abcd");
    CHECK_STR(run("0a 1x 0b 1y 2z 0c 0. 1w 1. 2."), "abcxywz");
    CHECK_STR(run("2c 1b 0a 2. 1. 0."), "abc");
    CHECK_STR(run("2c 1b 0a 1. 0. 2d"), "abcd");
    CHECK_STR(run("0. 1. 2a"), "a");
    CHECK_STR(run("1. 0. 2a"), "a");
    CHECK_STR(run("1b 2. 3d"), "bd"); // 0 never ended
    CHECK_STR(run("Fx F. 0a 0. 1b 1. 2c"), "abcx");
}

static void straight_out(void) {
    FILE *f = tmpfile();
    struct in_order *o = in_order_new(f, NULL);
    CHECK(in_order_write(o, 0, "abc", 3, NULL) == 0);
    CHECK_INT(ftell(f), 3); // the first unfinished one does not wait
    CHECK(in_order_write(o, 1, "d", 1, NULL) == 0);
    CHECK_INT(ftell(f), 3);
    CHECK(in_order_end(o, 0, NULL) == 0);
    CHECK_INT(ftell(f), 4);
    in_order_free(o);
    fclose(f);
}

static void npy_file(void) {
    char folder[] = "/tmp/npy-test-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    char *path = path_join(folder, "x.npy");
    static const float rows[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    struct buf b = {0};
    struct npy *n = npy_open(path, 2, NULL);
    CHECK(n && npy_rows(n, 1, rows[2], 1, NULL) == 0 && npy_rows(n, 0, rows[0], 2, NULL) == 0);
    CHECK(!is_file(path));
    CHECK(npy_commit(n, NULL) == 0);
    CHECK(read_file(path, 4096, &b, NULL) == 0);
    CHECK_INT(b.n, 128 + 24);
    CHECK(memcmp(b.p, "\x93NUMPY\x01\x00\x76\x00", 10) == 0 && b.p[127] == '\n');
    CHECK(strstr(b.p + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }  ") ==
          b.p + 10);
    CHECK(memcmp(b.p + 128, rows, sizeof rows) == 0);
    n = npy_open(path, 2,
                 NULL); // an abandoned one leaves the file as it was, and nothing beside it
    npy_rows(n, 5, rows[0], 1, NULL);
    npy_abort(n);
    CHECK(is_file(path));
    unlink(path);
    CHECK(rmdir(folder) == 0);
    struct err e = {0};
    CHECK(npy_open("/no/such/folder/x.npy", 2, &e) == NULL && e.code == EXIT_IO);
    free(path);
    buf_free(&b);
}

int main(void) {
    RUN(in_order);
    RUN(straight_out);
    RUN(npy_file);
    return check_done();
}

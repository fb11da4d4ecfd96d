/* common/weights/st_write: a written file reads back and appears only when complete; wrong input is
 * refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/io.h"
#include "weights/safetensors.h"
#include "weights/st_write.h"

static char dir[] = "/tmp/st_write.XXXXXX";
static char *path;

static int n_files(void) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *f; (f = readdir(d));)
        n += f->d_name[0] != '.';
    closedir(d);
    return n;
}

static void round_trip(void) {
    struct st_writer *w = st_writer_new("{\"made\":\"by a test\"}");
    struct err e = {0};
    static const unsigned char data[12 + 5] = {1,  2,  3,  4,  5,  6,  7,  8, 9,
                                               10, 11, 12, 13, 14, 15, 16, 17};
    st_writer_add(w, "a \"quoted\" \xC3\xA4", DT_F32, 2, (uint64_t[]){1, 3});
    st_writer_add(w, "none", DT_F16, 1, (uint64_t[]){0});
    st_writer_add(w, "b", DT_U8, 1, (uint64_t[]){5});
    CHECK_INT(st_writer_begin(w, path, &e), 0);
    CHECK_INT(st_writer_data(w, data, 3, &e), 0);
    CHECK(!is_file(path));
    CHECK_INT(st_writer_data(w, data + 3, sizeof data - 3, &e), 0);
    CHECK_INT(st_writer_commit(w, &e), 0);
    CHECK_INT(n_files(), 1);
    struct weights r;
    CHECK_INT(weights_open(&r, path, &e), 0);
    CHECK(r.files[0].header_bytes % 64 == 0 && r.n_tensors == 3);
    CHECK_STR(r.files[0].metadata_json, "{\"made\":\"by a test\"}");
    const struct tensor *a = weights_find(&r, "a \"quoted\" \xC3\xA4"), *b = weights_find(&r, "b");
    CHECK(a && a->dtype == DT_F32 && a->n_dims == 2 && a->shape[1] == 3 &&
          memcmp(a->data, data, 12) == 0);
    CHECK(b && b->n_bytes == 5 && memcmp(b->data, data + 12, 5) == 0);
    weights_close(&r);
    unlink(path);
}

/* The data begins aligned for headers of every length up to a few lines. */
static void alignment(void) {
    char name[130] = "";
    for (size_t n = 1; n < 129; n++) {
        struct st_writer *w = st_writer_new(NULL);
        struct weights r;
        struct err e = {0};
        memset(name, 'x', n);
        st_writer_add(w, name, DT_U8, 0, NULL);
        CHECK(st_writer_begin(w, path, &e) == 0 && st_writer_data(w, "7", 1, &e) == 0 &&
              st_writer_commit(w, &e) == 0);
        CHECK_INT(weights_open(&r, path, &e), 0);
        CHECK(r.tensors[0].offset % 64 == 0 && r.tensors[0].offset < 256 &&
              *(const char *)r.tensors[0].data == '7');
        weights_close(&r);
    }
    unlink(path);
}

static void begin_refuses(struct st_writer *w, const char *message) {
    struct err e = {0};
    CHECK_INT(st_writer_begin(w, path, &e), -1);
    CHECK_MSG(e.code == EXIT_DATA && strstr(e.msg, message), "no '%s' in: %s", message, e.msg);
    st_writer_abort(w);
    CHECK_INT(n_files(), 0);
}

static void refusals(void) {
    struct st_writer *w = st_writer_new(NULL);
    st_writer_add(w, "a", DT_U8, 0, NULL);
    st_writer_add(w, "a", DT_U8, 0, NULL);
    begin_refuses(w, "duplicate tensor 'a'");
    w = st_writer_new(NULL);
    st_writer_add(w, "a\n", DT_U8, 0, NULL);
    begin_refuses(w, "control character");
    w = st_writer_new(NULL);
    st_writer_add(w, "a\xff", DT_U8, 0, NULL);
    begin_refuses(w, "UTF-8");
    w = st_writer_new(NULL);
    st_writer_add(w, "half", DT_F4, 1, (uint64_t[]){3});
    begin_refuses(w, "'half' is too large, or not whole bytes");
    w = st_writer_new(NULL);
    st_writer_add(w, "a", DT_U8, 1, (uint64_t[]){1ull << 60});
    for (int i = 0; i < 16; i++)
        st_writer_add(w, "b", DT_U8, 1, (uint64_t[]){1ull << 60});
    begin_refuses(w, "'b' is too large");
    w = st_writer_new("{\"a\":1}");
    begin_refuses(w, "a string was expected");
    w = st_writer_new("{}},\"x\":{");
    begin_refuses(w, "expected");
}

static void wrong_totals(void) {
    struct st_writer *w = st_writer_new(NULL);
    struct err e = {0};
    st_writer_add(w, "a", DT_U8, 1, (uint64_t[]){2});
    CHECK_INT(st_writer_begin(w, path, &e), 0);
    CHECK_INT(st_writer_data(w, "1", 1, &e), 0);
    CHECK(st_writer_data(w, "23", 2, &e) == -1 && e.code == EXIT_BUG);
    CHECK(st_writer_commit(w, &e) == -1 && e.code == EXIT_BUG &&
          strstr(e.msg, "1 bytes of data of the 2"));
    CHECK_INT(n_files(), 0);
}

static void abort_leaves_nothing(void) {
    struct st_writer *w = st_writer_new(NULL);
    struct err e = {0};
    st_writer_add(w, "a", DT_U8, 1, (uint64_t[]){2});
    CHECK_INT(st_writer_begin(w, path, &e), 0);
    CHECK_INT(n_files(), 1);
    st_writer_abort(w);
    CHECK_INT(n_files(), 0);
}

int main(void) {
    if (!mkdtemp(dir))
        return 1;
    path = path_join(dir, "out.safetensors");
    RUN(round_trip);
    RUN(alignment);
    RUN(refusals);
    RUN(wrong_totals);
    RUN(abort_leaves_nothing);
    free(path);
    rmdir(dir);
    return check_done();
}

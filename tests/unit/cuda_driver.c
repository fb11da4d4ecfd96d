/* common/backend/cuda/driver.h over the stand-in driver, or with TEST_GPU=1 over this machine's
 * GPU, as far as that can be made to do what a test needs.
 *
 * A driver looks at its environment once. So a test that needs another driver, or one that breaks,
 * runs in a child: this program again, with the test's name as its argument.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // dlinfo
#include <dlfcn.h>
#include <link.h>
#include <sys/wait.h>

#include "../lib/cuda_dev.h"
#include "base/io.h"

static const size_t mb = (size_t)1 << 20;
static char **arguments;

static void expect(const struct err *e, int code, const char *text) {
    CHECK_INT(e->code, code);
    CHECK_MSG(strstr(e->msg, text), "no '%s' in '%s'", text, e->msg);
}

static void fails_to_open(unsigned index, int code, const char *text) {
    struct err e = {0};
    struct cu *c;
    CHECK_INT(cu_open(&c, index, &e), -1);
    CHECK(!c);
    expect(&e, code, text);
}

/* ---- in children ---------------------------------------------------------------------------- */

static void no_driver(void) {
    struct err e = {0};
    fails_to_open(0, EXIT_SYSTEM, "no CUDA driver: libcuda.so.1: ");
    CHECK_INT(cu_list(stdout, &e), -1);
    expect(&e, EXIT_SYSTEM, "no CUDA driver: libcuda.so.1: ");
}

static void old_driver(void) {
    fails_to_open(0, EXIT_SYSTEM,
                  "the CUDA driver is too old, 11.8 is needed: no cuInit in libcuda.so.1");
}

static void no_device(void) {
    struct err e = {0};
    fails_to_open(0, EXIT_SYSTEM, "no CUDA device");
    CHECK_INT(cu_list(stdout, &e), -1);
    expect(&e, EXIT_SYSTEM, "no CUDA device");
}

static void two_devices(void) {
    struct err e = {0};
    struct cu *c;
    char text[512] = "";
    fails_to_open(2, EXIT_SYSTEM, "no GPU 2: this machine has 2, counted from 0");
    CHECK_INT(cu_open(&c, 1, &e), 0);
    cu_close(c);
    FILE *f = tmpfile();
    CHECK_INT(cu_list(f, &e), 0);
    rewind(f);
    for (int i = 0; i < 2; i++) {
        char start[32];
        snprintf(start, sizeof start, "cuda:%d  ", i);
        CHECK(fgets(text, sizeof text, f) && strncmp(text, start, strlen(start)) == 0);
        CHECK(strstr(text, ", compute capability 9.0, 2.1 GB\n"));
    }
    CHECK(!fgets(text, sizeof text, f));
    fclose(f);
}

static void too_old(void) {
    fails_to_open(0, EXIT_SYSTEM, "the GPU has compute capability 7.5, and 8.0 is needed: GPU 0, ");
}

static void no_code_for_it(void) {
    fails_to_open(0, EXIT_SYSTEM, "CUDA_ERROR_NO_BINARY_FOR_GPU (");
    fails_to_open(0, EXIT_SYSTEM, "compute capability 9.0, by a driver for CUDA 13.0");
}

static void no_image(void) {
    setenv("LLM_CUDA_IMAGE", "/nowhere/kernels", 1);
    fails_to_open(0, EXIT_NO_INPUT, "/nowhere/kernels");
    char empty[] = "/tmp/tokpipe-test-XXXXXX", *want;
    close(mkstemp(empty));
    setenv("LLM_CUDA_IMAGE", empty, 1);
    want = xasprintf("no GPU kernels: %s is empty", empty);
    fails_to_open(0, EXIT_DATA, want);
    unlink(empty);
    free(want);
}

static void little_memory(void) { // 100 MB
    struct err e = {0};
    struct cu_region r;
    struct cu *c;
    void *p;
    size_t before, after;
    dev_must(cu_open(&c, 0, &e), &e);
    CHECK_INT(cu_free_bytes(c, &before, &e), 0);
    CHECK_INT(cu_alloc(c, 200 * mb, "the weights", &p, &e), -1);
    CHECK(!p);
    expect(&e, EXIT_SYSTEM,
           "CUDA_ERROR_OUT_OF_MEMORY (out of memory): 209.7 MB of GPU memory for the weights");
    CHECK_INT(cu_alloc(c, 4 * mb, "a test", &p, &e), 0); // that was no lasting error
    CHECK_INT(cu_reserve(c, &r, 1000 * mb, &e), 0);
    CHECK_INT(cu_commit(c, &r, 80 * mb, &e), 0);
    CHECK_INT(r.committed, 80 * mb);
    // Less than a chunk of 32 MB is left, but enough.
    CHECK_INT(cu_commit(c, &r, 82 * mb, &e), 0);
    CHECK_INT(r.committed, 82 * mb);
    CHECK_INT(cu_commit(c, &r, 182 * mb, &e), -1);
    expect(&e, EXIT_SYSTEM,
           "CUDA_ERROR_OUT_OF_MEMORY (out of memory): 104.9 MB more of GPU memory");
    CHECK_INT(r.committed, 82 * mb);
    CHECK_INT(cu_sync(c, &e), 0);
    cu_unreserve(c, &r);
    cu_free(c, p);
    CHECK_INT(cu_free_bytes(c, &after, &e), 0);
    CHECK_INT(after, before);
    cu_close(c);
}

/* y [n] += x [n], n <= 1024, by k_add. */
struct sum {
    struct dev_step step;
    struct dev_buf x, y;
    struct cu_add_args args;
    struct cu_shape shape;
    uint32_t n;
};

static struct sum sum_of(uint32_t n) {
    float x[1024], y[1024];
    struct cu_row row = {0};
    uint32_t word = 0;
    for (uint32_t i = 0; i < n; i++)
        x[i] = (float)i, y[i] = 0.5f;
    struct sum s = {.step = dev_step(&row, 1, 1, &word, 1), .n = n};
    s.x = dev_new(x, n * sizeof *x);
    s.y = dev_new(y, n * sizeof *y);
    s.args = (struct cu_add_args){
        .step = s.step.step, .y = s.y.p, .x = s.x.p, .dim = n, .ldy = n, .ldx = n, .scale = 1};
    s.shape = (struct cu_shape){.x = 1, .threads = CU_THREADS, .early = true};
    return s;
}
static void check_sum(const struct sum *s, int times) {
    float *y = dev_read(&s->y);
    uint32_t i = 0;
    while (i < s->n && (double)y[i] == 0.5 + times * (double)i)
        i++;
    CHECK_MSG(i == s->n, "y[%u] is %g after %d times", i, (double)y[i], times);
    free(y);
}
static void sum_free(struct sum *s) {
    dev_free(&s->x);
    dev_free(&s->y);
    dev_step_free(&s->step);
}
static const struct cu_kernel *add_kernel(void) {
    struct err e = {0};
    const struct cu_kernel *k = cu_kernel(dev, "k_add", 0, &e);
    dev_must(k ? 0 : -1, &e);
    return k;
}

static void lost_device(void) { // at the second launch
    struct err e = {0}, again = {0};
    struct cu_graph *g;
    double ms;
    unsigned char bytes[4] = {0};
    void *p;
    dev_must(cu_open(&dev, 0, &e), &e);
    struct sum s = sum_of(16);
    const struct cu_kernel *k = add_kernel();
    cu_launch(dev, k, s.shape, &s.args);
    CHECK(!cu_error(dev));
    CHECK_INT(cu_sync(dev, &e), 0);
    cu_launch(dev, k, s.shape, &s.args);
    cu_launch(dev, k, s.shape, &s.args);
    CHECK(cu_error(dev));
    CHECK_INT(cu_sync(dev, &e), -1);
    expect(&e, EXIT_SYSTEM, "CUDA_ERROR_LAUNCH_FAILED (");
    expect(&e, EXIT_SYSTEM, "): kernel k_add");
    // Whatever is called from now on says the same, or does nothing.
    CHECK_INT(cu_upload(dev, s.x.p, bytes, sizeof bytes, &again), -1);
    CHECK_STR(again.msg, e.msg);
    cu_fill(dev, s.x.p, 4, 1);
    cu_copy(dev, s.x.p, s.y.p, 4);
    cu_capture_begin(dev);
    CHECK_INT(cu_capture_end(dev, &g, &again), -1);
    CHECK(!g);
    cu_time_begin(dev);
    CHECK_INT(cu_time_end(dev, &ms, &again), -1);
    CHECK_STR(again.msg, e.msg);
    CHECK_INT(cu_sync(dev, NULL), -1);
    CHECK_INT(cu_alloc(dev, 1, "a test", &p, &again), -1);
    CHECK(!p);
    CHECK_INT(cu_upload_end(dev, &again), -1);
    sum_free(&s);
    cu_close(dev);
}

static void trace(void) { // CUDA_STANDIN_TRACE
    struct err e = {0};
    struct buf text = {0};
    dev_must(cu_open(&dev, 0, &e), &e);
    struct sum s = sum_of(16);
    cu_launch(dev, add_kernel(), (struct cu_shape){.x = 3, .threads = 256, .shared = 1024},
              &s.args);
    const struct cu_kernel *k = cu_kernel(dev, "k_add", 100 * 1024, &e);
    CHECK(k && k == add_kernel());
    cu_launch(dev, k,
              (struct cu_shape){.x = 1, .y = 2, .z = 4, .threads = 256, .shared = 100 * 1024},
              &s.args);
    CHECK_INT(cu_sync(dev, &e), 0);
    cu_launch(dev, k, (struct cu_shape){.x = 1, .threads = 4096},
              &s.args); // is refused, and so nothing follows it
    cu_launch(dev, k, s.shape, &s.args);
    CHECK_INT(cu_sync(dev, &e), -1);
    sum_free(&s);
    cu_close(dev);
    CHECK_INT(read_file(getenv("CUDA_STANDIN_TRACE"), 10000, &text, &e), 0);
    CHECK_STR(text.p, "k_add 3,1,1 256,1,1 1024\nk_add 1,2,4 256,1,1 102400\n");
    buf_free(&text);
}

static void bad_launch(void) {
    struct err e = {0};
    dev_must(cu_open(&dev, 0, &e), &e);
    struct sum s = sum_of(16);
    CHECK(!cu_kernel(dev, "k_nothing", 0, &e));
    expect(&e, EXIT_SYSTEM, "CUDA_ERROR_NOT_FOUND (");
    expect(&e, EXIT_SYSTEM, "): kernel k_nothing");
    CHECK(!cu_kernel(dev, "k_add", cu_info(dev)->shared_bytes + 1, &e));
    expect(&e, EXIT_SYSTEM, "bytes of shared memory for kernel k_add");
    CHECK_INT(cu_sync(dev, &e), 0); // neither lasts
    cu_launch(dev, add_kernel(), (struct cu_shape){.x = 1, .threads = 4096}, &s.args);
    CHECK_INT(cu_sync(dev, &e), -1);
    expect(&e, EXIT_SYSTEM, "): kernel k_add");
    sum_free(&s);
    cu_close(dev);
}

/* An image of two fat binaries, and one whose header tells of more than there is. */
static void images(void) {
    struct err e = {0};
    struct cu *c;
    char path[] = "/tmp/tokpipe-image-XXXXXX";
    unsigned char image[48] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 8};
    memcpy(image + 24, image, 24);
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, image, sizeof image) == (ssize_t)sizeof image);
    setenv("LLM_CUDA_IMAGE", path, 1);
    CHECK_INT(cu_open(&c, 0, &e), 0);
    CHECK(cu_kernel(c, "k_add", 0, &e));
    cu_close(c);
    CHECK(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 24 + 8) == 8);
    CHECK_INT(cu_open(&c, 0, &e), 0); // the driver says what it thinks of it
    cu_close(c);
    close(fd);
    unlink(path);
}

static const struct {
    const char *name;
    void (*run)(void);
} tests_in_children[] = {
    {"no_driver", no_driver},     {"old_driver", old_driver},
    {"no_device", no_device},     {"two_devices", two_devices},
    {"too_old", too_old},         {"no_code_for_it", no_code_for_it},
    {"no_image", no_image},       {"little_memory", little_memory},
    {"lost_device", lost_device}, {"trace", trace},
    {"bad_launch", bad_launch},   {"images", images},
};

/* Runs one of them, with this in its environment. */
static void in_child(const char *name, const char *variable, const char *value) {
    int status = 0;
    pid_t child;
    fflush(stdout);
    if ((child = fork()) == 0) {
        if (variable)
            setenv(variable, value, 1);
        execv(arguments[0], (char *[]){arguments[0], (char *)name, NULL});
        _exit(127);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s ended with status %d", name,
              status);
}

static int child(const char *name) {
    for (size_t i = 0; i < sizeof tests_in_children / sizeof *tests_in_children; i++)
        if (strcmp(name, tests_in_children[i].name) == 0) {
            tests_in_children[i].run();
            fflush(stdout);
            return check_here != 0;
        }
    return 2;
}

/* ---- with another driver -------------------------------------------------------------------- */

/* A folder whose libcuda.so.1 is something else: what `target` says, or text. */
static void with_library(const char *name, const char *target) {
    char folder[] = "/tmp/tokpipe-driver-XXXXXX";
    CHECK(mkdtemp(folder));
    char *path = path_join(folder, "libcuda.so.1");
    if (target) {
        CHECK(symlink(target, path) == 0);
    } else {
        FILE *f = fopen(path, "w");
        CHECK(f && fputs("no library\n", f) >= 0 && fclose(f) == 0);
    }
    in_child(name, "LD_LIBRARY_PATH", folder);
    unlink(path);
    rmdir(folder);
    free(path);
}

static void says_that_there_is_no_driver(void) {
    with_library("no_driver", NULL);
}
static void says_that_the_driver_is_too_old(void) {
    struct link_map *map = NULL;
    void *other = dlopen("libm.so.6", RTLD_NOW);
    CHECK(other && dlinfo(other, RTLD_DI_LINKMAP, &map) == 0);
    if (map)
        with_library("old_driver", map->l_name);
    if (other)
        dlclose(other);
}
static void says_that_there_is_no_device(void) {
    in_child("no_device", "CUDA_STANDIN_DEVICES", "0");
}
static void counts_and_lists_devices(void) {
    in_child("two_devices", "CUDA_STANDIN_DEVICES", "2");
}
static void says_that_the_device_is_too_old(void) {
    in_child("too_old", "CUDA_STANDIN_SM", "75");
}
static void says_which_kernels_are_missing(void) {
    in_child("no_code_for_it", "CUDA_STANDIN_NO_IMAGE", "1");
    in_child("no_image", NULL, NULL);
    in_child("images", NULL, NULL);
}
static void goes_on_without_memory(void) {
    in_child("little_memory", "CUDA_STANDIN_MEMORY", "104857600");
}
static void a_lost_device_is_an_error(void) {
    in_child("lost_device", "CUDA_STANDIN_LOST", "2");
}
static void launches_as_told(void) {
    char path[] = "/tmp/tokpipe-trace-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    in_child("trace", "CUDA_STANDIN_TRACE", path);
    close(fd);
    unlink(path);
}
static void a_bad_launch_is_an_error(void) {
    in_child("bad_launch", NULL, NULL);
}

/* ---- with one that works -------------------------------------------------------------------- */

static void knows_the_device(void) {
    struct err e = {0};
    size_t left;
    const struct cu_info *i = cu_info(dev);
    CHECK(i->name[0] && i->sm >= 80 && i->n_sms > 0 && i->l2_bytes > 0 &&
          i->shared_bytes >= 99 * 1024);
    CHECK(i->driver >= 11080);
    CHECK_INT(cu_free_bytes(dev, &left, &e), 0);
    CHECK(left > 0 && left <= i->total_bytes);
}

static void copies(void) {
    struct err e = {0};
    enum { N = 1000 };
    struct dev_buf b = dev_new(NULL, N);
    unsigned char *host;
    void *pinned;
    dev_must(cu_pinned_alloc(dev, 2 * N, "a test", &pinned, &e), &e);
    host = pinned;
    for (int i = 0; i < N; i++)
        host[i] = (unsigned char)(i * 7);
    cu_to_device(dev, b.p, host, N);
    cu_copy(dev, (char *)b.p + 600, b.p, 300);
    cu_fill(dev, (char *)b.p + 10, 5, 0xAB);
    cu_to_device(dev, b.p, host, 0); // nothing
    cu_to_host(dev, host + N, b.p, N);
    CHECK_INT(cu_sync(dev, &e), 0);
    memmove(host + 600, host, 300);
    memset(host + 10, 0xAB, 5);
    CHECK(memcmp(host, host + N, N) == 0);
    cu_pinned_free(dev, pinned);
    cu_pinned_free(dev, NULL);
    free(dev_read(&b)); // its guard
    dev_free(&b);
    cu_free(dev, NULL);
}

static unsigned char byte_at(size_t i) {
    return (unsigned char)(i ^ i >> 8 ^ i >> 16 ^ i >> 24);
}

/* Sizes around the 32 MB of a buffer; one after the other, so that buffers are in use in all ways.
 */
static void uploads_of_odd_sizes(void) {
    struct err e = {0};
    const size_t sizes[] = {
        0, 1, 63, 64, 65, 4097, 32 * mb - 1, 32 * mb, 1, 32 * mb + 1, 70 * mb + 12345, 2};
    unsigned char *bytes = xmalloc(71 * mb);
    for (size_t i = 0; i < 71 * mb; i++)
        bytes[i] = byte_at(i);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        struct dev_buf b = dev_new(NULL, n);
        CHECK_INT(cu_upload(dev, b.p, bytes + 3, n, &e), 0);
        bytes[3] ^= 0xFF; // the bytes have been read
        unsigned char *got = dev_read(&b);
        bytes[3] ^= 0xFF;
        CHECK_MSG(memcmp(got, bytes + 3, n) == 0, "%zu bytes differ", n);
        free(got);
        dev_free(&b);
    }
    free(bytes);
    CHECK_INT(cu_upload_end(dev, &e), 0);
}

static void upload_rows(size_t dst_pitch, size_t src_pitch, size_t width, size_t n_rows) {
    struct err e = {0};
    size_t bad = 0;
    unsigned char *bytes = xmalloc(n_rows * src_pitch + 1);
    for (size_t i = 0; i < n_rows * src_pitch; i++)
        bytes[i] = byte_at(i);
    struct dev_buf b = dev_new(NULL, n_rows * dst_pitch);
    CHECK_INT(cu_upload_rows(dev, b.p, dst_pitch, bytes, src_pitch, width, n_rows, &e), 0);
    unsigned char *got = dev_read(&b);
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < dst_pitch; j++)
            bad += got[i * dst_pitch + j] != (j < width ? byte_at(i * src_pitch + j) : 0);
    CHECK_MSG(bad == 0, "%zu bytes differ: pitches %zu and %zu, width %zu, %zu rows", bad,
              dst_pitch, src_pitch, width, n_rows);
    free(got);
    free(bytes);
    dev_free(&b);
}

static void uploads_of_rows(void) {
    upload_rows(128, 100, 100, 0);
    upload_rows(128, 100, 100, 7);
    upload_rows(100, 100, 100, 7);
    upload_rows(100, 128, 100, 7);                 // narrower than the host's
    upload_rows(256, 200, 10, 300000);             // more than two buffers
    upload_rows(20 * mb, 11 * mb, 10 * mb + 1, 4); // one row a buffer
    upload_rows(33 * mb, 33 * mb, 33 * mb - 1, 2); // longer than a buffer
}

static void regions(void) {
    struct err e = {0};
    struct cu_region r;
    size_t before, after;
    unsigned char *host;
    void *pinned;
    dev_must(cu_pinned_alloc(dev, 2, "a test", &pinned, &e), &e);
    host = pinned;
    CHECK_INT(cu_free_bytes(dev, &before, &e), 0);
    CHECK_INT(cu_reserve(dev, &r, 199 * mb + 1, &e), 0);
    CHECK(r.base && r.bytes >= 199 * mb + 1 && r.committed == 0);
    void *base = r.base;
    CHECK_INT(cu_commit(dev, &r, 0, &e), 0);
    CHECK_INT(r.committed, 0);
    CHECK_INT(cu_commit(dev, &r, 1, &e), 0);
    CHECK_INT(r.committed, 32 * mb);
    cu_fill(dev, (char *)r.base + 32 * mb - 1, 1, 77);
    CHECK_INT(cu_commit(dev, &r, 32 * mb, &e), 0);
    CHECK_INT(r.committed, 32 * mb);
    CHECK_INT(cu_commit(dev, &r, 150 * mb + 1, &e), 0);
    CHECK_INT(r.committed, 152 * mb);
    CHECK_INT(cu_commit(dev, &r, 190 * mb, &e), 0);
    CHECK(r.committed >= 190 * mb && r.committed <= r.bytes);
    CHECK_INT(cu_commit(dev, &r, r.bytes, &e), 0);
    CHECK_INT(r.committed, r.bytes);
    CHECK_INT(cu_commit(dev, &r, r.bytes + 1, &e), -1);
    CHECK_INT(e.code, EXIT_BUG);
    CHECK(r.base == base); // nothing has moved
    cu_fill(dev, (char *)r.base + 199 * mb, 1, 78);
    cu_to_host(dev, host, (char *)r.base + 32 * mb - 1, 1);
    cu_to_host(dev, host + 1, (char *)r.base + 199 * mb, 1);
    CHECK_INT(cu_sync(dev, &e), 0);
    CHECK(host[0] == 77 && host[1] == 78);
    cu_unreserve(dev, &r);
    CHECK(!r.base && !r.chunks && r.bytes == 0 && r.committed == 0);
    cu_unreserve(dev, &r);
    CHECK_INT(cu_free_bytes(dev, &after, &e), 0);
    CHECK_INT(after, before);
    cu_pinned_free(dev, pinned);
}

static void launches(void) {
    const struct cu_kernel *k = add_kernel();
    for (uint32_t n = 1; n <= 1024; n += 341) {
        struct sum s = sum_of(n);
        for (int i = 0; i < 3; i++)
            cu_launch(dev, k, s.shape, &s.args);
        memset(&s.args, 0, sizeof s.args); // they were copied
        check_sum(&s, 3);
        sum_free(&s);
    }
}

static void graphs(void) {
    struct err e = {0};
    struct cu_graph *g;
    const struct cu_kernel *k = add_kernel();
    struct sum s = sum_of(100);
    cu_capture_begin(dev);
    cu_launch(dev, k, s.shape, &s.args);
    cu_launch(dev, k, s.shape, &s.args);
    dev_must(cu_capture_end(dev, &g, &e), &e);
    memset(&s.args.x, 0, sizeof s.args.x); // the graph has its own
    check_sum(&s, 0);
    cu_graph_launch(dev, g);
    check_sum(&s, 2);
    cu_graph_launch(dev, g);
    cu_graph_launch(dev, g);
    check_sum(&s, 6);
    cu_graph_free(dev, g);
    cu_graph_free(dev, NULL);
    sum_free(&s);
}

static void a_recording_that_fails_changes_nothing(void) {
    struct err e = {0};
    struct cu_graph *g;
    const struct cu_kernel *k = add_kernel();
    struct sum s = sum_of(100);
    cu_capture_begin(dev);
    cu_launch(dev, k, s.shape, &s.args);
    cu_launch(dev, k, (struct cu_shape){.x = 1, .threads = 4096}, &s.args);
    cu_launch(dev, k, s.shape, &s.args);
    CHECK_INT(cu_capture_end(dev, &g, &e), -1);
    CHECK(!g);
    expect(&e, EXIT_SYSTEM, "): kernel k_add");
    CHECK(!cu_error(dev));
    check_sum(&s, 0);
    cu_launch(dev, k, s.shape, &s.args);
    check_sum(&s, 1);
    sum_free(&s);
}

static void time_passes(void) {
    struct err e = {0};
    double ms = -1;
    struct sum s = sum_of(1024);
    for (int i = 0; i < 2; i++) {
        cu_time_begin(dev);
        cu_launch(dev, add_kernel(), s.shape, &s.args);
        CHECK_INT(cu_time_end(dev, &ms, &e), 0);
        CHECK(ms >= 0 && ms < 60000);
    }
    sum_free(&s);
}

static void a_forked_child_may_close(void) {
    struct err e = {0};
    int status = 0;
    fflush(stdout);
    pid_t p = fork();
    if (p == 0) {
        cu_close(dev);
        _exit(0);
    }
    CHECK(p > 0 && waitpid(p, &status, 0) == p && status == 0);
    struct sum s = sum_of(10);
    cu_launch(dev, add_kernel(), s.shape, &s.args);
    check_sum(&s, 1);
    sum_free(&s);
    CHECK_INT(cu_sync(dev, &e), 0);
}

int main(int argc, char **argv) {
    arguments = argv;
    if (argc > 1)
        return child(argv[1]);
    dev_open(argv);
    const char *real = getenv("TEST_GPU");
    if (real && *real == '1') {
        SKIP(drivers_that_fail, "they need the stand-in");
    } else {
        RUN(says_that_there_is_no_driver);
        RUN(says_that_the_driver_is_too_old);
        RUN(says_that_there_is_no_device);
        RUN(counts_and_lists_devices);
        RUN(says_that_the_device_is_too_old);
        RUN(says_which_kernels_are_missing);
        RUN(goes_on_without_memory);
        RUN(a_lost_device_is_an_error);
        RUN(launches_as_told);
        RUN(a_bad_launch_is_an_error);
    }
    RUN(knows_the_device);
    RUN(copies);
    RUN(uploads_of_odd_sizes);
    RUN(uploads_of_rows);
    RUN(regions);
    RUN(launches);
    RUN(graphs);
    RUN(a_recording_that_fails_changes_nothing);
    RUN(time_passes);
    RUN(a_forked_child_may_close);
    cu_close(dev);
    cu_close(NULL);
    return check_done();
}

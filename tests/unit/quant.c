/* Matrices from files: struct mat's rows, views and sizes, the plain format and its refusals, and a
 * second format, which this file adds as one struct and one line of a list.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // MAP_ANONYMOUS
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/check.h"
#include "quant/format.h"

/* ---- A file in memory ---- */

enum { MAX_TENSORS = 8 };

struct file {
    struct weights w;
    unsigned char *bytes;
    bool used[MAX_TENSORS];
    struct mat_memory memory;
    struct mat_source source;
};

/* A safetensors file of this header and data. */
static void file_open(struct file *f, const char *header, const void *data, size_t n) {
    struct err e = {0};
    size_t n_header = strlen(header), all = 8 + n_header + n;
    *f = (struct file){.bytes = xcalloc(1, all)};
    for (size_t i = 0; i < 8; i++)
        f->bytes[i] = (unsigned char)((uint64_t)n_header >> (8 * i));
    memcpy(f->bytes + 8, header, n_header);
    memcpy(f->bytes + 8 + n_header, data, n);
    CHECK_INT(weights_from_bytes(&f->w, "test", f->bytes, all, all, &e), 0);
    CHECK_STR(e.msg, "");
    CHECK(f->w.n_tensors <= MAX_TENSORS);
    f->source = (struct mat_source){.weights = &f->w, .used = f->used, .memory = &f->memory};
}

static void file_close(struct file *f) {
    mat_memory_free(&f->memory);
    weights_close(&f->w);
    free(f->bytes);
}

/* ---- struct mat ---- */

/* n bytes that end where a page without access begins. */
static unsigned char *before_guard(size_t n, size_t *mapped) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (n + page - 1) / page * page;
    *mapped = body + page;
    unsigned char *p =
        mmap(NULL, *mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + body, page, PROT_NONE) != 0)
        die(EXIT_SYSTEM, "no guard page");
    return p + body - n;
}

static void put(unsigned char *to, enum dtype t, size_t i, float f) {
    uint16_t half = t == DT_BF16 ? bf16_from_f32(f) : f16_from_f32(f);
    if (t == DT_F32)
        memcpy(to + 4 * i, &f, 4);
    else
        memcpy(to + 2 * i, &half, 2);
}

/* Element [i, k] is 8i + k, which every type holds exactly. */
static void rows_are_read_to_their_end_and_not_past_it(void) {
    enum { OUT = 5, IN = 7 };
    static const enum dtype types[] = {DT_F32, DT_F16, DT_BF16};
    for (size_t t = 0; t < 3; t++) {
        size_t size = types[t] == DT_F32 ? 4 : 2, n = OUT * IN * size, n_data, n_row;
        unsigned char *data = before_guard(n, &n_data);
        float *row = (float *)(void *)before_guard(IN * sizeof *row, &n_row);
        for (size_t i = 0; i < OUT * IN; i++)
            put(data, types[t], i, (float)(8 * (i / IN) + i % IN));
        struct mat w = mat_plain(data, types[t], OUT, IN);
        CHECK_INT(w.row_bytes, IN * size);
        CHECK_INT(mat_bytes(&w), n);
        for (size_t first = 0; first <= OUT; first++) {
            struct mat view = mat_rows(&w, first, OUT - first);
            CHECK_INT(view.n_out, OUT - first);
            CHECK_INT(view.n_in, IN);
            CHECK_INT(mat_bytes(&view), (OUT - first) * IN * size);
            for (size_t i = 0; i < view.n_out; i++) {
                mat_row(&view, i, row);
                for (size_t k = 0; k < IN; k++)
                    CHECK_INT(row[k], 8 * (first + i) + k);
            }
        }
        struct mat inner = mat_rows(&w, 1, 3), one = mat_rows(&inner, 2, 1); // a view of a view
        mat_row(&one, 0, row);
        CHECK_INT(row[IN - 1], 8 * 3 + IN - 1);
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        munmap(data + n - (n_data - page), n_data);
        munmap((unsigned char *)(row + IN) - (n_row - page), n_row);
    }
}

static void sizes_that_overflow(void) {
    unsigned char byte = 0;
    struct mat none = mat_plain(NULL, DT_F32, 3, 4), view = mat_rows(&none, 1, 2);
    CHECK(!view.data);
    CHECK_INT(mat_bytes(&none), 0);
    struct mat wide = mat_plain(&byte, DT_F32, 1, SIZE_MAX / 4 + 1),
               tall = mat_plain(&byte, DT_BF16, SIZE_MAX / 2, 2);
    CHECK(!wide.data && !tall.data);
    CHECK_INT(mat_bytes(&wide), 0);
    struct mat fits = mat_plain(&byte, DT_BF16, 1, SIZE_MAX / 2);
    CHECK(fits.data && mat_bytes(&fits) == SIZE_MAX - 1);
    struct mat by_hand = {.n_out = SIZE_MAX, .n_in = 1, .row_bytes = 2, .data = &byte};
    CHECK(mat_bytes(&by_hand) == SIZE_MAX);
    enum mat_layout layout;
    CHECK(mat_layout_of(DT_F16, &layout) && layout == MAT_F16);
    CHECK(!mat_layout_of(DT_I8, &layout) && !mat_layout_of(DT_F8_E4M3, &layout));
}

/* ---- Panels ---- */

/* Row r's code of input k: 3r + 5k, in the bits of the layout. */
static uint8_t code_of(enum mat_layout layout, size_t r, size_t k) {
    return (uint8_t)((3 * r + 5 * k) & (layout == MAT_G4 ? 15 : 255));
}

/* Every code is where mat.h says, and all else is the code of the padding. */
static void check_panel(enum mat_layout layout, size_t n_rows, size_t n_in) {
    enum { PAD = 9, MOST_IN = 70 };
    uint8_t codes[MAT_PANEL * MOST_IN];
    const bool g4 = layout == MAT_G4;
    const size_t n = mat_panel_bytes(layout, n_in);
    CHECK_INT(n % 64, 0);
    CHECK_INT(n, g4 ? (n_in + 31) / 32 * 256 : (n_in + 3) / 4 * 64);
    unsigned char *panel = xmalloc(n);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_in; k++)
            codes[r * MOST_IN + k] = code_of(layout, r, k);
    mat_panel_store(layout, panel, codes, MOST_IN, n_rows, n_in, PAD);
    for (size_t at = 0; at < n; at++)
        for (size_t high = 0; high < (g4 ? 2 : 1); high++) {
            const size_t v = at / 64, r = at % 64 / 4, i = at % 4,
                         k = g4 ? v / 4 * 32 + 16 * high + v % 4 * 4 + i : 4 * v + i;
            const unsigned got = g4 ? (unsigned)panel[at] >> 4 * high & 15 : panel[at];
            CHECK_INT(got, r < n_rows && k < n_in ? code_of(layout, r, k) : PAD);
        }
    free(panel);
}

static void panels_are_as_mat_h_says(void) {
    static const size_t inputs[] = {1, 4, 15, 16, 17, 31, 32, 33, 64, 70};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        for (size_t n_rows = 1; n_rows <= MAT_PANEL; n_rows += 5) {
            check_panel(MAT_G4, n_rows, inputs[i]);
            check_panel(MAT_G8, n_rows, inputs[i]);
        }
}

/* Each part of mat_quant's formula, in a view that begins in the middle of a panel. */
static void rows_of_panels(void) {
    enum { OUT = 20, IN = 12, GROUP = 8, PANELS = 2, GROUPS = 2 };
    float scales[PANELS * GROUPS * MAT_PANEL], biases[PANELS * GROUPS * MAT_PANEL], row[IN];
    uint8_t zeros[PANELS * GROUPS * MAT_PANEL], codes[OUT * IN];
    uint32_t order[IN];
    struct mat_quant q = {.group = GROUP,
                          .n_groups = GROUPS,
                          .scale_type = DT_F32,
                          .scales = scales,
                          .biases = biases,
                          .zeros = zeros,
                          .factor = 0.5f,
                          .order = order};
    for (size_t i = 0; i < PANELS * GROUPS * MAT_PANEL; i++) {
        scales[i] = (float)(i + 1);
        biases[i] = (float)i / 4;
        zeros[i] = (uint8_t)(i % 7);
    }
    for (size_t k = 0; k < IN; k++)
        order[k] = (uint32_t)((k + 5) % IN);
    for (size_t i = 0; i < OUT * IN; i++)
        codes[i] = (uint8_t)(i * 11 % 16);
    for (int8_t i = 0; i < 16; i++)
        q.table[i] = (int8_t)(2 * i - 9);
    for (enum mat_layout layout = MAT_G4; layout <= MAT_G8; layout++) {
        const size_t bytes = mat_panel_bytes(layout, IN);
        unsigned char *data = xmalloc(PANELS * bytes);
        for (size_t p = 0; p < PANELS; p++)
            mat_panel_store(layout, data + p * bytes, codes + p * MAT_PANEL * IN, IN,
                            p == 0 ? MAT_PANEL : OUT - MAT_PANEL, IN, 0);
        const struct mat m = {.layout = layout,
                              .n_out = OUT,
                              .n_in = IN,
                              .row_bytes = bytes / MAT_PANEL,
                              .data = data,
                              .quant = &q},
                         view = mat_rows(&m, 3, OUT - 3), inner = mat_rows(&view, 2, 15);
        for (size_t i = 0; i < inner.n_out; i++) {
            mat_row(&inner, i, row);
            for (size_t k = 0; k < IN; k++) {
                const size_t o = i + 5, at = (o / 16 * GROUPS + k / GROUP) * 16 + o % 16;
                const int code = codes[o * IN + k], v = layout == MAT_G4 ? 2 * code - 9 : code;
                CHECK(row[order[k]] == (float)(v - zeros[at]) * (scales[at] * 0.5f) + biases[at]);
            }
        }
        free(data);
    }
}

/* ---- The plain format ---- */

static const char plain_header[] =
    "{\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
    "\"a.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]},"
    "\"i.weight\":{\"dtype\":\"I8\",\"shape\":[2,2],\"data_offsets\":[32,36]},"
    "\"odd\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[36,40]}}";

static bool used(const struct file *f, const char *name) {
    const struct tensor *t = weights_find(&f->w, name);
    return t && f->used[t - f->w.tensors];
}

static void plain_matrices_are_read_in_place(void) {
    float data[10] = {1, 2, 3, 4, 5, 6, 7, 8}, row[3];
    struct file f;
    struct mat m;
    struct err e = {0};
    file_open(&f, plain_header, data, sizeof data);
    CHECK(mat_format_of(&f.source, "a") == &mat_plain_format);
    CHECK(!mat_format_of(&f.source, "b"));
    CHECK_INT(mat_open(&f.source, "a", 2, 3, &m, &e), 0);
    CHECK(m.data == weights_find(&f.w, "a.weight")->data);
    CHECK_INT(f.memory.n, 0);
    CHECK(used(&f, "a.weight") && !used(&f, "a.bias") && !used(&f, "odd"));
    mat_row(&m, 1, row);
    CHECK(row[0] == 4 && row[2] == 6);
    const struct tensor *bias = mat_source_floats(&f.source, "a", ".bias", 2, 0, &e);
    CHECK(bias && used(&f, "a.bias"));
    file_close(&f);
}

static void stacked_matrices_are_views(void) {
    static const char header[] =
        "{\"x.down_proj\":{\"dtype\":\"F32\",\"shape\":[3,2,2],\"data_offsets\":[0,48]},"
        "\"i\":{\"dtype\":\"I8\",\"shape\":[1,2,2],\"data_offsets\":[48,52]}}";
    float data[13] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, row[2];
    struct file f;
    struct mat m;
    struct err e = {0};
    file_open(&f, header, data, sizeof data);
    CHECK_INT(mat_open_stack(&f.source, "x.down_proj", 3, 2, 2, &m, &e), 0);
    CHECK(m.data == weights_find(&f.w, "x.down_proj")->data && f.memory.n == 0);
    CHECK(m.n_out == 6 && m.n_in == 2 && used(&f, "x.down_proj"));
    struct mat last = mat_rows(&m, 4, 2);
    mat_row(&last, 0, row);
    CHECK(row[0] == 8 && row[1] == 9);
    CHECK_INT(mat_open_stack(&f.source, "x.down_proj", 2, 3, 2, &m, &e), -1);
    CHECK_STR(e.msg, "tensor 'x.down_proj': expected [2, 3, 2], found [3, 2, 2]");
    CHECK_INT(mat_open_stack(&f.source, "y", 2, 3, 2, &m, &e), -1);
    CHECK_STR(e.msg, "tensor 'y' is missing: expected [2, 3, 2]");
    CHECK_INT(mat_open_stack(&f.source, "i", 1, 2, 2, &m, &e), -1);
    CHECK_STR(e.msg, "tensor 'i': expected F32, F16 or BF16, found I8");
    file_close(&f);
}

static void transposed_matrices_are_copied(void) {
    float data[10] = {1, 2, 3, 4, 5, 6}, row[2];
    struct file f;
    struct mat m;
    struct err e = {0};
    file_open(&f, plain_header, data, sizeof data);
    f.source.transposed = true;
    CHECK_INT(mat_open(&f.source, "a", 3, 2, &m, &e), 0); // stored as [2, 3]
    CHECK(f.memory.n == 1 && m.data == f.memory.parts[0] && (uintptr_t)m.data % 64 == 0);
    for (size_t i = 0; i < 3; i++) {
        mat_row(&m, i, row);
        CHECK(row[0] == data[i] && row[1] == data[3 + i]);
    }
    CHECK_INT(mat_open(&f.source, "a", 2, 3, &m, &e), -1);
    CHECK_STR(e.msg, "tensor 'a.weight': expected [3, 2], found [2, 3]");
    file_close(&f);
}

/* A large one, of a size that is no multiple of the blocks in which it is copied. */
static void transposing_moves_every_element(void) {
    enum { OUT = 70, IN = 45 };
    static uint16_t data[IN * OUT];
    struct file f;
    struct mat m;
    struct err e = {0};
    float row[IN];
    for (size_t i = 0; i < IN * OUT; i++)
        data[i] = f16_from_f32((float)(i % 2048));
    file_open(&f, "{\"t.weight\":{\"dtype\":\"F16\",\"shape\":[45,70],\"data_offsets\":[0,6300]}}",
              data, sizeof data);
    f.source.transposed = true;
    CHECK_INT(mat_open(&f.source, "t", OUT, IN, &m, &e), 0);
    for (size_t o = 0; o < OUT; o++) {
        mat_row(&m, o, row);
        for (size_t i = 0; i < IN; i++)
            CHECK_INT(row[i], (i * OUT + o) % 2048);
    }
    file_close(&f);
}

static void refusals_say_what_was_expected(void) {
    static const struct {
        const char *module;
        size_t n_out, n_in;
        const char *message;
    } cases[] = {
        {"b", 2, 3, "tensor 'b.weight' is missing: expected [2, 3]"},
        {"a", 2, 4, "tensor 'a.weight': expected [2, 4], found [2, 3]"},
        {"a", 3, 2, "tensor 'a.weight': expected [3, 2], found [2, 3]"},
        {"a", 6, 0, "tensor 'a.weight': expected [6], found [2, 3]"},
        {"i", 2, 2, "tensor 'i.weight': expected F32, F16 or BF16, found I8"},
    };
    float data[10] = {0};
    struct file f;
    struct err e = {0};
    file_open(&f, plain_header, data, sizeof data);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mat m = {.n_out = 99};
        CHECK_INT(mat_open(&f.source, cases[i].module, cases[i].n_out, cases[i].n_in, &m, &e), -1);
        CHECK_INT(e.code, EXIT_DATA);
        CHECK_STR(e.msg, cases[i].message);
        CHECK_INT(m.n_out, 99);
    }
    CHECK(!mat_source_shaped(&f.source, "odd", "", 1, 0, &e));
    CHECK_STR(e.msg, "tensor 'odd': expected [1], found []");
    char *name = xmalloc(3000); // longer than any tensor's
    memset(name, 'x', 2999);
    name[2999] = '\0';
    CHECK(!mat_source_find(&f.source, name, ".weight"));
    free(name);
    file_close(&f);
}

/* ---- Another format ---- */

/* MODULE.codes I8 [n_out, n_in], and MODULE.scales F32 [n_out], which they are multiplied by. */
static bool toy_claims(const struct mat_source *s, const char *module) {
    return mat_source_find(s, module, ".codes") != NULL;
}

static int toy_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                    struct mat *m, struct err *e) {
    const struct tensor *codes = mat_source_shaped(s, module, ".codes", n_out, n_in, e),
                        *scales =
                            codes ? mat_source_floats(s, module, ".scales", n_out, 0, e) : NULL;
    if (!scales)
        return -1;
    float *to = mat_memory_take(s->memory, n_out * n_in * sizeof *to);
    for (size_t i = 0; i < n_out * n_in; i++)
        to[i] = (float)(dtype_value(codes->dtype, codes->data, i) *
                        dtype_value(scales->dtype, scales->data, i / n_in));
    *m = mat_plain(to, DT_F32, n_out, n_in);
    return 0;
}

static const struct mat_format toy = {"toy", toy_claims, toy_open};

static const struct mat_format *const with_toy[] = {
    &toy,
    &mat_plain_format,
    NULL,
};

static const char toy_header[] =
    "{\"q.scales\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
    "\"p.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"
    "\"q.codes\":{\"dtype\":\"I8\",\"shape\":[2,2],\"data_offsets\":[12,16]},"
    "\"r.codes\":{\"dtype\":\"I8\",\"shape\":[2,2],\"data_offsets\":[16,20]}}";

static void a_format_is_one_struct_and_one_line(void) {
    struct {
        float scales[2], plain[1];
        int8_t codes[8];
    } data = {{0.5f, 2}, {7}, {1, -2, 3, -4}};
    struct file f;
    struct mat m;
    struct err e = {0};
    float row[2];
    file_open(&f, toy_header, &data, sizeof data);
    CHECK_INT(mat_open(&f.source, "q", 2, 2, &m, &e), -1); // not in the list of this build
    CHECK_STR(e.msg, "tensor 'q.weight' is missing: expected [2, 2]");
    f.source.formats = with_toy;
    CHECK(mat_format_of(&f.source, "q") == &toy);
    CHECK(mat_format_of(&f.source, "p") == &mat_plain_format);
    CHECK_INT(mat_open(&f.source, "q", 2, 2, &m, &e), 0);
    CHECK(used(&f, "q.codes") && used(&f, "q.scales"));
    mat_row(&m, 0, row);
    CHECK(row[0] == 0.5f && row[1] == -1);
    mat_row(&m, 1, row);
    CHECK(row[0] == 6 && row[1] == -8);
    CHECK_INT(mat_open(&f.source, "p", 1, 1, &m, &e), 0);
    CHECK_INT(f.memory.n, 1);
    CHECK_INT(mat_open(&f.source, "r", 2, 2, &m, &e), -1);
    CHECK_STR(e.msg, "tensor 'r.scales' is missing: expected [2]");
    CHECK_INT(mat_open(&f.source, "q", 2, 3, &m, &e), -1);
    CHECK_STR(e.msg, "tensor 'q.codes': expected [2, 3], found [2, 2]");
    CHECK_INT(mat_open(&f.source, "s", 2, 3, &m, &e), -1); // the last format's words
    CHECK_STR(e.msg, "tensor 's.weight' is missing: expected [2, 3]");
    file_close(&f);
}

static void the_list_ends_with_plain(void) {
    size_t n = 0;
    while (mat_formats[n])
        n++;
    CHECK(n > 0 && mat_formats[n - 1] == &mat_plain_format);
}

int main(void) {
    RUN(rows_are_read_to_their_end_and_not_past_it);
    RUN(sizes_that_overflow);
    RUN(panels_are_as_mat_h_says);
    RUN(rows_of_panels);
    RUN(plain_matrices_are_read_in_place);
    RUN(stacked_matrices_are_views);
    RUN(transposed_matrices_are_copied);
    RUN(transposing_moves_every_element);
    RUN(refusals_say_what_was_expected);
    RUN(a_format_is_one_struct_and_one_line);
    RUN(the_list_ends_with_plain);
    return check_done();
}

/* common/weights/safetensors: valid headers are read, and each rule is broken once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "weights/safetensors.h"

/* A file in memory of exact size, so that a sanitizer sees any read past its end. n_data bytes 0,
 * 1, 2, ... */
static unsigned char *make_file(const char *header, size_t n_data, size_t *n) {
    size_t length = strlen(header);
    *n = 8 + length + n_data;
    unsigned char *p = calloc(1, *n);
    for (unsigned i = 0; i < 8; i++)
        p[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(p + 8, header, length);
    for (size_t i = 0; i < n_data; i++)
        p[8 + length + i] = (unsigned char)i;
    return p;
}

static void good(void) {
    size_t n;
    unsigned char *p = make_file(
        "{\"__metadata__\": {\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[4,10], \"extra\":[{}]},"
        "\"z\":{\"data_offsets\":[10,10],\"dtype\":\"F32\",\"shape\":[4,0]},"
        "\"\\u00e4\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}  ",
        10, &n);
    struct weights w;
    struct err e = {0};
    char shape[200];
    CHECK_INT(weights_from_bytes(&w, "t", p, n, n, &e), 0);
    CHECK_INT(w.n_tensors, 3);
    CHECK_STR(w.tensors[0].name, "\xC3\xA4"); // ordered by offset
    CHECK_STR(w.files[0].metadata_json, "{\"format\":\"pt\"}");
    const struct tensor *b = weights_find(&w, "b"), *z = weights_find(&w, "z");
    CHECK(b == &w.tensors[1] && z == &w.tensors[2] && !weights_find(&w, "") &&
          !weights_find(&w, "c"));
    CHECK(b->dtype == DT_U8 && b->n_dims == 2 && b->shape[1] == 3 && b->n_elements == 6 &&
          b->n_bytes == 6);
    CHECK(*(const unsigned char *)b->data == 4 && b->offset == w.files[0].header_bytes + 4);
    CHECK_STR(tensor_shape_text(b, shape), "[2, 3]");
    CHECK_STR(tensor_shape_text(&w.tensors[0], shape), "[]");
    CHECK(w.tensors[0].n_elements == 1 && z->n_elements == 0 && z->n_bytes == 0);
    weights_close(&w);
    free(p);
}

static void empty_object(void) {
    size_t n;
    unsigned char *p = make_file("{}", 0, &n);
    struct weights w;
    CHECK_INT(weights_from_bytes(&w, "t", p, n, n, NULL), 0);
    CHECK(w.n_tensors == 0 && !weights_find(&w, "x"));
    weights_close(&w);
    free(p);
}

#define T(name, dtype, shape, from, to)                                                            \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" from "," to   \
    "]}"

static void refusals(void) {
    static const struct {
        const char *header;
        size_t n_data;
        const char *message;
    } cases[] = {
        {"", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"{", 0, "JSON ends"},
        {"{} x", 0, "where the end was expected"},
        {"{}", 1, "last 1 of 1 data bytes belong to no tensor"},
        {"{" T("a", "U8", "1", "0", "1") "}", 2, "last 1 of 2 data bytes belong to no tensor"},
        {"{" T("a", "U8", "1", "1", "2") "}", 2, "data bytes 0 to 1, before tensor 'a'"},
        {"{" T("a", "U8", "1", "0", "1") "," T("b", "U8", "1", "2", "3") "}", 3,
         "before tensor 'b'"},
        {"{" T("a", "U8", "2", "0", "2") "," T("b", "U8", "2", "1", "3") "}", 3,
         "'a' and 'b' overlap at data byte 1"},
        {"{" T("a", "U8", "2", "0", "2") "," T("b", "U8", "0", "1", "1") "}", 2, "overlap"},
        {"{" T("a", "U8", "3", "0", "3") "}", 2, "'a' ends at data byte 3, but the file has 2"},
        {"{" T("a", "U8", "1", "1", "0") "}", 2, "'a' ends at data byte 0, before its start"},
        {"{" T("a", "U8", "3", "0", "2") "}", 2,
         "'a', U8 [3], takes 3 bytes, but its data_offsets hold 2"},
        {"{" T("a", "F32", "", "0", "2") "}", 2, "takes 4 bytes"},
        {"{" T("a", "F4", "3", "0", "2") "}", 2, "not whole bytes"},
        {"{" T("a", "F64", "2305843009213693952", "0", "2") "}", 2, "too large"},
        {"{" T("a", "U8", "4294967296,4294967296,0", "0", "0") "}", 0, "too large"},
        {"{" T("a", "U8", "18446744073709551616", "0", "0") "}", 0, "not a whole number"},
        {"{" T("a", "U8", "1.0", "0", "1") "}", 1, "not a whole number"},
        {"{" T("a", "U8", "-1", "0", "1") "}", 1, "not a whole number"},
        {"{" T("a", "U8", "1", "0", "1,2") "}", 1, "'a': expected 2 data_offsets, found 3"},
        {"{" T("a", "F31", "1", "0", "1") "}", 1, "'a' has the unknown dtype 'F31'"},
        {"{" T("a", "U8", "1,1,1,1,1,1,1,1,1", "0", "1") "}", 1, "'a' has more than 8 dimensions"},
        {"{" T("a", "U8", "1", "0", "1") "," T("a", "U8", "1", "1", "2") "}", 2,
         "duplicate tensor 'a'"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1,
         "duplicate key 'dtype' in tensor 'a'"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 0,
         "key 'data_offsets' of tensor 'a' is missing"},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1,
         "key 'shape' of tensor 'a' is missing"},
        {"{\"a\":{}}", 0, "key 'dtype' of tensor 'a' is missing"},
        {"{\"a\":[\"U8\",[1],[0,1]]}", 1, "an object was expected"},
        {"{\"a\":null}", 0, "an object was expected"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "a string was expected"},
        {"{\"__metadata__\":{\"a\":\"\",\"b\":\"\",\"a\":\"\"}}", 0,
         "duplicate key 'a' in '__metadata__'"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate key '__metadata__'"},
        {"{" T("", "U8", "1", "0", "1") "}", 1, "is empty"},
        {"{" T("a\\u0000b", "U8", "1", "0", "1") "}", 1, "holds a control character"},
        {"{" T("a\\u001b[2J", "U8", "1", "0", "1") "}", 1, "holds a control character"},
        {"{" T("a\\u009b2J", "U8", "1", "0", "1") "}", 1, "holds a control character"},
        {"{" T("a\xff", "U8", "1", "0", "1") "}", 1, "not valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        unsigned char *p = make_file(cases[i].header, cases[i].n_data, &n);
        struct weights w;
        struct err e = {0};
        int rc = weights_from_bytes(&w, "dir/file", p, n, n, &e);
        CHECK_MSG(rc == -1 && e.code == EXIT_DATA, "accepted: %s", cases[i].header);
        CHECK_MSG(strstr(e.msg, cases[i].message), "no '%s' in: %s", cases[i].message, e.msg);
        CHECK_MSG(strstr(e.msg, "dir/file"), "no file name in: %s", e.msg);
        free(p);
    }
}

static void every_truncation(void) {
    size_t n;
    unsigned char *p =
        make_file("{" T("a", "U8", "3", "0", "3") "," T("b", "F16", "2", "3", "7") "}", 7, &n);
    struct weights w;
    for (size_t cut = 0; cut < n; cut++) {
        unsigned char *part = malloc(cut ? cut : 1);
        memcpy(part, p, cut);
        struct err e = {0};
        CHECK_MSG(weights_from_bytes(&w, "t", part, cut, cut, &e) == -1 && e.code == EXIT_DATA,
                  "%zu bytes", cut);
        free(part);
    }
    CHECK_INT(weights_from_bytes(&w, "t", p, n, n, NULL), 0);
    weights_close(&w);
    free(p);
}

static void header_limit(void) {
    unsigned char p[9] = {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{'}; // 100,000,001
    struct weights w;
    struct err e = {0};
    CHECK(weights_from_bytes(&w, "t", p, sizeof p, sizeof p, &e) == -1 &&
          strstr(e.msg, "limit is 100000000"));
    p[0] = 0; // the limit itself: past the end of this file
    CHECK(weights_from_bytes(&w, "t", p, sizeof p, sizeof p, &e) == -1 &&
          strstr(e.msg, "has 1 after"));
    memset(p, 0xff, 8);
    CHECK(weights_from_bytes(&w, "t", p, sizeof p, sizeof p, &e) == -1 &&
          strstr(e.msg, "limit is 100000000"));
}

/* A name of the greatest length is accepted, a longer one is not. */
static void long_names(void) {
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf b = {0};
        buf_str(&b, "{\"");
        for (size_t i = 0; i < TENSOR_MAX_NAME + extra; i++)
            buf_byte(&b, 'n');
        buf_str(&b, "\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}");
        size_t n;
        unsigned char *p = make_file(b.p, 1, &n);
        struct weights w;
        CHECK_INT(weights_from_bytes(&w, "t", p, n, n, NULL), extra ? -1 : 0);
        weights_close(&w);
        free(p);
        buf_free(&b);
    }
}

/* Thousands of tensors, last byte first: sorted by offset, found by name. */
static void many_backwards(void) {
    enum { N = 5000 };
    struct buf b = {0};
    for (int i = 0; i < N; i++)
        buf_fmt(&b, "%c\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                i ? ',' : '{', i, N - 1 - i, N - i);
    buf_byte(&b, '}');
    size_t n;
    unsigned char *p = make_file(b.p, N, &n);
    struct weights w;
    CHECK_INT(weights_from_bytes(&w, "t", p, n, n, NULL), 0);
    CHECK_STR(w.tensors[0].name, "t4999");
    for (int i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        const struct tensor *t = weights_find(&w, name);
        CHECK(t && *(const unsigned char *)t->data == (unsigned char)(N - 1 - i));
    }
    weights_close(&w);
    free(p);
    buf_free(&b);
}

static void goldens(void) {
    struct weights w, v;
    struct err e = {0};
    CHECK_INT(weights_open(&w, "tests/data/models/llama", &e), 0);
    CHECK_INT(weights_open(&v, "tests/data/models/llama/model.safetensors", &e), 0);
    CHECK(w.n_files == 1 && w.fingerprint == v.fingerprint && w.fingerprint != 0);
    weights_close(&v);
    weights_close(&w);
    CHECK_INT(weights_open(&w, "tests/data/models/llama-sharded", &e), 0);
    CHECK_INT(weights_open(&v, "tests/data/models/llama-sharded/model.safetensors.index.json", &e),
              0);
    CHECK(w.n_files == 3 && v.n_files == 3 && w.fingerprint == v.fingerprint);
    CHECK(weights_find(&w, "lm_head.weight")->file == 2 &&
          weights_find(&w, "model.embed_tokens.weight")->file == 0);
    weights_close(&v);
    weights_close(&w);
    CHECK(weights_open(&w, "tests/data/models", &e) == -1 && e.code == EXIT_NO_INPUT);
    CHECK(weights_open(&w, "tests/data/none.safetensors", &e) == -1 && e.code == EXIT_NO_INPUT);
    CHECK(w.n_tensors == 0 && !w.files);
}

int main(void) {
    RUN(good);
    RUN(empty_object);
    RUN(refusals);
    RUN(every_truncation);
    RUN(header_limit);
    RUN(long_names);
    RUN(many_backwards);
    RUN(goldens);
    return check_done();
}

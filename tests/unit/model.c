/* Tokenizer models from small files: the kind of a model without a name, and scores that are
 * written in different forms.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "../lib/check.h"
#include "base/mem.h"
#include "tokens/tokenizer.h"

static uint64_t seed = 1;

static uint32_t below(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

/* The ids of text as "1 2 3", or the error's message. */
static const char *encode(const char *json, size_t n, const char *text) {
    static char out[4096];
    struct buf b = {0};
    struct err e = {0};
    struct tokenizer *t = tokenizer_load("test", json, n, &e);
    if (t) {
        struct encoder *en = encoder_new(t);
        struct token_ids ids = {0};
        if (tokenizer_encode(en, str_of(text), NULL, &ids, &e) == 0)
            for (size_t i = 0; i < ids.n; i++)
                buf_fmt(&b, "%s%u", i ? " " : "", (unsigned)ids.ids[i]);
        encoder_free(en);
        token_ids_free(&ids);
    }
    snprintf(out, sizeof out, "%s", e.code ? e.msg : b.p ? b.p : "");
    tokenizer_free(t);
    buf_free(&b);
    return out;
}

static void without_a_name(void) {
    static const struct {
        const char *model, *ids; // of "abc"
    } cases[] = {
        {"{\"unk_id\":0,\"vocab\":[[\"u\",-9],[\"a\",-1.5],[\"bc\",-2.5]]}", "1 2"},
        {"{\"vocab\":[[\"u\",-9],[\"a\",-1.5],[\"bc\",-2.5]],\"unk_id\":0}", "1 2"},
        {"{\"unk_id\":0,\"vocab\":[[\"u\",-9],[\"a\",-1.5],[\"bc\",-2.5]],\"type\":\"Unigram\"}",
         "1 2"},
        {"{\"unk_id\":0,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3},\"merges\":[\"a b\"]}", "3 2"},
        {"{\"unk_id\":0,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3},\"merges\":[\"a "
         "b\"],\"type\":\"BPE\"}",
         "3 2"},
        {"{\"unk_id\":0,\"vocab\":{\"abc\":7,\"u\":1},\"unk_token\":\"u\",\"type\":\"WordLevel\"}",
         "7"},
        {"{\"unk_id\":0,\"vocab\":[[\"u\",-9]],\"type\":\"Nonsense\"}",
         "unknown model \"Nonsense\": test: line 1, byte 9"},
        {"{\"unk_id\":3,\"vocab\":[[\"u\",-9]]}",
         "unk_id is 3, but the vocabulary has 1 tokens: test: line 1, byte 40"},
        {"{\"unk_id\":0,\"vocab\":[[\"u\"]]}", NULL},
        {"{\"unk_id\":0,\"vocab\":[[\"u\",-9,1]]}", NULL},
        {"{\"unk_id\":0,\"vocab\":[[\"u\",-9],[\"a\",1e999]]}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *json = xasprintf("{\"model\":%s}", cases[i].model);
        const char *got = encode(json, strlen(json), "abc");
        if (cases[i].ids)
            CHECK_STR(got, cases[i].ids);
        else
            CHECK_MSG(strstr(got, ": line 1, byte "), "accepted: %s", json);
        free(json);
    }
}

/* A list of tokens with the same scores in one form, which is read the quick way, and in changing
 * forms, which are not. Sums often differ only in the last bit. */
static void scores(void) {
    static const char *const numbers[] = {"-12.345678901234567",
                                          "-2.0122928619384766",
                                          "0.0",
                                          "-0",
                                          "-7",
                                          "-0.1",
                                          "-0.3",
                                          "-0.2",
                                          "-3.5449328422546387",
                                          "12.000000000000001",
                                          "-1234567.1234567",
                                          "-1234567890123456789",
                                          "-0.12345678901234567890123",
                                          "-1e-3",
                                          "-2.5E+1",
                                          "-99999999"};
    for (int round = 0; round < 300; round++) {
        struct buf one = {0}, other = {0};
        buf_str(&one, "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"u\",-99]");
        buf_str(&other, one.p);
        for (uint32_t i = 0; i < 60; i++) {
            char token[8];
            uint32_t n = 1 + below(4);
            for (uint32_t k = 0; k < n; k++)
                token[k] = (char)('a' + below(3));
            token[n] = '\0';
            const char *number = numbers[below(sizeof numbers / sizeof *numbers)];
            buf_fmt(&one, ",[\"%s\",%s]", token, number);
            buf_fmt(&other, i % 2 ? ",[\"%s\",%s]" : ", [\"%s\" , %s ] ", token, number);
        }
        buf_fmt(&one, "]},\"decoder\":null%*s}", 200,
                ""); // far from the end, where the quick way is not used
        buf_str(&other, "]}}");
        char text[40];
        for (size_t i = 0; i < sizeof text - 1; i++)
            text[i] = (char)('a' + below(3));
        text[sizeof text - 1] = '\0';
        char *got = xstrdup(encode(one.p, one.n, text));
        CHECK_STR(got, encode(other.p, other.n, text));
        free(got);
        buf_free(&one);
        buf_free(&other);
    }
}

int main(void) {
    RUN(without_a_name);
    RUN(scores);
    return check_done();
}

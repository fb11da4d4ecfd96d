/* When the text of an answer has a stop text: after which id, with tokenizers that spell bytes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/io.h"
#include "stages/answer_text.h"
#include "tokens/tokenizer.h"

enum { MOST = 64 };

/* The last id that spells these bytes alone: <0x61> is another one for "a", before it. */
static uint32_t id_of(const struct tokenizer *t, struct str bytes) {
    struct buf b = {0};
    uint32_t found = UINT32_MAX;
    for (uint32_t id = tokenizer_vocab(t); id-- > 0 && found == UINT32_MAX;) {
        buf_clear(&b);
        if (!tokenizer_piece(t, id).p || tokenizer_is_special(t, id))
            continue;
        tokenizer_bytes(t, id, &b);
        found = b.n == bytes.n && memcmp(b.p, bytes.p, b.n) == 0 ? id : found;
    }
    buf_free(&b);
    CHECK_MSG(found != UINT32_MAX, "no token for '%.*s'", (int)bytes.n, bytes.p);
    return found;
}

/* The ids of text: a token each for the pieces that '|' separates. */
static size_t ids_of(const struct tokenizer *t, const char *text, uint32_t ids[MOST]) {
    size_t n = 0;
    while (*text) {
        size_t bytes = strcspn(text, "|");
        ids[n++] = id_of(t, (struct str){text, bytes});
        text += bytes + (text[bytes] == '|');
    }
    return n;
}

/* The number of the piece that ends an answer, from 1; 0: none does. */
static size_t stops_at(const char *tokenizer, const char *stop, bool continues,
                       const char *pieces) {
    char *path = path_join("tests/data/tokenizers", tokenizer);
    struct answer_texts all = {.model = path};
    struct answer a = {.continues = continues};
    struct err e = {0};
    uint32_t ids[MOST];
    size_t at = 0;
    attrs_set(&a.attrs, "stop", str_of(stop));
    answer_texts_map(&all);
    CHECK_MSG(answer_text_begin(&all, &a, false, &e) == 0, "%s", e.msg);
    for (size_t i = 0, n = ids_of(all.tokenizer, pieces, ids); i < n && at == 0; i++)
        at = answer_text_stops(a.text, ids[i]) ? i + 1 : 0;
    buf_free(&a.attrs);
    answer_text_free(a.text);
    answer_texts_free(&all);
    free(path);
    return at;
}

static void byte_fallback(void) {
    static const char name[] = "bpe-llama2";
    CHECK_INT(stops_at(name, "\n", true, "a|b|\n|a"), 3); // not one token later
    CHECK_INT(stops_at(name, "\n\n", true, "a|\n|b|\n|\n|a"), 5);
    CHECK_INT(stops_at(name, "\xE6\x9C\xBE", true, "a|\xE6|\x9C|\xBE|b"), 4);
    CHECK_INT(stops_at(name, "\xE6\x9C\xBE", true, "a|\xE6|\x9C|b|\xBE"), 0);
    CHECK_INT(stops_at(name, "b\n", true, "a|b|\n"), 3);
    CHECK_INT(stops_at(name,
                       "\xEF\xBF\xBD"
                       "b",
                       true, "a|\xE6|b"),
              3); // as it is shown
}

static void bytes_of_a_level(void) {
    static const char name[] = "bpe-gpt2";
    CHECK_INT(stops_at(name, "\xC3\xA9", true, "a|\xC3|\xA9|b"), 3);
    CHECK_INT(stops_at(name, "a\xC3\xA9", true, "b|a|\xC3|\xA9"), 4);
    CHECK_INT(stops_at(name, "\xC3\xA9", true, "a|\xC3|b|\xA9"), 0);
    CHECK_INT(stops_at(name, "ba", true, "a|b|a"), 3);
    CHECK_INT(stops_at(name, "abc", true, "a|b|a|b"), 0);
    CHECK_INT(stops_at(name, "[\"abc\",\"ab\"]", true, "a|a|b|c"), 3); // a beginning of another
    CHECK_INT(stops_at(name, "[\"abc\",\"bd\"]", true, "a|b|d|c"), 3);
}

static void the_first_space(void) {
    static const char name[] = "bpe-llama2", piece[] = "\xE2\x96\x81"
                                                       "a|b"; // U+2581 is the space
    CHECK_INT(stops_at(name, " a", true, piece), 1);
    CHECK_INT(stops_at(name, " a", false, piece), 0);
    CHECK_INT(stops_at(name, "ab", false, piece), 2);
}

static void the_attributes_of_an_answer(void) {
    struct stop_texts stops = {0};
    struct err e = {0};
    CHECK_INT(stop_texts_add(&stops, str_of("x y"), &e), 0);
    for (int own = 0; own < 3; own++) {
        struct answer_texts all = {.model = "tests/data/tokenizers/bpe-gpt2", .stops = &stops};
        struct answer a = {.n_prompt = 7};
        answer_texts_map(&all);
        if (own)
            attrs_set(&a.attrs, "stop", str_of(own == 1 ? "[\"z\"]" : "[]"));
        CHECK_INT(answer_text_begin(&all, &a, own == 1, &e), 0);
        CHECK((a.text != NULL) == (own < 2) && (all.tokenizer != NULL) == (own < 2));
        CHECK_STR(a.attrs.p, own == 0   ? "ends=[\"x%20y\"]"
                             : own == 1 ? "stop=[\"z\"] ends=[\"z\"] begins=7"
                                        : "stop=[]");
        buf_free(&a.attrs);
        answer_text_free(a.text);
        answer_texts_free(&all);
    }
    CHECK(!answer_text_stops(NULL, 3));
    stop_texts_free(&stops);
}

/* What is read of stop texts and what the decoder holds back count, and are counted off again. */
static void its_memory_counts(void) {
    char *path = path_join("tests/data/tokenizers", "bpe-llama2");
    struct sample_params params = sample_defaults;
    struct answers list = {.bos = -1, .params = &params};
    struct answer_texts all = {.model = path};
    struct err e = {0};
    struct buf attrs = {0};
    buf_str(&attrs, "stop=");
    for (int i = 0; i < 4000; i++)
        buf_byte(&attrs, 'x');
    answer_texts_map(&all);
    for (uint32_t i = 0; i < 10; i++) {
        size_t before = list.bytes;
        struct answer *a = answers_open(&list, i, NULL, 0, buf_view(&attrs), &e);
        CHECK(a && answer_text_begin(&all, a, false, &e) == 0);
        answers_count_text(&list, a);
        CHECK(list.bytes - before > attrs.n + 3 * 4000); // a stop text and its table of 2 bytes
        before = list.bytes;
        uint32_t id = id_of(all.tokenizer, str_of("\xE6")); // a byte of a character is held back
        for (int k = 0; k < 500; k++)
            CHECK(!answer_text_stops(a->text, id));
        answers_count_text(&list, a);
        CHECK(list.bytes - before >= 500);
        before = list.bytes;
        answers_count_text(&list, a);
        CHECK_INT(list.bytes, before);
    }
    CHECK_INT(list.n, 10);
    answers_free(&list);
    CHECK_INT(list.bytes, 0);
    answer_texts_free(&all);
    buf_free(&attrs);
    free(path);
}

/* A file of more than 1 GiB is not mapped: nothing of it is read. */
static void a_large_tokenizer_is_refused(void) {
    char path[] = "/tmp/tokpipe-large-XXXXXX";
    int fd = mkstemp(path);
    struct answer_texts all = {.model = path};
    struct err e = {0};
    CHECK(fd >= 0 && ftruncate(fd, ((off_t)1 << 30) + 1) == 0);
    answer_texts_map(&all);
    unlink(path);
    close(fd);
    CHECK(answer_texts_open(&all, &e) == -1);
    CHECK_INT(e.code, EXIT_DATA);
    CHECK_MSG(strstr(e.msg, "the file has 1073741825 bytes, more than 1073741824: "), "%s", e.msg);
    answer_texts_free(&all);
}

int main(int argc, char **argv) {
    (void)argc;
    program_init(argv[0]);
    RUN(byte_fallback);
    RUN(bytes_of_a_level);
    RUN(the_first_space);
    RUN(the_attributes_of_an_answer);
    RUN(its_memory_counts);
    RUN(a_large_tokenizer_is_refused);
    return check_done();
}

/* Fuzz entry: the body of tok-encode over a whole input. The first byte chooses the options. The
 * output must be tokens(5) with a line for each record, and rendered chats must be UTF-8.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "stages/encode.h"
#include "wire/tokens.h"

static size_t count_records(const uint8_t *data, size_t size, enum records_kind kind) {
    struct records *r = records_new(fuzz_fd(data, size), "fuzz", kind, SIZE_MAX / 2);
    struct str record;
    struct err e;
    size_t n = 0;
    while (records_next(r, &record, &e) == 1)
        n++;
    records_free(r);
    return n;
}

static size_t count_lines(const char *p, size_t n) {
    struct tokens_reader *r = tokens_reader_new(fuzz_fd((const uint8_t *)p, n), "output");
    struct tokens_event ev;
    struct err e;
    size_t lines = 0;
    int rc;
    while ((rc = tokens_next(r, &ev, &e)) == 0 && ev.type != TOKENS_EOF)
        lines += ev.type == TOKENS_END || ev.type == TOKENS_FAILED;
    assert(rc == 0);
    tokens_reader_free(r);
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct chat *chat;
    static struct tokenizer *t;
    static const char *const dir = "tests/data/tokenizers/bpe-llama3";
    struct err e = {0};
    if (!chat &&
        (!(chat = chat_open(dir, &(struct chat_options){0}, &e)) || !(t = tokenizer_open(dir, &e))))
        die_err(&e);
    if (size == 0)
        return 0;
    unsigned bits = data[0];
    struct encode_job o = {.records = (enum records_kind)(bits % 3),
                           .prompt = {.form = (enum prompt_form)(bits >> 2 & 3),
                                      .strict = bits >> 4 & 1,
                                      .defaults = {.generation = true},
                                      .chat = chat},
                           .trust_content = bits >> 5 & 1,
                           .end_id = -1,
                           .render = (bits >> 6 & 3) == 2,
                           .offsets = (bits >> 6 & 3) == 3,
                           .threads = (bits >> 6 & 3) == 1 ? 3 : 1};
    char *out = NULL;
    size_t n_out = 0, n = count_records(data + 1, size - 1, o.records);
    FILE *f = open_memstream(&out, &n_out);
    warn_quiet(1);
    int rc = stage_encode(&o, t, fuzz_fd(data + 1, size - 1), "fuzz", f, &e);
    fclose(f);
    if (rc == -1)
        fuzz_check_refusal(&e);
    else if (o.render)
        fuzz_check_utf8((struct str){out, n_out});
    else if (!o.offsets)
        assert(count_lines(out, n_out) == n);
    free(out);
    return 0;
}

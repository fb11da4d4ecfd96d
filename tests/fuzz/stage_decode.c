/* Fuzz entry: the body of tok-decode over a tokens(5) stream. The first byte chooses the form. Text
 * must be UTF-8, and each line of the JSON form must be JSON.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "stages/decode.h"

static void check_lines(const char *p, size_t n) {
    for (size_t at = 0; at < n;) {
        const char *end = memchr(p + at, '\n', n - at);
        assert(end);
        fuzz_check_json((struct str){p + at, (size_t)(end - p) - at});
        at = (size_t)(end - p) + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const dirs[] = {"tests/data/tiny", "tests/data/tokenizers/bpe-llama2",
                                       "tests/data/tokenizers/wordpiece-bert"};
    static struct tokenizer *all[3];
    struct err e = {0};
    if (size == 0)
        return 0;
    unsigned bits = data[0], which = (bits >> 5) % 3;
    if (!all[which] && !(all[which] = tokenizer_open(dirs[which], &e)))
        die_err(&e);
    struct decode_job o = {.form = (enum decode_form)((bits & 7) % 5),
                           .special = bits >> 3 & 1,
                           .continues = bits >> 4 & 1};
    char *out = NULL;
    size_t n_out = 0;
    FILE *f = open_memstream(&out, &n_out);
    warn_quiet(1);
    int rc = stage_decode(&o, all[which], fuzz_fd(data + 1, size - 1), "fuzz", f, &e);
    fclose(f);
    if (rc == -1)
        fuzz_check_refusal(&e);
    fuzz_check_utf8((struct str){out, n_out});
    if (o.form == DECODE_JSON && rc != -1)
        check_lines(out, n_out);
    free(out);
    return 0;
}

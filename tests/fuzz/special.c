/* Fuzz entry: the files beside tokenizer.json. The input is the three files with NUL bytes between
 * them: tokenizer_config.json, special_tokens_map.json, added_tokens.json.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"

#include "tokens/special.h"
#include "tokens/tokenizer.h"

static void check_tokens(const char *dir) {
    struct special_tokens s = {0};
    struct err e = {0};
    if (special_tokens_read(&s, dir, &e) != 0 && e.code != EXIT_DATA)
        abort();
    for (size_t i = 0; i < s.n_added; i++)
        if (!s.added[i].content.p)
            abort();
    special_tokens_free(&s);
}

static void check_tokenizer(const char *dir) {
    struct err e = {0};
    struct tokenizer *t = tokenizer_open(dir, &e);
    if (!t && e.code != EXIT_DATA)
        abort();
    if (t)
        tokenizer_find_plain(t, str_of("<a>"));
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json"};
    static const char tokenizer[] =
        "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 2, \"content\": \"<a>\", \"special\": "
        "true}], \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}}";
    static bool written;
    if (!written)
        free(fuzz_file("tokenizer.json", str_of(tokenizer)));
    written = true;
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *end = size ? memchr(data, 0, size) : NULL;
        size_t n = end ? (size_t)(end - data) : size;
        free(fuzz_file(names[i], n ? (struct str){(const char *)data, n} : str_of("{}")));
        data += n + (end != NULL);
        size -= n + (end != NULL);
    }
    check_tokens(fuzz_folder());
    check_tokenizer(fuzz_folder());
    return 0;
}

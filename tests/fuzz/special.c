/* Fuzz entry: the files beside tokenizer.json. The input is the three files with NUL bytes between
 * them: tokenizer_config.json, special_tokens_map.json, added_tokens.json.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tokens/special.h"
#include "tokens/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_file(const char *dir, const char *name, const void *p, size_t n) {
    char *path = path_join(dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(p, 1, n, f) != n) || fclose(f) != 0)
        abort();
    free(path);
}

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
    char dir[64];
    snprintf(dir, sizeof dir, "/tmp/fuzz-special.%ld", (long)getpid());
    if (mkdir(dir, 0700) == 0)
        write_file(dir, "tokenizer.json", tokenizer, sizeof tokenizer - 1);
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *end = size ? memchr(data, 0, size) : NULL;
        size_t n = end ? (size_t)(end - data) : size;
        write_file(dir, names[i], n ? (const void *)data : "{}", n ? n : 2);
        data += n + (end != NULL);
        size -= n + (end != NULL);
    }
    check_tokens(dir);
    check_tokenizer(dir);
    return 0;
}

/* Shared by the fuzz entries: what an entry is, a folder for its files, checks of refusals and
 * outputs.
 *
 * An entry is one function over one input. libFuzzer calls it (make fuzz), and fuzz_replay.c calls
 * it for files and their mutations (make check, make flips). A failed assertion is a finding.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <assert.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first part of an input, up to a byte 0, and what follows it. */
struct fuzz_parts {
    struct str first, rest;
    bool split; // there is a byte 0
};

static inline struct fuzz_parts fuzz_split(const uint8_t *data, size_t size) {
    const char *text = (const char *)data, *end = size ? memchr(text, 0, size) : NULL;
    size_t n = end ? (size_t)(end - text) : size;
    return (struct fuzz_parts){
        {text, n}, end ? (struct str){end + 1, size - n - 1} : (struct str){text + n, 0}, end};
}

/* A copy of exactly n bytes, so that a sanitizer sees a read past them. Free its p. */
static inline struct str fuzz_exact(struct str s) {
    char *p = xmalloc(s.n ? s.n : 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

static char fuzz_folder_name[200];

static inline void fuzz_folder_remove(void) {
    DIR *d = opendir(fuzz_folder_name);
    for (struct dirent *f; d && (f = readdir(d));) {
        char *path = path_join(fuzz_folder_name, f->d_name);
        if (f->d_name[0] != '.')
            unlink(path);
        free(path);
    }
    if (d)
        closedir(d);
    rmdir(fuzz_folder_name);
}

/* This process's folder, removed when it exits. */
static inline const char *fuzz_folder(void) {
    const char *tmp = getenv("TMPDIR");
    if (fuzz_folder_name[0])
        return fuzz_folder_name;
    snprintf(fuzz_folder_name, sizeof fuzz_folder_name, "%s/tokpipe-fuzz-XXXXXX",
             tmp ? tmp : "/tmp");
    if (!mkdtemp(fuzz_folder_name))
        abort();
    atexit(fuzz_folder_remove);
    return fuzz_folder_name;
}

/* Writes a file of that folder. Returns its path, which the caller frees. */
static inline char *fuzz_file(const char *name, struct str bytes) {
    char *path = path_join(fuzz_folder(), name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes.p, 1, bytes.n, f) != bytes.n || fclose(f) != 0)
        abort();
    return path;
}

static inline void fuzz_unlink(const char *name) {
    char *path = path_join(fuzz_folder(), name);
    unlink(path);
    free(path);
}

/* A refusal has one of the documented codes, and a message of one line or more. */
static inline void fuzz_check_refusal(const struct err *e) {
    assert(e->code == EXIT_DATA || e->code == EXIT_NO_INPUT || e->code == EXIT_SOME_FAILED ||
           e->code == EXIT_USAGE);
    assert(e->msg[0]);
}

static inline void fuzz_check_utf8(struct str s) {
    assert(s.n == 0 || utf8_valid(s.p, s.n) == s.n);
}

/* Our own JSON output must be JSON. */
static inline void fuzz_check_json(struct str s) {
    struct err e;
    struct json j;
    json_init(&j, "output", s.p, s.n, &e);
    json_skip(&j);
    if (!json_end(&j)) {
        fprintf(stderr, "%s\n%.*s\n", e.msg, (int)s.n, s.p);
        abort();
    }
    json_free(&j);
}

#endif

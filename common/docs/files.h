/* Reads documents in a process of its own, so that the program can enter the sandbox first.
 *
 * The reader is forked before the sandbox. It opens each file in turn, runs mandoc(1) on man pages,
 * and sends the bytes over a pipe. The program that tokenises a stranger's text then needs no
 * files. The reader ends with the program.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DOCS_FILES_H
#define DOCS_FILES_H

#include "base/err.h"
#include "base/mem.h"
#include "docs/doc.h"

enum { DOC_MAX_BYTES = 1 << 30 }; // of a source, and of what is rendered from it

struct doc_files;

/* A document that was read. Its memory is valid until the next call. */
struct doc_file {
    const char *name; // "stdin" for "-"
    enum doc_format format;
    struct str source, rendering; // rendering: of a man page
};

/* Forks the reader for names [n], which must outlive it. Call it before any thread is started and
 * while stdout has nothing buffered. format DOC_AUTO: doc_guess decides. NULL with e set. */
struct doc_files *doc_files_start(char *const *names, size_t n, enum doc_format format,
                                  struct err *e);

/* 1 with the next document; 0 after the last; -1 with e set. If *failed, only this file could not
 * be read, and the next call goes on with the one after it. */
int doc_files_next(struct doc_files *f, struct doc_file *file, bool *failed, struct err *e);
void doc_files_free(struct doc_files *f);

#endif

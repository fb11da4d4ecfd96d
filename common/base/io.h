/* Bytes in and out: whole reads and writes, read-only mappings, and files that are written under a
 * temporary name and then renamed.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

/* As read(2), but a signal does not interrupt it. */
ssize_t read_some(int fd, void *p, size_t n);

/* A function that read_some calls before each read, with the descriptor; NULL, as at first: none.
 * It is one for the whole program, which sets it before any thread is started: see stages/watch.h.
 */
void io_before_read(void (*before)(int fd));

/* Reads until n bytes or the end; *got says how many. -1 (EXIT_IO) only when the system reports an
 * error. */
int read_full(int fd, void *p, size_t n, size_t *got, struct err *e);

/* Writes all n bytes, or -1 (EXIT_IO). SIGPIPE keeps its default action: it ends the program if the
 * reader has closed the pipe. */
int write_full(int fd, const void *p, size_t n, struct err *e);

/* Appends all of fd to out; -1 past max bytes (EXIT_DATA) or on a read error. name is for messages.
 */
int read_all(int fd, const char *name, size_t max, struct buf *out, struct err *e);

/* Appends the file's bytes to out. EXIT_NO_INPUT if it cannot be opened, or is not a regular file:
 * a FIFO or a device is not waited for. EXIT_DATA past max bytes. */
int read_file(const char *path, size_t max, struct buf *out, struct err *e);

/* The input operand of a filter: a descriptor of the file, or of stdin for NULL and "-" (then *name
 * is "stdin"). -1 with EXIT_NO_INPUT if it cannot be opened. */
int open_operand(const char *path, const char **name, struct err *e);

/* As read_file, for a file that the user names: a pipe is read too, and "-" is stdin. */
int read_operand(const char *path, size_t max, struct buf *out, struct err *e);

/* A whole regular file, mapped PROT_READ, MAP_SHARED. An empty file has p = NULL, n = 0. */
struct map {
    const unsigned char *p;
    size_t n; // bytes
};
int map_file(struct map *m, const char *path, struct err *e);
/* The same; EXIT_DATA if the file has more than max bytes. */
int map_file_within(struct map *m, const char *path, size_t max, struct err *e);
void unmap_file(struct map *m);

/* A file that appears under its name only when it is complete: it is written under a temporary
 * name, synced and renamed. */
struct outfile {
    char *path, *temp; // owned
    FILE *f;
    char *buffer; // of f, owned
};
int outfile_open(struct outfile *o, const char *path, struct err *e);
int outfile_write(struct outfile *o, const void *p, size_t n, struct err *e);
/* Frees o, also on error; then the temporary is removed. */
int outfile_commit(struct outfile *o, struct err *e);
void outfile_abort(struct outfile *o); // removes the temporary; nothing to do after a commit

int io_sync(int fd); // fsync(2), but a signal does not interrupt it

/* $TMPDIR, else /tmp. */
const char *io_temp_folder(void);

/* A new file without a name, in folder (NULL: io_temp_folder), for reading and writing. -1 with e
 * set (EXIT_IO). */
int io_temp(const char *folder, struct err *e);

/* For a file of an unexpected kind that begins with p[0..n): says what it is and what helps, "a Git
 * LFS pointer: ...". NULL for an unknown kind. The first 64 bytes are enough. */
const char *file_hint(const void *p, size_t n);
const char *path_hint(const char *path); // the same of a file

bool is_dir(const char *path);
bool is_file(const char *path);
/* Whether the folder has an entry of this name, which may be a link to nothing or may not be
 * readable. Where it has one, an optional file is read, so that what is wrong with it is an error.
 */
bool is_there(const char *path);
/* Both are owned by the caller. path_parent: the folder of path, "." where it names none. */
char *path_join(const char *dir, const char *name);
char *path_parent(const char *path);
/* The name of a file in dir that ends with `end`, the first in alphabetic order. NULL if there is
 * none; owned by the caller. */
char *dir_find(const char *dir, const char *end);

/* Writes what is buffered. -1 (EXIT_IO) if this or an earlier write to out has failed; the message
 * says stdout. */
int flush_out(FILE *out, struct err *e);

/* At the end of every program: flushes stdout, and dies (EXIT_IO) if anything was lost, as on a
 * full disk. */
void close_stdout(void);

#endif

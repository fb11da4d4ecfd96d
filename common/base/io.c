/* Bytes in and out: see io.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // O_TMPFILE
#endif
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/leftover.h"
#include "base/mapped.h"

static void (*before_read)(int fd);

void io_before_read(void (*before)(int fd)) {
    before_read = before;
}

ssize_t read_some(int fd, void *p, size_t n) {
    ssize_t got;
    if (before_read)
        before_read(fd);
    do
        got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    return got;
}

int read_full(int fd, void *p, size_t n, size_t *got, struct err *e) {
    *got = 0;
    while (*got < n) {
        ssize_t r = read_some(fd, (char *)p + *got, n - *got);
        if (r == 0)
            return 0;
        if (r < 0)
            return err_errno(e, EXIT_IO, "cannot read");
        *got += (size_t)r;
    }
    return 0;
}

int write_full(int fd, const void *p, size_t n, struct err *e) {
    const char *at = p;
    while (n > 0) {
        ssize_t w = write(fd, at, n);
        if (w >= 0) {
            at += w;
            n -= (size_t)w;
        } else if (errno != EINTR) {
            return err_errno(e, EXIT_IO, "cannot write");
        }
    }
    return 0;
}

int read_all(int fd, const char *name, size_t max, struct buf *out, struct err *e) {
    size_t start = out->n;
    for (;;) {
        if (out->cap - out->n < 2) // full, but for the NUL
            buf_reserve(out, 1u << 16);
        ssize_t r = read_some(fd, out->p + out->n, out->cap - out->n - 1);
        if (r < 0)
            return err_errno(e, EXIT_IO, "cannot read: %s", name);
        if (r == 0)
            break;
        out->n += (size_t)r;
        if (out->n - start > max)
            return err_set(e, EXIT_DATA, "more than %zu bytes: %s", max, name);
    }
    out->p[out->n] = '\0';
    return 0;
}

static int open_retry(const char *path, int flags) {
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static int open_input(const char *path, struct err *e) {
    int fd = open_retry(path, O_RDONLY);
    if (fd < 0)
        return err_errno(e, EXIT_NO_INPUT, "cannot open %s", path);
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        return err_set(e, EXIT_NO_INPUT, "is a folder: %s", path);
    }
    return fd;
}

/* A file of a model's folder. To open a FIFO would wait for a writer, and to open a terminal could
 * make it ours: neither happens with these flags, and then both are refused. */
static int open_regular(const char *path, struct stat *st, struct err *e) {
    int fd = open_retry(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENXIO ? err_set(e, EXIT_NO_INPUT, "not a regular file: %s", path)
                              : err_errno(e, EXIT_NO_INPUT, "cannot open %s", path);
    int rc = 0;
    if (fstat(fd, st) != 0)
        rc = err_errno(e, EXIT_IO, "cannot stat %s", path);
    else if (S_ISDIR(st->st_mode))
        rc = err_set(e, EXIT_NO_INPUT, "is a folder: %s", path);
    else if (!S_ISREG(st->st_mode))
        rc = err_set(e, EXIT_NO_INPUT, "not a regular file: %s", path);
    if (rc != 0)
        close(fd);
    return rc != 0 ? -1 : fd;
}

int open_operand(const char *path, const char **name, struct err *e) {
    bool is_stdin = !path || strcmp(path, "-") == 0;
    *name = is_stdin ? "stdin" : path;
    return is_stdin ? STDIN_FILENO : open_input(path, e);
}

int read_operand(const char *path, size_t max, struct buf *out, struct err *e) {
    const char *name;
    int fd = open_operand(path, &name, e);
    if (fd < 0)
        return -1;
    struct stat st;
    bool large = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uintmax_t)st.st_size > max;
    int rc = large ? err_set(e, EXIT_DATA, "more than %zu bytes: %s", max, name)
                   : read_all(fd, name, max, out, e);
    if (fd != STDIN_FILENO)
        close(fd);
    return rc;
}

int read_file(const char *path, size_t max, struct buf *out, struct err *e) {
    struct stat st;
    int fd = open_regular(path, &st, e);
    if (fd < 0)
        return -1;
    int rc;
    if ((uintmax_t)st.st_size > max) {
        rc = err_set(e, EXIT_DATA, "more than %zu bytes: %s", max, path);
    } else {
        buf_reserve(out, (size_t)st.st_size + 1); // with a byte for the look past the end
        rc = read_all(fd, path, max, out, e);
    }
    close(fd);
    return rc;
}

int map_file(struct map *m, const char *path, struct err *e) {
    return map_file_within(m, path, SIZE_MAX, e);
}

int map_file_within(struct map *m, const char *path, size_t max, struct err *e) {
    *m = (struct map){0};
    struct stat st;
    int fd = open_regular(path, &st, e);
    if (fd < 0)
        return -1;
    int rc = 0;
    if ((uintmax_t)st.st_size > max) {
        rc = err_set(e, EXIT_DATA, "the file has %ju bytes, more than %zu: %s",
                     (uintmax_t)st.st_size, max, path);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            rc = err_errno(e, EXIT_SYSTEM, "cannot map %s", path);
        else
            *m = (struct map){p, (size_t)st.st_size};
    }
    close(fd);
    if (rc == 0 && m->p)
        mapped_add(m->p, m->n, path);
    return rc;
}

void unmap_file(struct map *m) {
    if (m->p) {
        mapped_drop(m->p);
        munmap((void *)(uintptr_t)m->p, m->n);
    }
    *m = (struct map){0};
}

/* A file that is written in large pieces gets large pages in the page cache. The next program that
 * maps it starts faster. */
enum { OUTFILE_BUFFER = 4 << 20 };

static void outfile_free(struct outfile *o) {
    if (o->temp)
        leftover_drop(o->temp);
    free(o->path);
    free(o->temp);
    free(o->buffer);
    *o = (struct outfile){0};
}

int outfile_open(struct outfile *o, const char *path, struct err *e) {
    *o = (struct outfile){.path = xstrdup(path),
                          .temp = xasprintf("%s.%ld.tmp", path, (long)getpid())};
    leftover_hold();
    int fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0)
        leftover_add(o->temp);
    leftover_release();
    if (fd < 0) {
        err_errno(e, EXIT_IO, "cannot write %s", o->temp);
        outfile_free(o);
        return -1;
    }
    o->f = fdopen(fd, "wb");
    if (!o->f) {
        close(fd);
        err_errno(e, EXIT_SYSTEM, "cannot write %s", o->temp);
        outfile_abort(o);
        return -1;
    }
    o->buffer = xmalloc(OUTFILE_BUFFER);
    setvbuf(o->f, o->buffer, _IOFBF, OUTFILE_BUFFER);
    return 0;
}

int outfile_write(struct outfile *o, const void *p, size_t n, struct err *e) {
    if (n && fwrite(p, 1, n, o->f) != n)
        return err_errno(e, EXIT_IO, "cannot write %s", o->temp);
    return 0;
}

int io_sync(int fd) {
    int rc;
    do
        rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    return rc;
}

int outfile_commit(struct outfile *o, struct err *e) {
    int rc = 0;
    if (fflush(o->f) != 0 || io_sync(fileno(o->f)) != 0)
        rc = err_errno(e, EXIT_IO, "cannot write %s", o->temp);
    if (fclose(o->f) != 0 && rc == 0)
        rc = err_errno(e, EXIT_IO, "cannot write %s", o->temp);
    o->f = NULL;
    if (rc == 0)
        leftover_moving(o->path);
    if (rc == 0 && rename(o->temp, o->path) != 0)
        rc = err_errno(e, EXIT_IO, "cannot rename %s to %s", o->temp, o->path);
    if (rc != 0) {
        outfile_abort(o);
        return -1;
    }
    outfile_free(o);
    return 0;
}

void outfile_abort(struct outfile *o) {
    if (o->f)
        fclose(o->f);
    if (o->temp)
        unlink(o->temp);
    outfile_free(o);
}

const char *io_temp_folder(void) {
    const char *tmp = getenv("TMPDIR");
    return tmp && *tmp ? tmp : "/tmp";
}

int io_temp(const char *folder, struct err *e) {
    if (!folder)
        folder = io_temp_folder();
#ifdef O_TMPFILE // no name at any time, so a kill leaves nothing
    int unnamed = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (unnamed >= 0)
        return unnamed;
#endif
    char *path = path_join(folder, ".tokpipe-XXXXXX");
    int fd = mkstemp(path);
    if (fd >= 0)
        unlink(path);
    else
        err_errno(e, EXIT_IO, "cannot make a temporary file: %s", path);
    free(path);
    return fd;
}

const char *file_hint(const void *p, size_t n) {
    static const struct {
        const char *begin, *hint;
    } hints[] = {
        {"version https://git-lfs",
         "a Git LFS pointer, not the file itself: fetch it with git lfs pull"},
        {"GGUF", "a GGUF file: st-convert makes a model folder of it"},
        {"LOGITS\r\n", "logits(5), as llm-forward writes them: llm-sample makes tokens(5) of them"},
        {"# tokens", "tokens(5), as tok-encode writes them: llm-forward makes logits(5) of them"},
        {"VECTOR\r\n", "vectors(5), as llm-embed writes them"},
        {"PK\003\004", "a zip archive, as PyTorch writes: only safetensors files are read"},
        {"<!DOCTYPE", "a page of HTML, not the file itself"},
        {"<html", "a page of HTML, not the file itself"},
    };
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (n >= strlen(hints[i].begin) && memcmp(p, hints[i].begin, strlen(hints[i].begin)) == 0)
            return hints[i].hint;
    return NULL;
}

const char *path_hint(const char *path) {
    char begin[64];
    size_t got = 0;
    struct stat st;
    int fd = open_regular(path, &st, NULL);
    if (fd < 0)
        return NULL;
    bool read_it = read_full(fd, begin, sizeof begin, &got, NULL) == 0;
    close(fd);
    return read_it ? file_hint(begin, got) : NULL;
}

char *dir_find(const char *dir, const char *end) {
    DIR *d = opendir(dir);
    char *found = NULL;
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (str_ends_with(str_of(entry->d_name), end) &&
            (!found || strcmp(entry->d_name, found) < 0)) {
            free(found);
            found = xstrdup(entry->d_name);
        }
    if (d)
        closedir(d);
    return found;
}

bool is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool is_there(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

char *path_join(const char *dir, const char *name) {
    size_t n = strlen(dir);
    return xasprintf(n && dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

char *path_parent(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    return n == 0 ? xstrdup(".") : xasprintf("%.*s", (int)n, path);
}

int flush_out(FILE *out, struct err *e) {
    if (fflush(out) != 0)
        return err_errno(e, EXIT_IO, "cannot write to stdout");
    return ferror(out) ? err_set(e, EXIT_IO, "cannot write to stdout") : 0;
}

void close_stdout(void) {
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0 || failed) {
        struct err e;
        if (errno)
            err_errno(&e, EXIT_IO, "cannot write to stdout");
        else
            err_set(&e, EXIT_IO, "cannot write to stdout");
        die_err(&e);
    }
}

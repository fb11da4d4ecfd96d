/* The reader of documents: see files.h.
 *
 *     reader: open, mandoc -> | head | source | rendering | head ... -> pipe -> doc_files_next
 *
 * Both ends are this program, so a head is a struct. A head with an exit code has a message in
 * place of the source. The last head has `end`. Without it the reader was killed.
 *
 * mandoc gets MANDOC_SECONDS of CPU time for a page, because a page can have an endless loop.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // prctl's constants
#include "docs/files.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "base/io.h"
#include "base/spawn.h"

enum { MANDOC_SECONDS = 5 }; // it renders some 8 MB in a second

struct doc_head {
    bool end;
    int code; // 0: a document follows
    enum doc_format format;
    size_t n_source, n_rendering;
};

struct doc_files {
    char *const *names;
    size_t n, next;
    int fd; // of the pipe
    pid_t reader;
    struct buf source, rendering;
};

/* ---- The reader ---- */

/* Starts mandoc in a folder that is removed already: a page can ask it (.so) for files below the
 * working folder, and they would become text of the page. */
static int start_nowhere(const char *const *argv, int in, int out, pid_t *child, struct err *e) {
    char *folder = path_join(io_temp_folder(), "tokpipe-XXXXXX");
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    sigset_t ends, before;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM); // from the program's end, which must not leave the folder
    sigprocmask(SIG_BLOCK, &ends, &before);
    if (here < 0 || !mkdtemp(folder)) {
        rc = err_errno(e, EXIT_IO, "cannot make a folder for mandoc");
    } else {
        if (chdir(folder) != 0)
            rc = err_errno(e, EXIT_IO, "cannot enter %s", folder);
        rmdir(folder);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        rc = spawn_program(argv, in, out, true, "renders man pages", child, e);
    if (here >= 0 && fchdir(here) != 0 && rc == 0)
        rc = err_errno(e, EXIT_IO, "cannot return to the working folder");
    if (here >= 0)
        close(here);
    free(folder);
    return rc;
}

static int render_page(struct str source, const char *name, struct buf *rendering, struct err *e) {
    static const char *const argv[] = {"mandoc", "-T", "utf8", "-O", "width=200", NULL};
    int temp = io_temp(NULL, e), ends[2];
    pid_t child;
    if (temp < 0)
        return -1;
    int rc = write_full(temp, source.p, source.n, e) != 0 || lseek(temp, 0, SEEK_SET) != 0
                 ? err_set(e, EXIT_IO, "cannot write a temporary file: %s", name)
                 : spawn_pipe(ends, e);
    if (rc != 0) {
        close(temp);
        return -1;
    }
    rc = start_nowhere(argv, temp, ends[1], &child, e);
    close(temp);
    close(ends[1]);
    if (rc != 0) {
        close(ends[0]);
        return err_where(e, "%s", name);
    }
    rc = read_all(ends[0], "mandoc's output", DOC_MAX_BYTES, rendering, e);
    close(ends[0]); // one that still writes ends by SIGPIPE
    // 2 and 3 are warnings and errors of the page: it renders all the same, as man(1) shows it.
    int code = spawn_wait(child);
    if (code == 128 + SIGXCPU)
        rc = err_set(e, EXIT_DATA, "mandoc needs more than %d seconds for the page: %s",
                     MANDOC_SECONDS, name);
    else if (code > 3 && rc == 0)
        rc = err_set(e, EXIT_DATA, "mandoc cannot render the page: %s", name);
    return rc;
}

static int read_document(const char *path, enum doc_format want, struct buf *source,
                         struct buf *rendering, enum doc_format *format, struct err *e) {
    bool is_stdin = strcmp(path, "-") == 0;
    if (read_operand(path, DOC_MAX_BYTES, source, e) != 0)
        return -1;
    const char *name = is_stdin ? "stdin" : path;
    struct str bytes = source->n ? buf_view(source) : str_of("");
    if (bytes.n >= 2 && memcmp(bytes.p, "\x1f\x8b", 2) == 0)
        return err_set(e, EXIT_DATA, "a gzip file: decompress it first: %s", name);
    *format = want == DOC_AUTO ? doc_guess(name, bytes) : want;
    return *format == DOC_MAN ? render_page(bytes, name, rendering, e) : 0;
}

static int send_document(int fd, const struct doc_head *h, const struct buf *source,
                         const struct buf *rendering) {
    if (write_full(fd, h, sizeof *h, NULL) != 0)
        return -1;
    if (h->n_source && write_full(fd, source->p, h->n_source, NULL) != 0)
        return -1;
    return h->n_rendering ? write_full(fd, rendering->p, h->n_rendering, NULL) : 0;
}

static void go_on(int signal) {
    (void)signal;
}

/* The limit is for each process alone. mandoc inherits it, but not the handler, and so ends at it;
 * the reader goes on. */
static void limit_mandoc(void) {
    struct rlimit limit;
    struct sigaction action = {.sa_handler = go_on};
    sigemptyset(&action.sa_mask);
    if (getrlimit(RLIMIT_CPU, &limit) != 0 || limit.rlim_cur <= MANDOC_SECONDS)
        return;
    limit.rlim_cur = MANDOC_SECONDS;
    sigaction(SIGXCPU, &action, NULL);
    setrlimit(RLIMIT_CPU, &limit);
}

NORETURN static void run_reader(int fd, char *const *names, size_t n, enum doc_format want,
                                pid_t program) {
    struct buf source = {0}, rendering = {0};
#if defined(__linux__)
    prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
    if (getppid() != program) // it has ended already
        _exit(EXIT_IO);
    limit_mandoc();
    for (size_t i = 0; i < n; i++) {
        struct err e = {0};
        struct doc_head h = {0};
        buf_clear(&source);
        buf_clear(&rendering);
        if (read_document(names[i], want, &source, &rendering, &h.format, &e) != 0) {
            buf_clear(&source);
            buf_clear(&rendering);
            buf_str(&source, e.msg);
            h.code = e.code;
        }
        h.n_source = source.n;
        h.n_rendering = rendering.n;
        if (send_document(fd, &h, &source, &rendering) != 0)
            _exit(EXIT_IO);
    }
    struct doc_head last = {.end = true};
    _exit(write_full(fd, &last, sizeof last, NULL) != 0 ? EXIT_IO : EXIT_DONE);
}

/* ---- The program ---- */

struct doc_files *doc_files_start(char *const *names, size_t n, enum doc_format format,
                                  struct err *e) {
    int ends[2];
    if (spawn_pipe(ends, e) != 0)
        return NULL;
    const pid_t program = getpid();
    pid_t reader = fork();
    if (reader < 0) {
        err_errno(e, EXIT_SYSTEM, "cannot start a process");
        close(ends[0]);
        close(ends[1]);
        return NULL;
    }
    if (reader == 0) {
        close(ends[0]);
        run_reader(ends[1], names, n, format, program);
    }
    close(ends[1]);
    struct doc_files *f = xcalloc(1, sizeof *f);
    *f = (struct doc_files){.names = names, .n = n, .fd = ends[0], .reader = reader};
    return f;
}

static int read_part(struct doc_files *f, struct buf *b, size_t n, struct err *e) {
    size_t got;
    buf_clear(b);
    buf_reserve(b, n);
    if (read_full(f->fd, b->p, n, &got, e) != 0)
        return -1;
    b->n = got;
    b->p[got] = '\0';
    return got == n ? 0 : err_set(e, EXIT_SYSTEM, "the process that reads files has ended");
}

int doc_files_next(struct doc_files *f, struct doc_file *file, bool *failed, struct err *e) {
    struct doc_head h;
    size_t got;
    *failed = false;
    if (read_full(f->fd, &h, sizeof h, &got, e) != 0)
        return -1;
    if (got < sizeof h)
        return err_set(e, EXIT_SYSTEM, "the process that reads files has ended");
    if (h.end)
        return 0;
    if (read_part(f, &f->source, h.n_source, e) != 0 ||
        read_part(f, &f->rendering, h.n_rendering, e) != 0)
        return -1;
    const char *name = f->names[f->next++];
    if (h.code) {
        *failed = true;
        return err_set(e, h.code, "%s", f->source.p);
    }
    *file = (struct doc_file){.name = strcmp(name, "-") == 0 ? "stdin" : name,
                              .format = h.format,
                              .source = buf_view(&f->source),
                              .rendering = buf_view(&f->rendering)};
    return 1;
}

void doc_files_free(struct doc_files *f) {
    if (!f)
        return;
    close(f->fd);
    spawn_wait(f->reader);
    buf_free(&f->source);
    buf_free(&f->rendering);
    free(f);
}

/* Errors and messages: see err.h. The program's name and the quiet flag are the only state; both
 * are set once, before any thread starts.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "base/visible.h"

static const char *program = "tokpipe";
static int quiet_warnings;

/* Appends to msg[used ..], of sizeof e->msg bytes. A message has a stranger's names in it, so it is
 * escaped here: it stays one line wherever it goes. */
static size_t append(struct err *e, size_t used, const char *fmt, va_list ap) {
    char text[sizeof e->msg];
    vsnprintf(text, sizeof text, fmt, ap);
    return used + visible_copy(e->msg + used, sizeof e->msg - used, str_of(text), VISIBLE_LINE);
}

static int err_vset(struct err *e, int code, const char *fmt, va_list ap, int errnum) {
    if (!e)
        return -1;
    e->code = code;
    size_t used = append(e, 0, fmt, ap);
    if (errnum)
        snprintf(e->msg + used, sizeof e->msg - used, ": %s", strerror(errnum));
    return -1;
}

int err_set(struct err *e, int code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap, 0);
    va_end(ap);
    return -1;
}

int err_errno(struct err *e, int code, const char *fmt, ...) {
    int errnum = errno;
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap, errnum);
    va_end(ap);
    return -1;
}

int err_where(struct err *e, const char *fmt, ...) {
    if (!e)
        return -1;
    size_t used = strlen(e->msg);
    if (used + 3 > sizeof e->msg)
        return -1;
    memcpy(e->msg + used, ": ", 3);
    va_list ap;
    va_start(ap, fmt);
    append(e, used + 2, fmt, ap);
    va_end(ap);
    return -1;
}

/* The next file that is opened would take a closed 0, 1 or 2, and would then be read or written as
 * a standard stream. So they are opened in the mode in which that use fails, as on a closed one. */
static void hold_standard_fds(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            exit(EXIT_SYSTEM);
}

void program_init(const char *argv0) {
    hold_standard_fds();
    thread_init();
    const char *slash = strrchr(argv0, '/');
    program = slash ? slash + 1 : argv0;
}

const char *program_name(void) {
    return program;
}

/* The whole line in one write, so that lines of several stages do not mix. Control characters of
 * hostile names (newlines and terminal escapes above all) are escaped. */
static void print_line(const char *fmt, va_list ap) {
    enum { TEXT = 2048, LONGEST_ESCAPE = 6 };
    char text[TEXT], line[LONGEST_ESCAPE * TEXT];
    int n = snprintf(text, sizeof text, "%s: ", program);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used > sizeof text / 2)
        used = sizeof text / 2;
    vsnprintf(text + used, sizeof text - used, fmt, ap);
    size_t len = visible_copy(line, sizeof line - 1, str_of(text), VISIBLE_LINE);
    line[len] = '\n';
    fwrite(line, 1, len + 1, stderr);
    fflush(stderr);
}

void warn(const char *fmt, ...) {
    if (quiet_warnings)
        return;
    va_list ap;
    va_start(ap, fmt);
    print_line(fmt, ap);
    va_end(ap);
}

void warn_lines(const char *text) {
    for (const char *end; text && *text; text = end + (*end == '\n')) {
        end = text + strcspn(text, "\n");
        warn("%.*s", (int)(end - text), text);
    }
}

void print_note(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    print_line(fmt, ap);
    va_end(ap);
}

void warn_quiet(int quiet) {
    quiet_warnings = quiet;
}

void warn_err(const struct err *e) {
    warn("%s", e->msg);
}

void die(int code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    print_line(fmt, ap);
    va_end(ap);
    exit(code);
}

void die_err(const struct err *e) {
    die(e->code ? e->code : EXIT_BUG, "%s", e->msg);
}

void die_usage(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    print_line(fmt, ap);
    va_end(ap);
    fprintf(stderr, "Try '%s --help'.\n", program);
    exit(EXIT_USAGE);
}

/* Errors: library code fills a struct err and returns -1; programs print it and exit with its code.
 *
 * A message reads "what went wrong: where", without the program's name, which warn and die add. It
 * is one line: control characters of a stranger's names are escaped (visible.h).
 * Codes are those of sysexits.h, under our own names so that C11 + POSIX is enough.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

enum exit_code {
    EXIT_DONE = 0,
    EXIT_SOME_FAILED = 1, // some record failed, or a check did not hold
    EXIT_USAGE = 2,
    EXIT_DATA = 65,     // bad data
    EXIT_NO_INPUT = 66, // no such input
    EXIT_BUG = 70,      // an error in the program
    EXIT_SYSTEM = 71,   // the system refused (memory, threads, sockets)
    EXIT_IO = 74,       // reading or writing failed
};

struct err {
    int code; // enum exit_code; 0 while nothing has failed
    char msg[1024];
};

#if defined(__GNUC__)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN               __attribute__((noreturn))
#else
#define PRINTF_LIKE(fmt, args)
#define NORETURN
#endif

/* Sets code and message; always returns -1, so that `return err_set(...)` reads well. e may be
 * NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As err_set, with ": strerror(errno)" after the message. */
int err_errno(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Appends more of "where" to the message ("msg: where"); returns -1. */
int err_where(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The first call of main. argv0, a name or a path, gives the program's name in messages; the
 * pointer is not copied. Closed standard descriptors are opened, so that no file takes their
 * numbers. */
void program_init(const char *argv0);
const char *program_name(void);

/* One line "program: message" on stderr. warn_quiet(true) silences warn (option -q), never die. */
void warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void warn_lines(const char *text); // one warning for each line; NULL: none
void warn_quiet(int quiet);
void warn_err(const struct err *e);

/* The same line, which warn_quiet does not silence: what option -v asks for. */
void print_note(const char *fmt, ...) PRINTF_LIKE(1, 2);

NORETURN void die(int code, const char *fmt, ...) PRINTF_LIKE(2, 3);
NORETURN void die_err(const struct err *e);

/* "program: message", a line that names --help, exit 2. */
NORETURN void die_usage(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif

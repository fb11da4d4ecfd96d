/* Shows text of strangers to people: control characters are escaped, so that no terminal acts on
 * them and no line can be forged.
 *
 * C0, DEL and C1 become \n, \t, \r or \uXXXX, and a byte that is not UTF-8 becomes \xXX. A
 * backslash stays as it is: the text is for people, and JSON stays JSON. Messages are always shown
 * this way (err.h), and what goes to stdout only where that is a terminal.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_VISIBLE_H
#define BASE_VISIBLE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/mem.h"

enum visible {
    VISIBLE_LINE, // every control character is escaped
    VISIBLE_TEXT, // newlines and tabs stay
};

/* Copies text to out, [room] bytes with the NUL, and stops before what does not fit. Returns how
 * many bytes it wrote, without the NUL. */
size_t visible_copy(char *out, size_t room, struct str text, enum visible how);

/* Appends the text to out. */
void visible_add(struct buf *out, struct str text, enum visible how);

/* Whether f is a terminal. */
bool visible_terminal(FILE *f);

/* Writes the text to f, as VISIBLE_TEXT where `terminal` is set, else as it is. */
void visible_write(FILE *f, struct str text, bool terminal);

/* For a program that prints with stdio: a stream for output to f. It is f itself, or where f is a
 * terminal a buffer. visible_end writes that to f as VISIBLE_TEXT. */
struct visible_out {
    FILE *f; // print here
    FILE *to;
    char *text;
    size_t n;
};
void visible_begin(struct visible_out *v, FILE *f);
void visible_end(struct visible_out *v);

#endif

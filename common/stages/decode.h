/* The body of tok-decode: tokens(5) to text.
 *
 * Text is written as soon as no later id can change it, and never a part of a character. Ids of
 * another tokenizer are refused if the stream names its tokenizer.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_DECODE_H
#define STAGES_DECODE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "tokens/tokenizer.h"

enum decode_form {
    DECODE_TEXT,   // texts as they are, with a newline between two
    DECODE_LINES,  // a line each; newlines in a text become spaces
    DECODE_NUL,    // a NUL byte after each; NUL bytes in a text become spaces
    DECODE_JSON,   // a JSON object a line, with the sequence's attributes
    DECODE_PIECES, // a token a line: its id and its bytes, escaped
};

struct decode_job {
    enum decode_form form;
    bool special;   // special tokens stay in the text
    bool continues; // each sequence continues a text: keep the space before its first word
    bool colour;    // DECODE_PIECES: special tokens are bold, for a terminal
};

/* Reads tokens(5) from fd; name is the input's, for messages. Returns EXIT_DONE; or
 * EXIT_SOME_FAILED if the input says that a sequence has failed, which is warned about; or -1 with
 * e set: EXIT_DATA for bad input, EXIT_IO. */
int stage_decode(const struct decode_job *o, const struct tokenizer *t, int fd, const char *name,
                 FILE *out, struct err *e);

#endif

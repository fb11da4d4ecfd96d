/* The tokens of a template: {{ x + 1 }} is T_VARIABLE_BEGIN, T_NAME, T_ADD, T_INTEGER,
 * T_VARIABLE_END.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_LEX_H
#define JINJA_LEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum jtoken_type {
    T_EOF,
    T_DATA, // text
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VARIABLE_BEGIN,
    T_VARIABLE_END,
    T_NAME,    // text
    T_STRING,  // text, without escapes
    T_INTEGER, // i
    T_FLOAT,   // f
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_IN,     // made by the parser
    T_NOT_IN, // made by the parser
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
    T_LPAREN,
    T_RPAREN,
    T_LBRACKET,
    T_RBRACKET,
    T_LBRACE,
    T_RBRACE,
};

struct jtoken {
    enum jtoken_type type;
    int line;
    struct str text;
    int64_t i;
    double f;
};

/* Splits source into tokens; the last is T_EOF. source has \n as newlines and none at its end, and
 * must outlive the tokens. The caller frees the array; unescaped strings are in the arena. Returns
 * -1 with e set, without a place; *line is then the line. */
int jinja_lex(struct str source, struct arena *arena, struct jtoken **tokens, int *line,
              struct err *e);

/* Returns the name for messages: "'%}'", "a name". */
const char *jinja_token_name(enum jtoken_type type);

#endif

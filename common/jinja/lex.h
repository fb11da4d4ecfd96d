/* Tokens of a template.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_LEX_H
#define JINJA_LEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum token_type {
    T_EOF,
    T_DATA, // text
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VARIABLE_BEGIN,
    T_VARIABLE_END,
    T_NAME,    // text
    T_STRING,  // text, unescaped
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
    T_IN,     // of operands only
    T_NOT_IN, // of operands only
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

struct token {
    enum token_type type;
    int line;
    struct str text;
    int64_t i;
    double f;
};

/* Splits source (newlines are \n, no newline at the end; it must outlive the tokens) into tokens,
 * the last T_EOF. The array is the caller's to free; unescaped strings live in the arena. -1 with e
 * set, without a place. */
int jinja_lex(struct str source, struct arena *arena, struct token **tokens, int *line,
              struct err *e);

/* As in messages: "'%}'", "a name". */
const char *jinja_token_name(enum token_type type);

#endif

/* One rendering: its limits, its errors and its variables. See run.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/run.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "jinja/jinja.h"

struct jvalue jinja_fail(struct jinja *in, const char *fmt, ...) {
    if (!in->failed) {
        char msg[800];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(msg, sizeof msg, fmt, ap);
        va_end(ap);
        err_set(&in->err, EXIT_DATA, "%s: %s: line %d", msg, in->t->name, in->line);
    }
    in->failed = true;
    return (struct jvalue){.kind = V_NONE};
}

struct jvalue jinja_undefined(struct jinja *in, struct jvalue v) {
    const struct jundef *u = v.undef;
    struct buf b = {0};
    if (strncmp(u->message, "SecurityError: ", 15) != 0)
        buf_str(&b, "UndefinedError: ");
    for (const char *p = u->message; *p; p++)
        if (*p == '@')
            buf_str(&b, u->type);
        else if (*p == '#')
            buf_add(&b, u->name.p, u->name.n > 200 ? 200 : u->name.n);
        else
            buf_byte(&b, *p);
    jinja_fail(in, "%s", b.p);
    buf_free(&b);
    return jv_none();
}

bool jinja_room(struct jinja *in, size_t n) {
    if (n <= in->max_memory && in->memory <= in->max_memory - n)
        return true;
    jinja_fail(in, "the template takes more than %zu bytes of memory (see --template-memory)",
               in->max_memory);
    return false;
}

void *jinja_alloc(struct jinja *in, size_t n) {
    jinja_room(in, n);
    in->memory += n;
    return arena_alloc(&in->arena, n);
}

bool jinja_steps(struct jinja *in, size_t n) {
    in->steps += n;
    if (in->steps > in->max_steps)
        jinja_fail(in, "the template takes more than %llu steps (see --template-steps)",
                   (unsigned long long)in->max_steps);
    return !in->failed;
}

bool jinja_deeper(struct jinja *in) {
    if (in->depth >= JINJA_MAX_DEPTH) {
        jinja_fail(in, "RecursionError: the template nests deeper than %d", JINJA_MAX_DEPTH);
        return false;
    }
    if (thread_stack_is_low()) {
        jinja_fail(in, "RecursionError: the template nests deeper than the stack allows: %d",
                   in->depth);
        return false;
    }
    in->depth++;
    return !in->failed || (in->depth--, false);
}

struct jinja *jinja_begin(const struct jinja_template *t, const struct jinja_limits *limits) {
    struct jinja *in = xcalloc(1, sizeof *in);
    in->t = t;
    in->max_memory = limits && limits->memory ? limits->memory : JINJA_DEFAULT_MEMORY;
    in->max_steps = limits && limits->steps ? limits->steps : JINJA_DEFAULT_STEPS;
    in->line = 1;
    if (sodium_init() < 0)
        die(EXIT_SYSTEM, "libsodium cannot start");
    randombytes_buf(in->hash_key, sizeof in->hash_key);
    struct jenv *built_in = jinja_scope(in, NULL);
    in->root = jinja_scope(in, built_in);
    for (const struct jfunction *f = jinja_functions; f->name; f++) {
        uint32_t sym = jinja_find_sym(t, str_of(f->name));
        if (sym != UINT32_MAX)
            jinja_bind_name(in, built_in, sym, (struct jvalue){.kind = V_FUNCTION, .function = f});
    }
    return in;
}

void jinja_end(struct jinja *in) {
    if (in)
        arena_free(&in->arena);
    free(in);
}

void jinja_set_str(struct jinja *in, struct str name, struct jvalue v) {
    uint32_t sym = jinja_find_sym(in->t, name);
    if (sym != UINT32_MAX)
        jinja_bind_name(in, in->root, sym, v);
}

void jinja_set(struct jinja *in, const char *name, struct jvalue v) {
    jinja_set_str(in, str_of(name), v);
}

int jinja_render(struct jinja *in, struct buf *text, struct buf *trust, struct err *e) {
    struct jbuild out;
    jb_init(&out, in, 4096);
    in->out = &out;
    jinja_exec(in, in->root, in->t->root);
    if (in->failed) {
        if (e)
            *e = in->err;
        return -1;
    }
    buf_add(text, out.p, out.n);
    if (trust && out.mask) {
        buf_add(trust, out.mask, out.n);
    } else if (trust) {
        buf_reserve(trust, out.n);
        memset(trust->p + trust->n, out.trust == TRUST_ALL, out.n);
        trust->n += out.n;
    }
    return 0;
}

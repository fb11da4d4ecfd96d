/* Control messages: see control.h.
 *
 *     0   8  magic        8   4  type
 *     12     ASK: flags, batch, context (4 each), dev, ino (8 each), list, address, nonce, and the
 *            texts device, layers, in_name
 *     12     WARN, NOTE: a text. END: code, left (4 each), and a text
 *
 * A text is its length (4 bytes) and its bytes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/control.h"

#include <inttypes.h>

#include "wire/bytes.h"

static const char magic[8] = {'L', 'L', 'M', '-', 'C', 'T', 'L', '1'};

enum { HEAD_BYTES = 12 };

/* ---- Writing ---- */

static void add_u32(struct buf *out, uint32_t v) {
    uint8_t bytes[4];
    put_u32(bytes, v);
    buf_add(out, bytes, sizeof bytes);
}

static void add_u64(struct buf *out, uint64_t v) {
    uint8_t bytes[8];
    put_u64(bytes, v);
    buf_add(out, bytes, sizeof bytes);
}

static void add_text(struct buf *out, struct str s) {
    size_t n = s.n < CONTROL_MAX_TEXT ? s.n : CONTROL_MAX_TEXT;
    add_u32(out, (uint32_t)n);
    if (n)
        buf_add(out, s.p, n);
}

static void add_ask(struct buf *out, const struct control *c) {
    add_u32(out, c->flags);
    add_u32(out, c->batch);
    add_u32(out, c->context);
    add_u64(out, c->model_dev);
    add_u64(out, c->model_ino);
    buf_add(out, c->list, sizeof c->list);
    buf_add(out, c->address, sizeof c->address);
    buf_add(out, c->nonce, sizeof c->nonce);
    add_text(out, c->device);
    add_text(out, c->layers);
    add_text(out, c->in_name);
}

int control_put(struct buf *out, const struct control *c, struct err *e) {
    if (c->layers.n > CONTROL_MAX_TEXT)
        return err_set(e, EXIT_USAGE, "--hidden: a list of %zu bytes, more than %d", c->layers.n,
                       (int)CONTROL_MAX_TEXT);
    buf_add(out, magic, sizeof magic);
    add_u32(out, c->type);
    if (c->type == CONTROL_ASK)
        add_ask(out, c);
    if (c->type == CONTROL_END) {
        add_u32(out, c->code);
        add_u32(out, c->left);
    }
    if (c->type >= CONTROL_WARN)
        add_text(out, c->text);
    return 0;
}

/* ---- Reading ---- */

/* What is left of a message. ok becomes false where a field does not fit. */
struct rest {
    const uint8_t *p;
    size_t n;
    bool ok;
};

static const uint8_t *next_bytes(struct rest *r, size_t n) {
    static const uint8_t zeros[LOGITS_ADDRESS_BYTES];
    if (!r->ok || r->n < n) {
        r->ok = false;
        return zeros; // at least as many as any fixed field has
    }
    r->p += n;
    r->n -= n;
    return r->p - n;
}

static uint32_t next_u32(struct rest *r) {
    return get_u32(next_bytes(r, 4));
}

static uint64_t next_u64(struct rest *r) {
    return get_u64(next_bytes(r, 8));
}

static void next_copy(struct rest *r, void *to, size_t n) {
    memcpy(to, next_bytes(r, n), n);
}

static struct str next_text(struct rest *r) {
    uint32_t n = next_u32(r);
    if (!r->ok || n > CONTROL_MAX_TEXT || n > r->n || (n && memchr(r->p, 0, n))) {
        r->ok = false;
        return (struct str){"", 0};
    }
    return (struct str){(const char *)next_bytes(r, n), n};
}

static void next_ask(struct rest *r, struct control *c) {
    c->flags = next_u32(r);
    c->batch = next_u32(r);
    c->context = next_u32(r);
    c->model_dev = next_u64(r);
    c->model_ino = next_u64(r);
    next_copy(r, c->list, sizeof c->list);
    next_copy(r, c->address, sizeof c->address);
    next_copy(r, c->nonce, sizeof c->nonce);
    c->device = next_text(r);
    c->layers = next_text(r);
    c->in_name = next_text(r);
}

static int check_ask(const struct control *c, struct err *e) {
    if (c->flags & ~(uint32_t)CONTROL_ALL_FLAGS)
        return err_set(e, EXIT_DATA, "control message: unknown flags %#" PRIx32, c->flags);
    if (c->batch == 0)
        return err_set(e, EXIT_DATA, "control message: no sequence in flight");
    if (c->context > LOGITS_MAX_CONTEXT)
        return err_set(e, EXIT_DATA, "control message: a context of %" PRIu32, c->context);
    if (!memchr(c->address, 0, sizeof c->address) ||
        (c->address[0] != '\0' && !(c->flags & CONTROL_RETURN)))
        return err_set(e, EXIT_DATA, "control message: a bad address of the return path");
    return 0;
}

int control_get(struct control *c, const uint8_t *p, size_t n, struct err *e) {
    struct rest r = {p, n, true};
    *c = (struct control){0};
    if (n < HEAD_BYTES || memcmp(next_bytes(&r, sizeof magic), magic, sizeof magic) != 0)
        return err_set(e, EXIT_DATA, "not a control message of this version");
    uint32_t type = next_u32(&r);
    bool has_text = type >= CONTROL_WARN && type <= CONTROL_END;
    if (!has_text && (type < CONTROL_ASK || type > CONTROL_DECLINED))
        return err_set(e, EXIT_DATA, "control message: unknown type %" PRIu32, type);
    c->type = (enum control_type)type;
    if (type == CONTROL_ASK)
        next_ask(&r, c);
    if (type == CONTROL_END) {
        c->code = next_u32(&r);
        c->left = next_u32(&r) != 0;
    }
    if (has_text)
        c->text = next_text(&r);
    if (!r.ok || r.n > 0)
        return err_set(e, EXIT_DATA, "control message: a field does not fit into its %zu bytes", n);
    return type == CONTROL_ASK ? check_ask(c, e) : 0;
}

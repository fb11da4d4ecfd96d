/* The bytes of a request on the return path: a header of 32 bytes, then its ids. See logits(5).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "wire/bytes.h"
#include "wire/return_private.h"

enum {
    R_TYPE = 0,
    R_SEQ = 4,
    R_POS = 8,
    R_WANT = 12,
    R_FROM = 16,
    R_IDS = 20,
    R_RESERVED = 24,
};

static const char tags[][5] = {"", "EXTD", "FORK", "CLOS"}; // by enum request_type

/* 0 where no type has this tag. */
static enum request_type type_of(const uint8_t *p) {
    for (int type = REQUEST_EXTEND; type <= REQUEST_CLOSE; type++)
        if (memcmp(p + R_TYPE, tags[type], 4) == 0)
            return (enum request_type)type;
    return 0;
}

int return_message_check(const uint8_t *p, size_t *size, struct err *e) {
    enum request_type type = type_of(p);
    uint32_t n_ids = get_u32(p + R_IDS), want = get_u32(p + R_WANT);
    if (!type)
        return err_set(e, EXIT_DATA, "return path: unknown request type");
    if (n_ids > (type == REQUEST_EXTEND ? RETURN_MAX_IDS : 0))
        return err_set(e, EXIT_DATA, "return path: a request has %" PRIu32 " ids", n_ids);
    if (want > n_ids)
        return err_set(e, EXIT_DATA, "return path: a request wants %" PRIu32 " of %" PRIu32 " rows",
                       want, n_ids);
    if (get_u64(p + R_RESERVED) != 0)
        return err_set(e, EXIT_DATA, "return path: a request's reserved bytes are not zero");
    *size = RETURN_MESSAGE_HEADER + n_ids * sizeof(uint32_t);
    return 0;
}

size_t return_message_get(const uint8_t *p, struct request *r) {
    *r = (struct request){
        .type = type_of(p),
        .seq = get_u32(p + R_SEQ),
        .pos = get_u32(p + R_POS),
        .want = get_u32(p + R_WANT),
        .from = get_u32(p + R_FROM),
        .ids = (const uint32_t *)(const void *)(p + RETURN_MESSAGE_HEADER),
        .n_ids = get_u32(p + R_IDS),
    };
    return RETURN_MESSAGE_HEADER + r->n_ids * sizeof *r->ids;
}

int return_message_put(struct buf *out, const struct request *r, struct err *e) {
    uint8_t head[RETURN_MESSAGE_HEADER] = {0};
    if (r->type < REQUEST_EXTEND || r->type > REQUEST_CLOSE || r->n_ids > RETURN_MAX_IDS)
        return err_set(e, EXIT_BUG, "return path: request of type %d with %" PRIu32 " ids",
                       (int)r->type, r->n_ids);
    memcpy(head + R_TYPE, tags[r->type], 4);
    put_u32(head + R_SEQ, r->seq);
    put_u32(head + R_POS, r->pos);
    put_u32(head + R_WANT, r->want);
    put_u32(head + R_FROM, r->from);
    put_u32(head + R_IDS, r->n_ids);
    buf_add(out, head, sizeof head);
    buf_add(out, r->ids, r->n_ids * sizeof *r->ids);
    return 0;
}

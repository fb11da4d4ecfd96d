/* Uploads through two pinned buffers: see driver.h.
 *
 * Pieces are stored one after the other in a buffer until it is full. Then the other buffer is
 * filled, as soon as the device has read its old contents.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "backend/cuda/private.h"

static const size_t stage_bytes = (size_t)32 << 20;

void cu_stages_free(struct cu *c) {
    for (size_t i = 0; i < CU_STAGES; i++) {
        if (c->stages[i].event)
            (void)c->api.cuEventDestroy(c->stages[i].event);
        if (c->stages[i].p)
            (void)c->api.cuMemFreeHost(c->stages[i].p);
        c->stages[i] = (struct cu_stage){0};
    }
    c->stage = c->staged = 0;
}

static int begin_stages(struct cu *c, struct err *e) {
    if (c->stages[CU_STAGES - 1].event)
        return 0;
    for (size_t i = 0; i < CU_STAGES; i++) {
        struct cu_stage *s = &c->stages[i];
        void *p = s->p;
        if (!p && cu_pinned_alloc(c, stage_bytes, "reading weights", &p, e) != 0)
            return -1;
        s->p = p;
        int r = s->event ? API_SUCCESS : c->api.cuEventCreate(&s->event, API_EVENT_DISABLE_TIMING);
        if (r != API_SUCCESS) {
            s->event = NULL;
            return cu_api_fail(&c->api, r, e, "the buffers of an upload");
        }
    }
    return 0;
}

/* *out: *room unused bytes of a buffer, at least `least`; least <= stage_bytes. */
static int stage_room(struct cu *c, size_t least, unsigned char **out, size_t *room,
                      struct err *e) {
    if (cu_kept(c, e) != 0 || begin_stages(c, e) != 0)
        return -1;
    if (stage_bytes - c->staged < least) {
        int r = c->api.cuEventRecord(c->stages[c->stage].event, c->stream);
        c->stage = (c->stage + 1) % CU_STAGES;
        c->staged = 0;
        // The event of a buffer that nothing was copied from yet has not been recorded, and is
        // done.
        if (r == API_SUCCESS)
            r = c->api.cuEventSynchronize(c->stages[c->stage].event);
        if (r != API_SUCCESS)
            return cu_api_fail(&c->api, r, e, "uploading");
    }
    *out = c->stages[c->stage].p + c->staged;
    *room = stage_bytes - c->staged;
    return 0;
}

/* Sends n bytes from the place that stage_room returned. */
static int stage_send(struct cu *c, void *dst, size_t n, struct err *e) {
    enum { ALIGN = 64 };
    unsigned char *p = c->stages[c->stage].p + c->staged;
    c->staged = n + ALIGN < stage_bytes - c->staged ? c->staged + (n + ALIGN - 1) / ALIGN * ALIGN
                                                    : stage_bytes;
    int r = c->api.cuMemcpyHtoDAsync(cu_address(dst), p, n, c->stream);
    return r == API_SUCCESS ? 0 : cu_api_fail(&c->api, r, e, "uploading %.1f MB", cu_megabytes(n));
}

int cu_upload(struct cu *c, void *dst, const void *src, size_t bytes, struct err *e) {
    unsigned char *to = dst, *p = NULL;
    const unsigned char *from = src;
    for (size_t n, room = 0; bytes > 0; to += n, from += n, bytes -= n) {
        if (stage_room(c, 1, &p, &room, e) != 0)
            return -1;
        n = bytes < room ? bytes : room;
        memcpy(p, from, n);
        if (stage_send(c, to, n, e) != 0)
            return -1;
    }
    return 0;
}

/* For rows that are larger than a buffer. */
static int upload_long_rows(struct cu *c, void *dst, size_t dst_pitch, const void *src,
                            size_t src_pitch, size_t width, size_t n_rows, struct err *e) {
    unsigned char *to = dst;
    const unsigned char *from = src;
    for (size_t i = 0; i < n_rows; i++, to += dst_pitch, from += src_pitch) {
        if (cu_upload(c, to, from, width, e) != 0)
            return -1;
        cu_fill(c, to + width, dst_pitch - width, 0);
    }
    return cu_kept(c, e);
}

int cu_upload_rows(struct cu *c, void *dst, size_t dst_pitch, const void *src, size_t src_pitch,
                   size_t width, size_t n_rows, struct err *e) {
    if (dst_pitch == width && src_pitch == width)
        return cu_upload(c, dst, src, width * n_rows, e);
    if (dst_pitch > stage_bytes)
        return upload_long_rows(c, dst, dst_pitch, src, src_pitch, width, n_rows, e);
    unsigned char *to = dst, *p = NULL;
    const unsigned char *from = src;
    for (size_t n, room = 0; n_rows > 0 && dst_pitch > 0; n_rows -= n, to += n * dst_pitch) {
        if (stage_room(c, dst_pitch, &p, &room, e) != 0)
            return -1;
        n = n_rows < room / dst_pitch ? n_rows : room / dst_pitch;
        for (size_t i = 0; i < n; i++, p += dst_pitch, from += src_pitch) {
            memcpy(p, from, width);
            memset(p + width, 0, dst_pitch - width);
        }
        if (stage_send(c, to, n * dst_pitch, e) != 0)
            return -1;
    }
    return 0;
}

int cu_upload_end(struct cu *c, struct err *e) {
    int r = cu_sync(c, e);
    cu_stages_free(c);
    return r;
}

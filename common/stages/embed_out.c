/* What llm-embed writes: see embed_out.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embed_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/visible.h"
#include "chat/record.h"

static bool is_binary(const struct embed_out *o) {
    return !o->form.json && !o->form.npy;
}

int embed_out_begin(struct embed_out *o, const struct embed_form *form,
                    const struct vectors_header *header, FILE *out, struct err *e) {
    *o = (struct embed_out){
        .form = *form, .header = *header, .out = out, .terminal = visible_terminal(out)};
    o->packed = xcalloc(header->dim, sizeof(float));
    o->no_row = xcalloc(header->dim, sizeof *o->no_row);
    for (size_t i = 0; i < header->dim; i++)
        o->no_row[i] = NAN;
    return is_binary(o) ? vectors_write_header(out, header, e) : 0;
}

void embed_out_end(struct embed_out *o) {
    if (is_binary(o))
        vectors_write_end(o->out, o->n_written);
}

void embed_out_free(struct embed_out *o) {
    progress_end(&o->progress);
    free(o->packed);
    free(o->no_row);
    buf_free(&o->line);
}

static void write_json(struct embed_out *o, const struct embed_record *r, const float *vector) {
    struct buf *line = &o->line;
    buf_clear(line);
    buf_byte(line, '{');
    record_write_own(line, r->attrs, r->failed ? "error" : "embedding");
    if (r->failed)
        json_write_str(line, r->reason);
    for (size_t i = 0; !r->failed && i < o->header.dim; i++) {
        buf_str(line, i == 0 ? "[" : ", ");
        json_write_f64(line, (double)vector[i]);
    }
    buf_str(line, r->failed ? "" : "]");
    record_write_attrs(line, r->attrs);
    buf_str(line, "}\n");
    // The first member has no comma before it.
    if (line->n > 2 && line->p[1] == ',')
        memmove(line->p + 1, line->p + 3, line->n -= 2);
    visible_write(o->out, buf_view(line), o->terminal);
}

static int write_npy(struct embed_out *o, const struct embed_record *r, const float *vector,
                     struct err *e) {
    struct npy *npy = o->form.npy;
    return npy_rows(npy, (uint32_t)r->number, r->failed ? o->no_row : vector, 1, e) != 0 ||
                   npy_end(npy, (uint32_t)r->number, e) != 0
               ? -1
               : 0;
}

int embed_out_record(void *ctx, const struct embed_record *r, const float *vector, struct err *e) {
    struct embed_out *o = ctx;
    struct vectors_record v = {.type = r->failed ? VECTORS_FAILED : VECTORS_VALUES,
                               .id = r->number,
                               .n_tokens = (uint32_t)r->n_tokens,
                               .values = o->packed,
                               .attrs = r->attrs,
                               .reason = r->reason};
    if (r->failed)
        o->status = EXIT_SOME_FAILED;
    progress_add(&o->progress, 1);
    if (r->failed && !r->said) {
        progress_clear(&o->progress);
        warn("sequence %" PRIu64 ": %.*s", r->number, (int)r->reason.n, r->reason.p);
    }
    o->n_written++;
    if (o->form.npy)
        return write_npy(o, r, vector, e);
    if (o->form.json) {
        write_json(o, r, vector);
        return 0;
    }
    if (!r->failed)
        vectors_pack(&o->header, vector, o->packed, &v.scale);
    return vectors_write(o->out, &o->header, &v, e);
}

/* The list of decoders, its loader and its run: see dec.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/dec.h"

#include <stdlib.h>

#include "tokens/component.h"
#include "unicode/regex.h"

/* Replace may make a MiB for a sequence, and 64 bytes more for each byte of its tokens. No honest
 * decoder needs that, and a stranger's tokenizer.json must not take all memory. */
enum { DEC_ROOM = 1 << 20, DEC_GROWTH = 64 };

static const struct dec_kind *const kinds[] = {
    &dec_byte_level, &dec_byte_fallback, &dec_fuse, &dec_strip, &dec_replace,
    &dec_metaspace,  &dec_wordpiece,     &dec_bpe,  &dec_ctc,
};

static void add(struct decs *d, const struct dec_kind *kind, void *data) {
    d->stages = xreallocarray(d->stages, d->n + 1, sizeof *d->stages);
    d->stages[d->n++] = (struct dec){kind, data};
}

void decs_default(struct decs *d) {
    add(d, &dec_join, NULL);
}

static void load_one(struct decs *d, struct json *j);

static void load_sequence(struct decs *d, struct json *j) {
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "decoders")) {
            found = true;
            json_enter_array(j);
            while (json_item(j))
                load_one(d, j);
        } else {
            json_skip(j);
        }
    component_need(j, found, "Sequence", "decoders");
}

static void load_one(struct decs *d, struct json *j) {
    struct str type = component_type(j);
    component_limit(j, d->n);
    if (str_eq(type, "Sequence")) {
        load_sequence(d, j);
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_eq(type, kinds[i]->type)) {
            add(d, kinds[i], kinds[i]->load ? kinds[i]->load(j) : (json_skip(j), NULL));
            return;
        }
    json_refuse(j, "unknown decoder \"%.*s\"", (int)type.n, type.p);
}

void decs_load(struct decs *d, struct json *j) {
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
        decs_default(d);
    } else {
        load_one(d, j);
    }
}

void decs_free(struct decs *d) {
    for (size_t i = 0; i < d->n; i++)
        if (d->stages[i].kind->unload)
            d->stages[i].kind->unload(d->stages[i].data);
    free(d->stages);
}

void dec_begin(struct dec_run *run, const struct decs *d) {
    *run = (struct dec_run){
        .decs = d, .states = xcalloc(d->n, sizeof *run->states), .regex = regex_work_new()};
    dec_reset(run, false);
}

void dec_reset(struct dec_run *run, bool continues) {
    regex_work_begin(run->regex, 0);
    run->room = DEC_ROOM;
    run->failed = (struct err){0};
    for (size_t i = 0; i < run->decs->n; i++) {
        struct dec_state *s = &run->states[i];
        s->count = continues;
        s->own = 0;
        s->inside = false;
        s->continues = continues;
        buf_clear(&s->bytes);
        buf_clear(&s->whole);
    }
}

/* Passes a token or a part of one to stage i, or to the output after the last stage. */
static void give(struct dec_run *run, size_t i, struct str token, bool more) {
    if (i == run->decs->n) {
        buf_add(run->out, token.p, token.n);
        return;
    }
    const struct dec *stage = &run->decs->stages[i];
    struct dec_state *s = &run->states[i];
    if (!stage->kind->parts && (more || s->inside)) {
        buf_add(&s->whole, token.p, token.n);
        s->inside = more;
        if (more)
            return;
        stage->kind->token(stage->data, run, i, buf_view(&s->whole), false);
        buf_clear(&s->whole);
        s->count++;
        return;
    }
    stage->kind->token(stage->data, run, i, token, more);
    s->inside = more;
    if (!more)
        s->count++;
}

void dec_next(struct dec_run *run, size_t stage, struct str token, bool more) {
    give(run, stage + 1, token, more);
}

int dec_token(struct dec_run *run, struct str token) {
    regex_work_add(run->regex, token.n);
    run->room += DEC_GROWTH * token.n;
    give(run, 0, token, false);
    return run->failed.code ? -1 : 0;
}

int dec_end(struct dec_run *run) {
    for (size_t i = 0; i < run->decs->n; i++)
        if (run->decs->stages[i].kind->end)
            run->decs->stages[i].kind->end(run->decs->stages[i].data, run, i);
    return run->failed.code ? -1 : 0;
}

static void copy_buf(struct buf *to, const struct buf *b) {
    *to = (struct buf){0};
    if (b->n)
        buf_add(to, b->p, b->n);
}

void dec_copy(struct dec_run *to, const struct dec_run *run) {
    *to = *run;
    to->states = xcalloc(run->decs->n, sizeof *to->states);
    for (size_t i = 0; i < run->decs->n; i++) {
        to->states[i] = run->states[i];
        copy_buf(&to->states[i].bytes, &run->states[i].bytes);
        copy_buf(&to->states[i].whole, &run->states[i].whole);
        copy_buf(&to->states[i].work, &run->states[i].work);
    }
}

void dec_copy_free(struct dec_run *copy) {
    copy->regex = NULL;
    dec_run_free(copy);
}

size_t dec_run_bytes(const struct dec_run *run) {
    size_t n = run->decs->n * sizeof *run->states + regex_work_bytes(run->regex);
    for (size_t i = 0; i < run->decs->n; i++) {
        const struct dec_state *s = &run->states[i];
        n += s->bytes.cap + s->whole.cap + s->work.cap;
    }
    return n;
}

void dec_run_free(struct dec_run *run) {
    for (size_t i = 0; run->states && i < run->decs->n; i++) {
        buf_free(&run->states[i].bytes);
        buf_free(&run->states[i].whole);
        buf_free(&run->states[i].work);
    }
    free(run->states);
    regex_work_free(run->regex);
    *run = (struct dec_run){0};
}

/* Lines of tokens(5) to vectors: see embed.h. embed_batch.c makes them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embed.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "stages/input.h"

struct embed {
    struct input *input;
    struct logits_header header; // what input.h checks lines against
    struct embed_batch *batch;
    struct embed_out out;
    bool begun;
};

/* ---- The loop ---- */

static int begin(struct embed *s, struct err *e) {
    if (s->begun || !input_begun(s->input))
        return 0;
    struct err warning = {0};
    s->begun = true;
    if (input_check(s->input, &s->header, &warning, e) != 0)
        return -1;
    if (warning.code)
        warn_err(&warning);
    return 0;
}

/* Whether a read would wait. */
static bool would_wait(const struct embed *s) {
    struct pollfd p = {.fd = input_poll_fd(s->input), .events = POLLIN};
    return p.fd >= 0 && poll(&p, 1, 0) == 0;
}

static int take_line(struct embed *s, const struct input_prompt *p, struct err *e) {
    const struct embed_sequence q = {.number = p->number,
                                     .ids = p->ids,
                                     .n_ids = p->n_ids,
                                     .attrs = p->attrs,
                                     .refused = p->refused,
                                     .said = p->said_before};
    return embed_batch_add(s->batch, &q, e);
}

static int take_input(struct embed *s, struct err *e) {
    struct input_prompt p;
    for (;;) {
        if (begin(s, e) != 0)
            return -1;
        while (s->begun && input_next(s->input, &s->header, &p))
            if (take_line(s, &p, e) != 0)
                return -1;
        if (input_ended(s->input))
            return embed_batch_run(s->batch, e);
        if (would_wait(s) && (embed_batch_run(s->batch, e) != 0 || flush_out(s->out.out, e) != 0))
            return -1;
        input_fill(s->input);
    }
}

int stage_embed(const struct embed_job *job, const struct embed_form *form, int fd,
                const char *name, FILE *out, int *code, struct err *e) {
    struct embed s = {.input = input_new(fd, name)};
    // Lines that are too long come whole, so that they can be cut.
    s.header = (struct logits_header){.vocab_size = (uint32_t)model_spec(job->model)->vocab_size,
                                      .context = LOGITS_MAX_CONTEXT,
                                      .tokenizer = job->tokenizer};
    s.batch = embed_batch_new(job, embed_out_record, &s.out);
    int rc = embed_out_begin(&s.out, form, &job->header, out, e);
    if (form->npy || !isatty(fileno(out)))
        progress_start_count(&s.out.progress, "llm-embed", "sequences");
    if (rc == 0)
        rc = take_input(&s, e);
    if (rc == 0)
        embed_out_end(&s.out);
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    *code = input_code(s.input) != EXIT_DONE ? input_code(s.input) : s.out.status;
    input_free(s.input);
    embed_batch_free(s.batch);
    embed_out_free(&s.out);
    return rc;
}

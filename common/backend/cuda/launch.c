/* Sends a step's rows to the GPU, and queues its launches one by one or as a graph.
 *
 * The header, the rows, the attention tiles and the words (page tables and frequencies) are one
 * block of pinned memory, of which the pieces that differ from the last step's are copied. The
 * offsets of the parts depend on the number of rows that the step is
 * laid out for. Small steps are laid out for 1, 2, 4 ... 32 rows, so that their launches are the
 * same every time: they are recorded once, as a graph.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"
#include "base/progress.h"

/* ---- the rows ---- */

/* Where the pages of a sequence, and its frequencies, are in the words. */
struct cuda_seq {
    const uint32_t *pages[DEVICE_GROUPS];
    uint32_t first_page[DEVICE_GROUPS], end_page[DEVICE_GROUPS], table[DEVICE_GROUPS];
    const float *freq[DEVICE_ROPES];
    uint32_t freq_at[DEVICE_ROPES];
};
struct cuda_seq *cuda_seqs_new(size_t n) {
    return xcalloc(n, sizeof(struct cuda_seq));
}

struct words {
    uint32_t *w;
    size_t n;
    struct cuda_seq *seqs; // [n_seqs] of the batch
    size_t n_seqs;
};

static struct cuda_seq *seq_of(struct words *words, const struct cuda_device *d,
                               const struct step *s, size_t row) {
    const uint32_t *pages = s->attn[0][row].pages;
    for (size_t i = words->n_seqs; i-- > 0;) // usually that of the row before
        if (words->seqs[i].pages[0] == pages)
            return &words->seqs[i];
    struct cuda_seq *q = &words->seqs[words->n_seqs++];
    *q = (struct cuda_seq){.pages = {NULL}};
    for (size_t g = 0; g < d->shape.n_groups; g++) {
        q->pages[g] = s->attn[g][row].pages;
        q->first_page[g] = UINT32_MAX;
    }
    for (size_t r = 0; r < d->shape.n_ropes; r++)
        q->freq[r] = s->rows[row].freq[r];
    return q;
}

/* The pages that the rows of a sequence see, or store into. */
static void widen(struct cuda_seq *q, const struct cuda_device *d, const struct step *s,
                  size_t row) {
    for (size_t g = 0; g < d->shape.n_groups; g++) {
        const struct attn_row *r = &s->attn[g][row];
        uint32_t first = (r->first < r->pos ? r->first : r->pos) / CU_KV_PAGE,
                 end = (r->last > r->pos ? r->last : r->pos) / CU_KV_PAGE + 1;
        q->first_page[g] = first < q->first_page[g] ? first : q->first_page[g];
        q->end_page[g] = end > q->end_page[g] ? end : q->end_page[g];
    }
}

/* A table has room for more pages, so that what comes after it stays where it is for some steps. */
static void put_words(struct words *words, const struct cuda_device *d, struct cuda_seq *q) {
    for (size_t g = 0; g < d->shape.n_groups; g++) {
        size_t n = q->end_page[g] - q->first_page[g], room = round_up_size(n, CUDA_TABLE_PAGES);
        memcpy(words->w + words->n, q->pages[g] + q->first_page[g], n * sizeof *words->w);
        memset(words->w + words->n + n, 0, (room - n) * sizeof *words->w);
        q->table[g] = (uint32_t)words->n - q->first_page[g];
        words->n += room;
    }
    for (size_t r = 0; r < d->shape.n_ropes; r++) {
        const struct cuda_seq *same = words->seqs;
        while (same < q && same->freq[r] != q->freq[r])
            same++;
        q->freq_at[r] = same < q ? same->freq_at[r] : (uint32_t)words->n;
        if (same < q)
            continue;
        memcpy(words->w + words->n, q->freq[r], d->shape.rope_half[r] * sizeof *words->w);
        words->n += d->shape.rope_half[r];
    }
}

static struct cu_row row_of(const struct cuda_device *d, const struct step *s, size_t i,
                            const struct cuda_seq *q) {
    struct cu_row r = {.id = s->rows[i].id, .pos = s->rows[i].pos};
    for (size_t g = 0; g < d->shape.n_groups; g++) {
        r.first[g] = s->attn[g][i].first;
        r.last[g] = s->attn[g][i].last;
        r.table[g] = q->table[g];
    }
    for (size_t k = 0; k < d->shape.n_ropes; k++)
        r.freq[k] = q->freq_at[k];
    return r;
}

/* Rows of one sequence at consecutive positions share a tile, as long as their queries of a KV head
 * fit. */
static size_t make_tiles(const struct cuda_device *d, const struct step *s, struct cu_tile *tiles) {
    size_t group = d->shape.n_heads / d->shape.n_kv_heads,
           most = group < CU_QUERIES ? CU_QUERIES / group : 1, n = 0;
    for (size_t i = 0; i < s->n_rows; i++) {
        struct cu_tile *t = n > 0 ? &tiles[n - 1] : NULL;
        if (t && t->n < most && s->attn[0][i].pages == s->attn[0][i - 1].pages &&
            s->rows[i].pos == s->rows[i - 1].pos + 1)
            t->n++;
        else
            tiles[n++] = (struct cu_tile){(uint32_t)i, 1};
    }
    return n;
}

/* Rows that the step is laid out for, and which record it has (CUDA_GRAPHS: none). */
static size_t bucket_of(const struct cuda_device *d, size_t *record) {
    size_t rows = 1;
    for (*record = 0; rows < d->n_rows; rows *= 2)
        ++*record;
    if (rows <= CUDA_GRAPH_ROWS && d->n_want > 0 && !d->fetches)
        return rows;
    *record = CUDA_GRAPHS;
    return d->n_rows;
}

static void place_parts(struct cu_step *p, unsigned char *base, size_t rows) {
    p->header = (const struct cu_header *)(const void *)base;
    p->rows = (const struct cu_row *)(const void *)(base + 64);
    p->tiles = (const struct cu_tile *)(const void *)(p->rows + rows);
    p->words = (const uint32_t *)(const void *)(p->tiles + rows);
}

/* Whether the device has the piece of the block that begins at `at`. */
static bool is_sent(const struct cuda_device *d, size_t at, size_t n) {
    return at + n <= d->sent_bytes && memcmp(d->step_host + at, d->step_sent + at, n) == 0;
}

/* Sends the pieces of the block [bytes] that differ from what the device has. */
static void send_changes(struct cuda_device *d, size_t bytes) {
    enum { PIECE = 1024 };
    for (size_t at = 0, end; at < bytes; at = end) {
        end = bytes - at < PIECE ? bytes : at + PIECE;
        if (is_sent(d, at, end - at))
            continue;
        while (end < bytes) { // neighbours are one copy
            size_t n = bytes - end < PIECE ? bytes - end : PIECE;
            if (is_sent(d, end, n))
                break;
            end += n;
        }
        cu_to_device(d->c, d->step_device + at, d->step_host + at, end - at);
        memcpy(d->step_sent + at, d->step_host + at, end - at);
    }
    d->sent_bytes = larger(d->sent_bytes, bytes);
}

void cuda_send_step(struct cuda_device *d, const struct step *s) {
    struct err e = {0};
    size_t record;
    if (d->queued && cu_sync(d->c, &e) != 0) // step_host is read until then
        cuda_fail(d, &e);
    d->n_rows = s->n_rows;
    d->fetches = s->fetches; // a copy to the host would end up in the middle of a graph
    d->n_want = 0;
    for (size_t i = 0; i < s->n_rows; i++)
        d->n_want += s->rows[i].want;
    d->rows = bucket_of(d, &record);
    struct cu_step host;
    place_parts(&host, d->step_host, d->rows);
    place_parts(&d->step, d->step_device, d->rows);

    struct words words = {.w = (uint32_t *)(uintptr_t)host.words, .seqs = d->seqs};
    struct cu_row *rows = (struct cu_row *)(uintptr_t)host.rows;
    for (size_t i = 0; i < s->n_rows; i++)
        widen(seq_of(&words, d, s, i), d, s, i);
    for (size_t i = 0; i < words.n_seqs; i++)
        put_words(&words, d, &words.seqs[i]);
    for (size_t i = 0, n = 0; i < s->n_rows; i++) {
        rows[i] = row_of(d, s, i, seq_of(&words, d, s, i));
        if (s->rows[i].want)
            rows[n++].want = (uint32_t)i; // n <= i
    }
    d->n_tiles = make_tiles(d, s, (struct cu_tile *)(uintptr_t)host.tiles);
    d->tiles = record < CUDA_GRAPHS ? d->rows : d->n_tiles;
    *(struct cu_header *)(uintptr_t)host.header =
        (struct cu_header){.n_rows = (uint32_t)s->n_rows,
                           .n_want = (uint32_t)d->n_want,
                           .n_tiles = (uint32_t)d->n_tiles};
    size_t bytes = (size_t)((unsigned char *)(words.w + words.n) - d->step_host);
    send_changes(d, bytes);
    d->queued = true;

    struct cuda_record *r = record < CUDA_GRAPHS ? &d->records[record] : NULL;
    d->replaying = r && r->done ? r : NULL;
    d->recording = r && !r->done ? r : NULL;
    if (d->recording)
        r->n = 0;
    d->clock.measures =
        d->clock.wanted && (!d->replaying || r->replays++ % CUDA_MEASURE_EVERY == 0);
    d->clock.n = 0;
    d->recorded = NULL;
}

/* The copies wait for the kernels before them, and those after wait for the copies. step_host says
 * which rows are wanted until the next step is sent. */
void cuda_fetch(struct device *device, float *host, const float *x) {
    struct cuda_device *d = cuda_of(device);
    size_t dim = d->shape.hidden_dim;
    struct cu_step step;
    place_parts(&step, d->step_host, d->rows);
    for (size_t i = 0; i < d->n_want && d->failed.code == 0; i++)
        cu_to_host(d->c, host + i * dim, x + step.rows[i].want * d->ld_hidden, dim * sizeof *host);
}

/* ---- where the time goes ---- */

enum model_part cuda_part(struct cuda_device *d, enum model_part part) {
    enum model_part before = d->clock.part;
    d->clock.part = part;
    return before;
}

/* Before a launch of a part. */
static void mark(struct cuda_device *d, enum model_part part) {
    struct cuda_clock *k = &d->clock;
    if (!k->measures || k->n + 1 >= CUDA_MARKS || (k->n > 0 && k->parts[k->n - 1] == part))
        return;
    k->parts[k->n] = part;
    cu_mark(d->c, k->n++);
}

void cuda_step_queued(struct cuda_device *d) {
    if (d->clock.measures && d->clock.n > 0)
        cu_mark(d->c, d->clock.n++);
}

void cuda_step_ended(struct cuda_device *d) {
    struct cuda_clock *k = &d->clock;
    if (!k->wanted)
        return;
    double all = 0, parts[MODEL_PARTS] = {0}, seconds = seconds_now() - k->began;
    double *shares = k->shares[CUDA_GRAPHS];
    for (size_t i = 0; i < CUDA_GRAPHS; i++)
        if (d->replaying == &d->records[i] || d->recorded == &d->records[i])
            shares = k->shares[i];
    for (size_t i = 0; i + 1 < k->n; i++) {
        double ms = cu_marked_ms(d->c, i);
        parts[k->parts[i]] += ms;
        all += ms;
    }
    for (size_t i = 0; i < MODEL_PARTS; i++) {
        if (all > 0)
            shares[i] = parts[i] / all;
        d->base.times[i] += shares[i] * seconds;
    }
}

/* ---- launches ---- */

void cuda_run(struct cuda_device *d, const struct cu_kernel *k, struct cu_shape shape,
              const void *args, size_t size) {
    struct cuda_record *r = d->recording;
    if (d->replaying || d->failed.code)
        return;
    if (shape.threads == 0)
        shape.threads = CU_THREADS;
    mark(d, d->clock.part);
    struct cu_shape first = shape; // early kernels read weights before they wait
    first.early = shape.early && !d->uploads;
    cu_launch(d->c, k, first, args);
    if (!r)
        return;
    if (r->n == r->cap) {
        r->cap = r->cap > 0 ? 2 * r->cap : 64;
        r->launches = xreallocarray(r->launches, r->cap, sizeof *r->launches);
        memset(r->launches + r->n, 0, (r->cap - r->n) * sizeof *r->launches);
    }
    struct cuda_launch *l = &r->launches[r->n++];
    free(l->args); // of a recording that was not finished
    *l = (struct cuda_launch){k, shape, xmalloc(size), d->clock.part};
    memcpy(l->args, args, size);
}

static void launch_all(struct cuda_device *d, const struct cuda_record *r) {
    for (size_t i = 0; i < r->n; i++) {
        const struct cuda_launch *l = &r->launches[i];
        if (!d->recording) // a graph that is being made has no marks
            mark(d, l->part);
        cu_launch(d->c, l->kernel, l->shape, l->args);
    }
}

void cuda_end_step(struct cuda_device *d) {
    struct cuda_record *r = d->replaying;
    d->recorded = d->recording;
    if (r && r->graph && !d->clock.measures)
        cu_graph_launch(d->c, r->graph);
    else if (r)
        launch_all(d, r);
    r = d->recording;
    if (!r || d->failed.code || cu_error(d->c))
        return;
    cu_capture_begin(d->c);
    launch_all(d, r);
    if (cu_capture_end(d->c, &r->graph, NULL) != 0)
        r->graph = NULL; // launches are queued one by one instead
    r->done = true;
    d->recording = NULL;
}

void cuda_records_free(struct cuda_device *d) {
    for (size_t i = 0; i < CUDA_GRAPHS; i++) {
        struct cuda_record *r = &d->records[i];
        cu_graph_free(d->c, r->graph);
        for (size_t k = 0; k < r->cap; k++)
            free(r->launches[k].args);
        free(r->launches);
    }
}

/* Chunks of a document: see chunk.h.
 *
 * Whether a text fits is always decided by encoding it, because tokens of parts do not add up to
 * those of the whole. The candidates for an end are found one kind at a time. The last that fits is
 * searched for by doubling and then by halving, so a long line costs few encodings. Of a text that
 * is far too long only the beginning is encoded, and a place that was looked for is remembered. So
 * the time is linear in the document.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "docs/chunk.h"

#include <stdlib.h>

#include "base/utf8.h"

/* The kinds of places where a chunk may end, the best first. */
enum chunk_kind { AT_PARAGRAPH, AT_SENTENCE, AT_LINE, AT_WORD, AT_CHAR, N_KINDS };

/* A text does not fit if its beginning has this many tokens: normalisers and merges over the cut
 * change the count by less. The beginning is tried from this many bytes a token. */
enum { OVER_TIMES = 2, OVER_TOKENS = 1024, TRY_BYTES = 16 };

/* The place that a search from anywhere in [from, until] finds before `end`. */
struct chunk_place {
    size_t from, until, place, end;
};

struct chunker {
    struct chunk_options o;
    struct encoder *en;
    struct token_ids ids;
    const struct doc *d;
    size_t section; // the next chunk is of this one
    size_t at;      // and begins here; before `done` where there is an overlap
    size_t done;    // the end of the chunk before
    size_t end;     // of the section, without white space
    bool begun;     // at, done and end are of this section
    bool head;      // texts begin with the section's head
    struct buf text;
    size_t *ends; // candidates
    size_t ends_cap;
    struct chunk_place found[N_KINDS]; // of the document; end 0: none
};

struct chunker *chunker_new(const struct tokenizer *t, const struct chunk_options *o) {
    struct chunker *c = xcalloc(1, sizeof *c);
    c->o = *o;
    c->en = encoder_new(t);
    return c;
}

void chunker_free(struct chunker *c) {
    if (!c)
        return;
    encoder_free(c->en);
    token_ids_free(&c->ids);
    buf_free(&c->text);
    free(c->ends);
    free(c);
}

void chunker_begin(struct chunker *c, const struct doc *d) {
    c->d = d;
    c->section = 0;
    c->begun = false;
    memset(c->found, 0, sizeof c->found);
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static void trim(struct str t, size_t *from, size_t *to) {
    while (*from < *to && is_space(t.p[*from]))
        ++*from;
    while (*to > *from && is_space(t.p[*to - 1]))
        --*to;
}

/* `at`, or the beginning of the character that it is inside. */
static size_t char_start(struct str t, size_t at) {
    for (int i = 0; i < 3 && at > 0 && ((unsigned char)t.p[at] & 0xC0) == 0x80; i++)
        at--;
    return at;
}

/* ---- Tokens ---- */

static int add_text(struct chunker *c, size_t from, size_t to, struct err *e) {
    const char *p = c->d->text.p + from;
    size_t n = to - from, good = utf8_valid(p, n);
    if (good == n)
        buf_add(&c->text, p, n);
    else if (c->o.strict)
        return err_set(e, EXIT_DATA, "invalid UTF-8: byte %zu", from + good);
    else
        utf8_repair(&c->text, p, n);
    return 0;
}

/* Puts the text of a chunk into c->text. */
static int make_text(struct chunker *c, size_t from, size_t to, struct err *e) {
    struct str head = c->d->sections[c->section].head;
    buf_clear(&c->text);
    if (c->head) {
        utf8_repair(&c->text, head.p, head.n);
        buf_str(&c->text, "\n\n");
    }
    trim(c->d->text, &from, &to);
    return add_text(c, from, to, e);
}

static int count(struct chunker *c, bool special, size_t *n, struct err *e) {
    struct encode_options o = {
        .no_special = !special,
    };
    if (tokenizer_encode(c->en, buf_view(&c->text), &o, &c->ids, e) != 0)
        return -1;
    *n = c->ids.n;
    return 0;
}

/* The tokens of a chunk of text[from .. to), or of its beginning, where these are far too many. */
static int count_chunk(struct chunker *c, size_t from, size_t to, size_t *n, struct err *e) {
    const size_t over = OVER_TIMES * c->o.tokens + OVER_TOKENS;
    for (size_t part = TRY_BYTES * over; part < (to - from) / 2; part *= 2) {
        if (make_text(c, from, char_start(c->d->text, from + part), e) != 0 ||
            count(c, true, n, e) != 0)
            return -1;
        if (*n > over)
            return 0;
    }
    return make_text(c, from, to, e) != 0 ? -1 : count(c, true, n, e);
}

/* The tokens of an overlap: without the head, and without those that the tokenizer adds. */
static int count_overlap(struct chunker *c, size_t from, size_t to, size_t *n, struct err *e) {
    buf_clear(&c->text);
    return add_text(c, from, to, e) != 0 ? -1 : count(c, false, n, e);
}

/* ---- Places ---- */

static size_t next_paragraph(const struct doc *d, size_t at, size_t end) {
    size_t low = 0, high = d->n_cuts;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (d->cuts[mid] <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low < d->n_cuts && d->cuts[low] < end ? d->cuts[low] : end;
}

/* The bytes of a mark that ends a sentence, at `at`; 0: there is none. *far: white space need not
 * follow, as after U+3002. */
static size_t sentence_mark(struct str t, size_t at, size_t end, bool *far) {
    *far = false;
    if (strchr(".!?", t.p[at]) && t.p[at])
        return 1;
    *far = end - at >= 3 &&
           (memcmp(t.p + at, "\xe3\x80\x82", 3) == 0 || memcmp(t.p + at, "\xef\xbc\x81", 3) == 0 ||
            memcmp(t.p + at, "\xef\xbc\x9f", 3) == 0);
    return *far ? 3 : 0;
}

/* *mark: where the mark is that ends the sentence. */
static size_t next_sentence(struct str t, size_t at, size_t end, size_t *mark) {
    while (at < end) {
        bool far;
        size_t n = sentence_mark(t, at, end, &far);
        *mark = at;
        at += n ? n : 1;
        if (n == 0)
            continue;
        while (at < end && t.p[at] && strchr("\"')]", t.p[at]))
            at++;
        if (!far && (at == end || !is_space(t.p[at])))
            continue;
        while (at < end && is_space(t.p[at]))
            at++;
        return at;
    }
    *mark = end;
    return end;
}

static size_t next_char(struct str t, size_t at, size_t end) {
    uint32_t cp;
    size_t n = utf8_decode(t.p + at, end - at, &cp);
    return at + (n ? n : 1);
}

/* The first place of a kind after `at`, or `end`. *until: from there on another one is found. */
static size_t find_place(const struct doc *d, enum chunk_kind kind, size_t at, size_t end,
                         size_t *until) {
    struct str t = d->text;
    *until = SIZE_MAX;
    switch (kind) {
    case AT_PARAGRAPH:
        return next_paragraph(d, at, end);
    case AT_SENTENCE:
        return next_sentence(t, at, end, until);
    case AT_LINE:
        doc_line((struct str){t.p, end}, at, &at);
        return at;
    case AT_WORD:
        while (at < end && !is_space(t.p[at]))
            at++;
        while (at < end && is_space(t.p[at]))
            at++;
        return at;
    default:
        *until = at;
        return next_char(t, at, end);
    }
}

/* The same, remembered: `end` may be far away. */
static size_t next_place(struct chunker *c, enum chunk_kind kind, size_t at, size_t end) {
    struct chunk_place *p = &c->found[kind];
    if (p->end != end || at < p->from || at > p->until) {
        size_t until, place = find_place(c->d, kind, at, end, &until);
        *p = (struct chunk_place){at, until < place ? until : place - 1, place, end};
    }
    return p->place;
}

/* ---- A chunk ---- */

static void add_end(struct chunker *c, size_t n, size_t end) {
    if (n == c->ends_cap) {
        c->ends_cap = 2 * c->ends_cap + 64;
        c->ends = xreallocarray(c->ends, c->ends_cap, sizeof *c->ends);
    }
    c->ends[n] = end;
}

/* The last end of a kind in (floor, end] with which the chunk from `from` fits. *best = floor:
 * none; otherwise *tokens has the chunk's tokens. */
static int last_fit(struct chunker *c, enum chunk_kind kind, size_t from, size_t floor, size_t end,
                    size_t *best, size_t *tokens, struct err *e) {
    size_t n = 0, fit = 0, over = 0, got; // ends[fit - 1] fits, ends[over - 1] does not
    for (size_t want = 1, at = floor; over == 0; want *= 2) {
        for (; n < want && at < end; n++)
            add_end(c, n, at = next_place(c, kind, at, end));
        if (count_chunk(c, from, c->ends[n - 1], &got, e) != 0)
            return -1;
        if (got > c->o.tokens) {
            over = n;
            break;
        }
        fit = n;
        *tokens = got;
        if (at == end)
            break;
    }
    while (over > fit + 1) {
        size_t mid = fit + (over - fit) / 2;
        if (count_chunk(c, from, c->ends[mid - 1], &got, e) != 0)
            return -1;
        if (got > c->o.tokens) {
            over = mid;
        } else {
            fit = mid;
            *tokens = got;
        }
    }
    *best = fit ? c->ends[fit - 1] : floor;
    return 0;
}

/* The end of the chunk that begins at `from` and goes past floor. A single character always fits.
 */
static int find_end(struct chunker *c, size_t from, size_t floor, size_t end, size_t *out,
                    struct err *e) {
    *out = floor;
    for (enum chunk_kind kind = AT_PARAGRAPH; kind < N_KINDS; kind++) {
        size_t best, tokens = 0;
        if (last_fit(c, kind, from, floor, end, &best, &tokens, e) != 0)
            return -1;
        if (best > *out)
            *out = best;
        if (best > floor && tokens >= c->o.tokens / 4)
            return 0;
    }
    if (*out == floor)
        *out = next_char(c->d->text, floor, end);
    return 0;
}

/* Where the chunk after text[from .. to) begins: at most `overlap` tokens before `to`. */
static int find_start(struct chunker *c, size_t from, size_t to, size_t *out, struct err *e) {
    *out = to;
    for (enum chunk_kind kind = AT_SENTENCE; kind <= AT_WORD && c->o.overlap && *out == to;
         kind++) {
        size_t n = 0, low = 0, tokens, until;
        for (size_t at = from; at < to; n++)
            add_end(c, n, at = find_place(c->d, kind, at, to, &until));
        for (size_t high = n; low < high;) { // the first from which the rest is short enough
            size_t mid = low + (high - low) / 2;
            if (count_overlap(c, c->ends[mid], to, &tokens, e) != 0)
                return -1;
            if (tokens > c->o.overlap)
                low = mid + 1;
            else
                high = mid;
        }
        if (low < n)
            *out = c->ends[low];
    }
    return 0;
}

/* An error before the first chunk of a section, wherever in it the byte is. */
static int check_section(const struct chunker *c, const struct doc_section *s, struct err *e) {
    size_t from = s->from, to = s->to, good;
    trim(c->d->text, &from, &to);
    good = from + utf8_valid(c->d->text.p + from, to - from);
    return good == to ? 0 : err_set(e, EXIT_DATA, "invalid UTF-8: byte %zu", good);
}

/* A head that takes more than half of the tokens is left out. */
static int begin_section(struct chunker *c, struct err *e) {
    const struct doc_section *s = &c->d->sections[c->section];
    size_t n = 0;
    c->begun = true;
    c->at = c->done = s->from;
    for (c->end = s->to; c->end > s->from && is_space(c->d->text.p[c->end - 1]); c->end--)
        ;
    if (c->o.strict && check_section(c, s, e) != 0)
        return -1;
    c->head = c->o.with_head && s->head.n > 0;
    if (c->head && count_chunk(c, s->from, s->from, &n, e) != 0)
        return -1;
    c->head = c->head && n <= c->o.tokens / 2;
    return 0;
}

/* Cuts the next chunk of the section: 1, or 0 if nothing is left of it. */
static int cut_chunk(struct chunker *c, struct doc_chunk *out, struct err *e) {
    const struct doc_section *s = &c->d->sections[c->section];
    struct str t = c->d->text;
    size_t end, to;
    if (!c->begun && begin_section(c, e) != 0)
        return -1;
    end = c->end;
    for (; c->done < end && is_space(t.p[c->done]); c->done++)
        c->at += c->at == c->done;
    if (c->done >= end)
        return 0;
    if (find_end(c, c->at, c->done, end, &to, e) != 0)
        return -1;
    size_t n;
    if (c->at < c->done && (count_chunk(c, c->at, to, &n, e) != 0))
        return -1;
    if (c->at < c->done && n > c->o.tokens)
        c->at = c->done; // no room for the overlap
    *out = (struct doc_chunk){.section = s, .from = c->at, .to = to};
    trim(t, &out->from, &out->to);
    size_t from = c->at;
    c->done = to;
    if (to < end && find_start(c, from, to, &c->at, e) != 0)
        return -1;
    if (to >= end)
        c->at = to;
    if (make_text(c, out->from, out->to, e) != 0)
        return -1;
    out->text = buf_view(&c->text);
    return 1;
}

int chunker_next(struct chunker *c, struct doc_chunk *out, struct err *e) {
    while (c->section < c->d->n_sections) {
        int rc = cut_chunk(c, out, e);
        if (rc != 0)
            return rc;
        c->section++;
        c->begun = false;
    }
    return 0;
}

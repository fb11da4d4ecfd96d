/* The text of answers: see answer_text.h.
 *
 * After each id the text is looked at as if the answer ended there, with what the decoder still
 * holds back. A newline that is spelled <0x0A> so ends an answer at once, although a later byte
 * could make it another character.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/answer_text.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/opt.h"
#include "tokens/tokenizer.h"

struct answer_text {
    struct stop_texts own; // that the sequence names
    struct stop_search search;
    struct decoder *decoder;
    struct buf text; // given out by the decoder
    uint32_t ids[STOP_TEXTS_MAX];
    size_t n_ids;
};

void answer_texts_map(struct answer_texts *all) {
    struct err *e = &all->no_map;
    if (all->tokenizer)
        return;
    const char *named = all->model ? all->model : getenv("LLM_MODEL");
    if (!named || !*named) {
        err_set(e, EXIT_USAGE,
                "stop texts need the model's tokenizer: give -m DIR or set LLM_MODEL");
        return;
    }
    char *dir = is_file(named) ? NULL : model_dir(named, e);
    all->path = dir ? path_join(dir, "tokenizer.json") : xstrdup(named);
    if (dir && !is_file(all->path))
        err_set(e, EXIT_NO_INPUT, "no tokenizer.json: %s", dir);
    else if (!e->code && map_file_within(&all->map, all->path, TOKENIZER_MAX_FILE, e) == 0 &&
             !all->map.p)
        err_set(e, EXIT_DATA, "the file is empty: %s", all->path);
    free(dir);
}

int answer_texts_open(struct answer_texts *all, struct err *e) {
    if (all->tokenizer)
        return 0;
    if (!all->map.p) {
        *e = all->no_map;
        return -1;
    }
    struct tokenizer *t = tokenizer_load(all->path, (const char *)all->map.p, all->map.n, e);
    if (!t)
        return -1;
    if (all->fingerprint && tokenizer_fingerprint(t) != all->fingerprint) {
        err_set(e, EXIT_DATA, "the model has tokenizer %016" PRIx64 ", %s has %016" PRIx64,
                all->fingerprint, all->path, tokenizer_fingerprint(t));
        tokenizer_free(t);
        return -1;
    }
    all->tokenizer = all->own = t;
    return 0;
}

void answer_texts_free(struct answer_texts *all) {
    tokenizer_free(all->own);
    unmap_file(&all->map);
    free(all->path);
    all->tokenizer = all->own = NULL;
    all->path = NULL;
}

size_t answer_text_bytes(const struct answer_text *t) {
    return t ? sizeof *t + stop_texts_bytes(&t->own) + decoder_bytes(t->decoder) + t->text.cap : 0;
}

void answer_text_free(struct answer_text *t) {
    if (!t)
        return;
    stop_texts_free(&t->own);
    decoder_free(t->decoder);
    buf_free(&t->text);
    free(t);
}

/* Special tokens whose text is a stop text. */
static void find_ids(struct answer_text *t, const struct tokenizer *tokenizer) {
    struct encoder *en = encoder_new(tokenizer);
    struct encode_options o = {.no_special = true};
    struct token_ids ids = {0};
    struct err ignored = {0};
    for (size_t i = 0; i < t->search.texts->n; i++) {
        struct str text = {t->search.texts->items[i].text, t->search.texts->items[i].n};
        if (tokenizer_encode(en, text, &o, &ids, &ignored) == 0 && ids.n == 1 &&
            tokenizer_is_special(tokenizer, ids.ids[0]))
            t->ids[t->n_ids++] = ids.ids[0];
    }
    token_ids_free(&ids);
    encoder_free(en);
}

static void set_attributes(struct answer *s, const struct stop_texts *texts, bool echo) {
    struct buf value = {0};
    stop_texts_write(texts, &value);
    attrs_set(&s->attrs, "ends", buf_view(&value));
    buf_clear(&value);
    buf_fmt(&value, "%zu", s->n_prompt);
    if (echo)
        attrs_set(&s->attrs, "begins", buf_view(&value));
    buf_free(&value);
}

int answer_text_begin(struct answer_texts *all, struct answer *s, bool echo, struct err *e) {
    struct buf value = {0};
    struct answer_text *t = xcalloc(1, sizeof *t);
    int rc = 0;
    bool own = attrs_get(buf_view(&s->attrs), "stop", &value);
    if (own)
        rc = stop_texts_parse(&t->own, value.p ? buf_view(&value) : str_of(""), e);
    buf_free(&value);
    t->search.texts = own ? &t->own : all->stops;
    bool wanted = rc == 0 && t->search.texts && t->search.texts->n > 0;
    if (wanted)
        rc = answer_texts_open(all, e);
    if (rc != 0 || !wanted) {
        answer_text_free(t);
        return rc;
    }
    t->decoder = decoder_new(all->tokenizer, false);
    if (s->continues)
        decoder_continue(t->decoder);
    find_ids(t, all->tokenizer);
    set_attributes(s, t->search.texts, echo);
    s->text = t;
    return 0;
}

bool answer_text_stops(struct answer_text *t, uint32_t id) {
    size_t used, held;
    if (!t)
        return false;
    for (size_t i = 0; i < t->n_ids; i++)
        if (t->ids[i] == id)
            return true;
    buf_clear(&t->text);
    // If the decoders fail, tok-decode fails on the same ids, and says why.
    decoder_id(t->decoder, id, &t->text, NULL);
    if (stop_search_take(&t->search, t->text.p, t->text.n, &used, &held))
        return true;
    struct stop_search last = t->search;
    buf_clear(&t->text);
    decoder_peek(t->decoder, &t->text, NULL);
    return stop_search_take(&last, t->text.p, t->text.n, &used, &held);
}

/* The list of models, their loader, and the list of ids that they write to: see model.h.
 *
 * Old files have no "type" in their model. Their kind is then recognised by its members. A model
 * without a type is first read as Unigram if unk_id comes before the vocabulary, because reading a
 * long vocabulary twice would be slow.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/model.h"

#include <stdlib.h>

#include "tokens/component.h"

static const struct tok_model_kind *const kinds[] = {&model_bpe, &model_unigram, &model_wordlevel,
                                                     &model_wordpiece};

enum {
    TABLES_PER_BYTE = 4,    // table bytes per byte of tokenizer.json: the most in published files
    MAX_TABLES = 256 << 20, // bytes of the first block
};

/* The members that tell the kind of a model without a type. */
static const char *const members[] = {"type", "merges", "unk_id", "max_input_chars_per_word"};
enum { TYPE = 1, MERGES = 2, UNK_ID = 4, MAX_INPUT = 8, N_MEMBERS = 4 };

static struct str model_type(struct json *j) {
    unsigned has = component_members(j, members, N_MEMBERS, NULL);
    struct str type = has & TYPE ? component_type(j) : (struct str){0};
    if (type.n)
        return type;
    return str_of(has & MERGES      ? "BPE"
                  : has & UNK_ID    ? "Unigram"
                  : has & MAX_INPUT ? "WordPiece"
                                    : "WordLevel");
}

/* Reads a model without a type as Unigram if it has an unk_id before its vocabulary. Returns false
 * if it is of another kind or is refused; j and m are then as before. */
static bool load_as_unigram(struct tok_model *m, struct json *j) {
    struct json before = *j;
    struct err e = {0};
    if ((component_members(j, members, N_MEMBERS, "vocab") & (TYPE | MERGES | UNK_ID)) != UNK_ID)
        return false;
    j->e = &e;
    m->kind = &model_unigram;
    m->kind->load(m, j);
    bool good = !json_failed(j) && !m->misjudged;
    before.strings = j->strings;
    j->e = before.e;
    if (good)
        return true;
    m->kind->unload(m->data);
    vocab_free(&m->vocab);
    m->kind = NULL;
    m->data = NULL;
    *j = before;
    return false;
}

void model_load(struct tok_model *m, struct json *j, bool byte_level) {
    size_t tables = TABLES_PER_BYTE * (size_t)(j->end - j->start);
    region_begin(&m->mem, tables < MAX_TABLES ? tables : MAX_TABLES);
    if (load_as_unigram(m, j))
        return;
    struct str type = model_type(j);
    m->byte_level = byte_level;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_eq(type, kinds[i]->type)) {
            m->kind = kinds[i];
            m->kind->load(m, j);
            return;
        }
    json_refuse(j, "unknown model \"%.*s\"", (int)type.n, type.p);
}

void model_free(struct tok_model *m) {
    if (m->kind && m->kind->unload)
        m->kind->unload(m->data);
    vocab_free(&m->vocab);
    region_free(&m->mem);
}

void token_ids_grow(struct token_ids *t) {
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 256;
        t->ids = xreallocarray(t->ids, t->cap, sizeof *t->ids);
    }
    if (t->want_offsets && t->offsets_cap < t->cap) {
        t->offsets_cap = t->cap;
        t->offsets = xreallocarray(t->offsets, t->offsets_cap, sizeof *t->offsets);
    }
}

void token_ids_free(struct token_ids *t) {
    free(t->ids);
    free(t->offsets);
    *t = (struct token_ids){0};
}

/* Models by name, and the list of ids that they write to: see model.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/model.h"

#include <stdlib.h>

#include "tokens/component.h"

static const struct model_kind *const kinds[] = {&model_bpe, &model_unigram, &model_wordlevel, &model_wordpiece};

enum {
    TABLES_PER_BYTE = 4,   // bytes of tables that a byte of tokenizer.json makes, at most, in files as they are
    MAX_TABLES = 256 << 20, // of the first block
};

/* The model's name. Files from before models were named are told apart by their members, in one look over the whole. */
static struct str model_type(struct json *j) {
    static const char *const members[] = {"type", "merges", "unk_id", "max_input_chars_per_word"};
    unsigned has = component_members(j, members, 4);
    struct str type = has & 1 ? component_type(j) : (struct str){0};
    if (type.n)
        return type;
    return str_of(has & 2 ? "BPE" : has & 4 ? "Unigram" : has & 8 ? "WordPiece" : "WordLevel");
}

void model_load(struct model *m, struct json *j, bool byte_level) {
    struct str type = model_type(j);
    m->byte_level = byte_level;
    size_t tables = TABLES_PER_BYTE * (size_t)(j->end - j->start);
    region_begin(&m->mem, tables < MAX_TABLES ? tables : MAX_TABLES);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_eq(type, kinds[i]->type)) {
            m->kind = kinds[i];
            m->kind->load(m, j);
            return;
        }
    json_refuse(j, "unknown model \"%.*s\"", (int)type.n, type.p);
}

void model_free(struct model *m) {
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

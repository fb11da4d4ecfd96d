/* WordLevel: a word is one token, or unk_token if it is not in the vocabulary.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/model.h"

static void load(struct tok_model *m, struct json *j) {
    struct str *unk = xcalloc(1, sizeof *unk);
    struct str key;
    bool vocab = false;
    m->data = unk;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "vocab")) {
            vocab_free(&m->vocab);
            vocab_load(&m->vocab, j, m->byte_level, &m->mem);
            vocab = true;
        } else if (str_eq(key, "unk_token")) {
            *unk = json_str(j);
        } else {
            json_skip(j);
        }
    component_need(j, vocab, "WordLevel", "vocab");
    component_need(j, unk->p, "WordLevel", "unk_token");
}

static int encode(const struct tok_model *m, void *scratch, struct str word, struct token_ids *out,
                  struct err *e) {
    const struct str *unk = m->data;
    (void)scratch;
    uint32_t id = model_find(m, word.p, word.n);
    if (id == NO_ID)
        id = vocab_find_name(&m->vocab, *unk);
    if (id == NO_ID)
        return err_set(e, EXIT_DATA, "the unknown token \"%.*s\" is not in the vocabulary",
                       (int)unk->n, unk->p);
    token_ids_add(out, id, 0, word.n);
    return 0;
}

const struct tok_model_kind model_wordlevel = {"WordLevel", load, free, NULL, NULL, encode};

/* Fuzz entry: the files that sentence-transformers keeps beside a model. The first byte chooses the
 * parser: 0 modules.json, 1 a pooling, 2 a dense layer, 3 the settings. Folders that modules.json
 * names are looked for in tests/data/embed/gemma3.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "spec/sentence.h"

static void check_spec(const struct sentence_spec *s) {
    assert(s->n_steps <= SENTENCE_MAX_STEPS && s->dim <= SENTENCE_MAX_DIM);
    assert(s->max_ids <= SENTENCE_MAX_IDS && pooling_count(s->pools) <= 6);
    for (size_t i = 0; i < s->n_steps; i++)
        assert(s->steps[i].kind != SENTENCE_DENSE ||
               (s->steps[i].folder && s->steps[i].n_in > 0 && s->steps[i].n_out > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sentence_spec s = {0};
    struct sentence_step dense = {.folder = "x"};
    struct buf warnings = {0};
    struct err e = {0};
    int rc = 0;
    if (size == 0)
        return 0;
    struct str text = fuzz_exact((struct str){(const char *)data + 1, size - 1});
    switch (data[0] & 3) {
    case 0:
        rc = sentence_parse_modules(&s, "tests/data/embed/gemma3", "modules.json", text, &warnings,
                                    &e);
        break;
    case 1:
        rc = sentence_parse_pooling(&s, "config.json", text, &warnings, &e);
        break;
    case 2:
        rc = sentence_parse_dense(&dense, "config.json", text, &warnings, &e);
        break;
    default:
        rc = sentence_parse_settings(&s, "settings.json", text, &e);
    }
    if (rc == 0)
        check_spec(&s);
    else
        fuzz_check_refusal(&e);
    sentence_free(&s);
    buf_free(&warnings);
    free((char *)(uintptr_t)text.p);
    return 0;
}

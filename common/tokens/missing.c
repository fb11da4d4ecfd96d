/* What a folder without tokenizer.json has instead: see missing.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/missing.h"

#include <stdlib.h>

#include "base/io.h"

static const char converted[] = "st-convert makes a tokenizer.json of it";

static const struct {
    const char *file, *help; // help: NULL for `converted`
} others[] = {
    {"tekken.json", NULL},
    {"tokenizer.model", NULL},
    {"tokenizer.model.v3", NULL},
    {"spiece.model", NULL},
    {"tiktoken.model", NULL},
    {"sentencepiece.bpe.model", NULL},
    {"sentencepiece.model", NULL},
    {"spm.model", NULL},
    {"vocab.json", NULL},
    {"vocab.txt", "transformers makes a tokenizer.json of it "
                  "(AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR))"},
    {"adapter_config.json", "a LoRA adapter, not a model: its base model has the tokenizer"},
    {"config.json", "copy tokenizer.json from where the model comes from"},
};

void tokenizer_missing(const char *dir, struct err *e) {
    char *name = NULL;
    const char *help = NULL;
    for (size_t i = 0; i < sizeof others / sizeof *others && !name; i++) {
        char *path = path_join(dir, others[i].file);
        // A ranks file has no fixed name. It says more than a config.json.
        if (strcmp(others[i].file, "vocab.json") == 0)
            name = dir_find(dir, ".tiktoken");
        if (!name && is_file(path)) {
            name = xstrdup(others[i].file);
            help = others[i].help;
        }
        free(path);
    }
    if (!name && (name = dir_find(dir, ".gguf")))
        help = "st-convert makes a model folder of it";
    if (name)
        err_set(e, EXIT_NO_INPUT, "no tokenizer.json; %s is there: %s: %s", name,
                help ? help : converted, dir);
    else
        err_set(e, EXIT_NO_INPUT, "no tokenizer.json: %s", dir);
    free(name);
}

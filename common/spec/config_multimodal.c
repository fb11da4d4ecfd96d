/* Multimodal models whose text model is a family here: the text model runs, the other parts are
 * left alone.
 *
 * Without an image, these models compute what their text model does: the embeddings of the ids
 * enter its layers, and positions count from 0. A model is in the table only if that holds.
 * Sources: transformers' configuration_NAME.py and modeling_NAME.py. Its conversion_mapping.py
 * ("llava", "LlavaModel") has the prefixes of tensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct multimodal models[] = {
    {.model_type = "gemma3", .text_type = "gemma3_text", .tied = true},
    {.model_type = "llava", .text_type = "llama", .text_ties = true},
    {.model_type = "mistral3", .text_type = "mistral", .tied = true},
};

const char *const multimodal_prefixes[] = {
    "language_model.model.", // transformers 4
    "model.language_model.", // transformers 5
    "language_model.",       // a model saved without its head
    NULL,
};

const char *const multimodal_head_prefixes[] = {"", "language_model.", NULL};

bool multimodal_other_part(const char *tensor) {
    static const char *const parts[] = {"vision_tower.", "multi_modal_projector."};
    struct str name = str_of(tensor);
    if (str_begins_with(name, "model."))
        name = (struct str){name.p + 6, name.n - 6};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (str_begins_with(name, parts[i]))
            return true;
    return false;
}

const struct multimodal *multimodal_find(struct str model_type) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (str_eq(model_type, models[i].model_type))
            return &models[i];
    return NULL;
}

int multimodal_text(struct keys_reader *r, const struct keys_object *whole,
                    struct keys_object *text) {
    struct keys_member *m = keys_member_take(whole, "text_config");
    if (!m)
        return err_set(r->e, EXIT_DATA, "text_config is missing: %s", r->path);
    return keys_read_object(r, m, text);
}

/* Keys of the whole that change what its text model computes. */
static const struct key whole_keys[] = {
    {"tie_word_embeddings", KEY_TRUE, SPEC_AT(tied), 0},
    {"compression_config", KEY_ONLY_FALSE, 0, 0},
    {"is_encoder_decoder", KEY_ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* Keys of images and of the model as a whole, which do not matter for text. */
static const char *const other_keys[] = {
    "boi_token_id",
    "boi_token_index",
    "bos_token_id", // read by config.c
    "eoi_token_id",
    "eoi_token_index",
    "eos_token_id", // read by config.c
    "ignore_index",
    "image_seq_length",
    "image_token_id",
    "image_token_index",
    "mm_tokens_per_image",
    "multimodal_projector_bias",
    "projector_hidden_act",
    "spatial_merge_size",
    "vision_config",
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "vocab_size", // of the whole; that of text_config counts
    NULL,
};

int multimodal_keys(struct keys_reader *r, const struct multimodal *m,
                    const struct keys_object *whole, struct spec_config *c) {
    struct spec *s = &c->spec;
    bool text_tied = s->tied && m->text_ties;
    s->part_of = m->model_type;
    s->tied = m->tied;
    if (keys_apply(r, whole_keys, whole, c, false) != 0)
        return -1;
    s->tied |= text_tied;
    for (const char *const *k = other_keys; *k; k++)
        keys_member_take(whole, *k);
    return config_quant(r, c, whole);
}

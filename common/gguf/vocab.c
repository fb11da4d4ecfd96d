/* A GGUF vocabulary to tokenizer.json and tokenizer_config.json: see vocab.h.
 *
 * Every token is in the model's vocabulary. Control, unknown and user-defined ones are added tokens
 * as well, so that they are found in text as by the original tokenizer. Properties that GGUF does
 * not store (lstrip, rstrip, single_word of an added token) are false.
 *
 * Refused: unknown tokenizer models and pre-tokenizers, tokens that are duplicate or not UTF-8,
 * merges of tokens that do not exist, special ids past the vocabulary.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "tokconv/pre.h"
#include "tokconv/sp_vocab.h"
#include "tokconv/tokjson.h"

#define MAX_TOKENS (1u << 24)
#define KEY        "tokenizer.ggml."

static const struct gguf_kv *array_of(const struct gguf *g, const char *key,
                                      bool (*good)(enum gguf_type), uint64_t count, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        err_set(e, EXIT_DATA, "key '%s' is missing: %s", key, g->path);
    else if (!kv->is_array || !good(kv->type))
        err_set(e, EXIT_DATA, "key '%s' is not an array of the right type: %s: byte %zu", key,
                g->path, (size_t)(kv->p - g->map.p));
    else if (count && kv->count != count)
        err_set(e, EXIT_DATA,
                "key '%s' has %" PRIu64 " items, not one for each of %" PRIu64 " tokens: %s", key,
                kv->count, count, g->path);
    else
        return kv;
    return NULL;
}

static bool is_string(enum gguf_type t) {
    return t == GGUF_STRING;
}

static bool is_float(enum gguf_type t) {
    return t == GGUF_F32 || t == GGUF_F64;
}

/* The converter fills the embedding's spare rows with tokens "[PAD<id>]"; the original vocabulary
 * lacks them. */
static bool is_filler(const struct gguf_vocab *v, size_t id) {
    char name[32];
    snprintf(name, sizeof name, "[PAD%zu]", id);
    return v->types[id] == GGUF_TOKEN_UNUSED && str_eq(v->tokens[id], name);
}

static int read_tokens(struct gguf_vocab *v, struct err *e) {
    const struct gguf *g = v->g;
    const struct gguf_kv *tokens = array_of(g, KEY "tokens", is_string, 0, e), *types = NULL;
    if (!tokens)
        return -1;
    if (tokens->count == 0 || tokens->count > MAX_TOKENS)
        return err_set(e, EXIT_DATA, "expected 1 to %u tokens, found %" PRIu64 ": %s", MAX_TOKENS,
                       tokens->count, g->path);
    if (gguf_find(g, KEY "token_type") &&
        !(types = array_of(g, KEY "token_type", gguf_is_int, tokens->count, e)))
        return -1;
    v->n = (size_t)tokens->count;
    v->tokens = xreallocarray(NULL, v->n, sizeof *v->tokens);
    v->types = xmalloc(v->n);
    strmap_init(&v->ids, v->n);
    const unsigned char *at = tokens->p;
    for (size_t i = 0; i < v->n; i++) {
        struct str t = v->tokens[i] = gguf_next_str(&at);
        int64_t type = types ? gguf_int_at(types, i) : GGUF_TOKEN_NORMAL;
        uint32_t other;
        if (utf8_valid(t.p, t.n) != t.n)
            return err_set(e, EXIT_DATA, "token %zu is not valid UTF-8: %s: byte %zu", i, g->path,
                           (size_t)((const unsigned char *)t.p - g->map.p));
        if (type < GGUF_TOKEN_NORMAL || type > GGUF_TOKEN_BYTE)
            return err_set(e, EXIT_DATA, "token %zu has the unknown type %" PRId64 ": %s", i, type,
                           g->path);
        v->types[i] = (unsigned char)type;
        if (!strmap_add(&v->ids, t, (uint32_t)i)) {
            strmap_find(&v->ids, t, &other);
            return err_set(e, EXIT_DATA, "tokens %" PRIu32 " and %zu are both '%.*s': %s", other, i,
                           str_shown(t), t.p, g->path);
        }
    }
    while (v->n > 1 && is_filler(v, v->n - 1))
        v->n--;
    return 0;
}

static int read_id(const struct gguf_vocab *v, const char *key, int64_t *id, struct err *e) {
    uint64_t n = 0;
    *id = -1;
    int found = gguf_u64(v->g, key, UINT32_MAX, &n, e);
    if (found < 0)
        return -1;
    // llama.cpp's converter writes 2^32 - 1 for "none".
    if (found == 0 || n == UINT32_MAX)
        return 0;
    if (n >= v->n)
        return err_set(e, EXIT_DATA, "key '%s' is %" PRIu64 " of %zu tokens: %s", key, n, v->n,
                       v->g->path);
    *id = (int64_t)n;
    return 0;
}

static int read_specials(struct gguf_vocab *v, struct err *e) {
    bool bos_default = v->is_spm || tokpre_adds_bos(v->pre);
    v->add_bos = bos_default;
    v->space_prefix = v->is_spm;
    if (read_id(v, KEY "bos_token_id", &v->bos, e) || read_id(v, KEY "eos_token_id", &v->eos, e) ||
        read_id(v, KEY "eot_token_id", &v->eot, e) ||
        read_id(v, KEY "unknown_token_id", &v->unk, e) ||
        read_id(v, KEY "padding_token_id", &v->pad, e) ||
        gguf_bool(v->g, KEY "add_bos_token", &v->add_bos, e) < 0 ||
        gguf_bool(v->g, KEY "add_eos_token", &v->add_eos, e) < 0 ||
        gguf_bool(v->g, KEY "add_space_prefix", &v->space_prefix, e) < 0)
        return -1;
    v->add_bos &= v->bos >= 0;
    v->add_eos &= v->eos >= 0;
    return 0;
}

size_t gguf_turn_ends(const struct gguf_vocab *v, int64_t *ids, size_t max) {
    // llama.cpp, src/llama-vocab.cpp: special_eot_id, special_eom_id, special_eog_ids. Tokens that
    // end a text, not a turn (</s>, <|endoftext|>), are left to the keys, because base models use
    // them for other things.
    static const char *const texts[] = {
        "<|eot_id|>",    "<|im_end|>", "<|end|>",    "<|return|>",      "<|call|>",
        "<end_of_turn>", "<turn|>",    "<|eom_id|>", "<|end_of_turn|>", "<end_of_utterance>",
        "<EOT>",         "_<EOT>",     "[EOT]",      "<|eot|>",         "<|eom|>",
    };
    uint32_t id, other;
    size_t n = 0;
    bool harmony = strmap_find(&v->ids, str_of("<|return|>"), &id) &&
                   strmap_find(&v->ids, str_of("<|call|>"), &other);
    for (size_t i = 0; i < sizeof texts / sizeof *texts && n < max; i++)
        if (strmap_find(&v->ids, str_of(texts[i]), &id) &&
            !(harmony && strcmp(texts[i], "<|end|>") == 0))
            ids[n++] = (int64_t)id; // <|end|> of gpt-oss ends a message, not a turn
    return n;
}

static int read_pre(struct gguf_vocab *v, const char *pre, struct err *e) {
    struct str name = str_of(pre ? pre : "default");
    if (!pre && gguf_str(v->g, KEY "pre", &name, e) < 0)
        return -1;
    v->pre = tokpre_find(name);
    if (v->pre) {
        if (!pre && str_eq(name, "default"))
            warn("the file does not name its pre-tokenizer, so llama.cpp's default is used; --pre "
                 "NAME chooses another: %s",
                 v->g->path);
        return 0;
    }
    struct buf known = {0};
    err_set(e, EXIT_DATA, "the pre-tokenizer '%.*s' is not known (known: %s): %s", str_shown(name),
            name.p, tokpre_names(&known), v->g->path);
    buf_free(&known);
    return -1;
}

int gguf_vocab_open(struct gguf_vocab *v, const struct gguf *g, const char *pre, struct err *e) {
    *v = (struct gguf_vocab){.g = g};
    struct str model = {"", 0};
    int rc = gguf_str(g, KEY "model", &model, e);
    if (rc == 0)
        rc = err_set(e, EXIT_DATA, "key '" KEY "model' is missing: %s", g->path);
    v->is_spm = str_eq(model, "llama");
    if (rc > 0 && !v->is_spm && !str_eq(model, "gpt2"))
        rc = err_set(e, EXIT_DATA,
                     "tokenizer model '%.*s' is not supported, 'llama' and 'gpt2' are: %s",
                     str_shown(model), model.p, g->path);
    if (rc < 0 || read_tokens(v, e) != 0 || (!v->is_spm && read_pre(v, pre, e) != 0) ||
        read_specials(v, e) != 0)
        goto failed;
    if (v->is_spm)
        v->scores = array_of(g, KEY "scores", is_float, gguf_find(g, KEY "tokens")->count, e);
    else
        v->merges = array_of(g, KEY "merges", is_string, 0, e);
    if (v->scores || v->merges)
        return 0;
failed:
    gguf_vocab_free(v);
    return -1;
}

void gguf_vocab_free(struct gguf_vocab *v) {
    free(v->tokens);
    free(v->types);
    strmap_free(&v->ids);
    *v = (struct gguf_vocab){0};
}

static void added_tokens(const struct gguf_vocab *v, struct buf *out) {
    bool first = true;
    buf_str(out, "\"added_tokens\":[");
    for (size_t i = 0; i < v->n; i++) {
        int type = v->types[i];
        if ((type != GGUF_TOKEN_CONTROL && type != GGUF_TOKEN_UNKNOWN &&
             type != GGUF_TOKEN_USER_DEFINED) ||
            v->tokens[i].n == 0)
            continue;
        struct tokjson_added t = {
            .text = v->tokens[i], .id = (uint32_t)i, .special = type != GGUF_TOKEN_USER_DEFINED};
        tokjson_one_added(&t, first, out);
        first = false;
    }
    buf_str(out, "],\n");
}

static struct tokjson_special special(const struct gguf_vocab *v, int64_t id) {
    return id < 0 ? (struct tokjson_special){0}
                  : (struct tokjson_special){v->tokens[id], (uint32_t)id};
}

static void post_processor(const struct gguf_vocab *v, struct buf *out) {
    struct buf steps = {0};
    tokjson_bos_eos(v->add_bos, v->add_eos, special(v, v->bos), special(v, v->eos), &steps);
    buf_fmt(out, "\"post_processor\":%s,\n", steps.n ? steps.p : "null");
    buf_free(&steps);
}

/* As in the tokenizer.json of meta-llama/Llama-2-7b-hf; without the prefix as in google/gemma-2b.
 */
static void spm_steps(const struct gguf_vocab *v, struct buf *out) {
    static const char replace[] =
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"}";
    if (v->space_prefix)
        buf_fmt(out,
                "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
                "\"prepend\":\"▁\"},%s]},\n",
                replace);
    else
        buf_fmt(out, "\"normalizer\":%s,\n", replace);
    buf_str(out, "\"pre_tokenizer\":null,\n");
    post_processor(v, out);
    buf_str(out, "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                 "\"pattern\":{\"String\":\"▁\"},\"content\":\" \"},"
                 "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}");
    if (v->space_prefix)
        buf_str(out, ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}");
    buf_str(out, "]},\n");
}

static void bpe_steps(const struct gguf_vocab *v, struct buf *out) {
    struct buf normalizer = {0};
    tokpre_normalizer(v->pre, &normalizer);
    buf_fmt(out, "\"normalizer\":%s,\n\"pre_tokenizer\":", normalizer.n ? normalizer.p : "null");
    buf_free(&normalizer);
    tokpre_pre_tokenizer(v->pre, false, out);
    buf_str(out, ",\n");
    post_processor(v, out);
    buf_str(out, "\"decoder\":");
    tokjson_byte_level_decoder(out);
    buf_str(out, ",\n");
}

/* Writes the merges. "left right" is cut at the first space after the first byte: byte-level tokens
 * have no spaces. */
static int bpe_merges(const struct gguf_vocab *v, struct buf *out, struct err *e) {
    const unsigned char *at = v->merges->p;
    struct buf both = {0};
    int rc = 0;
    for (uint64_t i = 0; i < v->merges->count && rc == 0; i++) {
        struct str m = gguf_next_str(&at);
        const char *space = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
        size_t n = space ? (size_t)(space - m.p) : m.n;
        struct str l = {m.p, n}, r = {space ? space + 1 : m.p, space ? m.n - n - 1 : 0};
        uint32_t id;
        buf_clear(&both);
        buf_add(&both, l.p, l.n);
        buf_add(&both, r.p, r.n);
        if (!space || !strmap_find(&v->ids, l, &id) || !strmap_find(&v->ids, r, &id) ||
            !strmap_find(&v->ids, buf_view(&both), &id))
            rc = err_set(e, EXIT_DATA,
                         "merge %" PRIu64 " ('%.*s') is not of two tokens that make a third: %s", i,
                         str_shown(m), m.p, v->g->path);
        tokjson_merge(l, r, i == 0, out);
    }
    buf_free(&both);
    return rc;
}

/* Writes the merges that follow from the scores. */
static int spm_merges(const struct gguf_vocab *v, struct buf *out, struct err *e) {
    struct sp_vocab sp = {.name = v->g->path,
                          .n = v->n,
                          .texts = v->tokens,
                          .scores = xreallocarray(NULL, v->n, sizeof *sp.scores),
                          .types = v->types,
                          .ids = v->ids};
    for (size_t i = 0; i < v->n; i++)
        sp.scores[i] = gguf_float_at(v->scores, i);
    struct tokjson_merge *merges;
    size_t n;
    int rc = sp_merges(&sp, SP_LONGER_FIRST, &merges, &n, e);
    for (size_t i = 0; i < n; i++)
        tokjson_merge(v->tokens[merges[i].left], v->tokens[merges[i].right], i == 0, out);
    free(merges);
    free(sp.scores);
    return rc;
}

static bool has_bytes(const struct gguf_vocab *v) {
    for (size_t i = 0; i < v->n; i++)
        if (v->types[i] == GGUF_TOKEN_BYTE)
            return true;
    return false;
}

static void model_options(const struct gguf_vocab *v, struct buf *out) {
    buf_str(out, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (v->is_spm && v->unk >= 0)
        json_write_str(out, v->tokens[v->unk]);
    else
        buf_str(out, "null");
    buf_fmt(out,
            ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,"
            "\"byte_fallback\":%s,"
            "\"ignore_merges\":%s,\n",
            v->is_spm ? "true" : "false", v->is_spm && has_bytes(v) ? "true" : "false",
            !v->is_spm && tokpre_ignores_merges(v->pre) ? "true" : "false");
}

int gguf_tokenizer_json(const struct gguf_vocab *v, struct buf *out, struct err *e) {
    tokjson_head(out);
    added_tokens(v, out);
    if (v->is_spm)
        spm_steps(v, out);
    else
        bpe_steps(v, out);
    model_options(v, out);
    buf_str(out, "  \"vocab\":{");
    for (size_t i = 0; i < v->n; i++) {
        buf_str(out, i ? ",\n    " : "\n    ");
        json_write_str(out, v->tokens[i]);
        buf_fmt(out, ":%zu", i);
    }
    buf_str(out, "},\n  \"merges\":[");
    if ((v->is_spm ? spm_merges : bpe_merges)(v, out, e) != 0)
        return -1;
    buf_str(out, "]}}\n");
    return 0;
}

static void token_member(const struct gguf_vocab *v, const char *key, int64_t id, struct buf *out) {
    tokjson_member(key, id >= 0 ? v->tokens[id] : (struct str){0}, out);
}

/* Writes "tokenizer.chat_template", or, if there are several, a list of all with their names. */
static int chat_templates(const struct gguf_vocab *v, struct buf *out, struct err *e) {
    static const char prefix[] = "tokenizer.chat_template.";
    struct str text;
    int has_default = gguf_str(v->g, "tokenizer.chat_template", &text, e);
    if (has_default < 0)
        return -1;
    struct buf list = {0};
    for (size_t i = 0; i < v->g->n_kvs; i++) {
        struct str key = v->g->kvs[i].key, named;
        if (key.n < sizeof prefix || memcmp(key.p, prefix, sizeof prefix - 1) != 0)
            continue;
        char *name = str_dup(key);
        int found = gguf_str(v->g, name, &named, e);
        free(name);
        if (found <= 0) {
            buf_free(&list);
            return found < 0 ? -1
                             : err_set(e, EXIT_DATA, "a chat template's key has a NUL byte: %s",
                                       v->g->path);
        }
        buf_str(&list, ",\n    {\"name\": ");
        json_write_str(&list, (struct str){key.p + sizeof prefix - 1, key.n - sizeof prefix + 1});
        buf_str(&list, ", \"template\": ");
        json_write_str(&list, named);
        buf_byte(&list, '}');
    }
    if (has_default && list.n) {
        buf_str(out, ",\n  \"chat_template\": [\n    {\"name\": \"default\", \"template\": ");
        json_write_str(out, text);
        buf_byte(out, '}');
        buf_add(out, list.p, list.n);
        buf_byte(out, ']');
    } else if (list.n) {
        buf_str(out, ",\n  \"chat_template\": [");
        buf_add(out, list.p + 1, list.n - 1);
        buf_byte(out, ']');
    } else if (has_default) {
        buf_str(out, ",\n  \"chat_template\": ");
        json_write_str(out, text);
    }
    buf_free(&list);
    return 0;
}

int gguf_tokenizer_config_json(const struct gguf_vocab *v, uint64_t max_length, struct buf *out,
                               struct err *e) {
    buf_fmt(out, "{\n  \"add_bos_token\": %s,\n  \"add_eos_token\": %s",
            v->add_bos ? "true" : "false", v->add_eos ? "true" : "false");
    token_member(v, "bos_token", v->bos, out);
    token_member(v, "eos_token", v->eos, out);
    token_member(v, "pad_token", v->pad, out);
    token_member(v, "unk_token", v->unk, out);
    if (chat_templates(v, out, e) != 0)
        return -1;
    buf_str(out, ",\n  \"clean_up_tokenization_spaces\": false");
    if (max_length)
        buf_fmt(out, ",\n  \"model_max_length\": %" PRIu64, max_length);
    buf_str(out, ",\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
    return 0;
}

/* st-inspect --spec: see describe.h. Fields that are off are not printed. Names are those of struct
 * spec.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/describe.h"

#include <inttypes.h>
#include <stdlib.h>

#include "model/layers.h"
#include "model/mix.h"

static void field(FILE *out, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void field(FILE *out, const char *name, const char *fmt, ...) {
    va_list ap;
    fprintf(out, "%-16s ", name);
    va_start(ap, fmt);
    vfprintf(out, fmt, ap);
    va_end(ap);
    fputc('\n', out);
}

static void describe_dimensions(FILE *out, const struct spec *s) {
    static const char *const acts[] = {"none", "silu", "gelu (tanh)", "gelu (erf)", "relu"};
    field(out, "model_type", "%s%s%s", s->model_type, s->part_of ? ", the text part of " : "",
          s->part_of ? s->part_of : "");
    field(out, "vocab_size", "%zu%s", s->vocab_size, s->tied ? ", head tied to the embedding" : "");
    field(out, "hidden_dim", "%zu", s->hidden_dim);
    field(out, "n_layers", "%zu%s", s->n_layers,
          s->parallel ? ", attention and FFN in parallel" : "");
    field(out, "heads", "%zu, %zu for KV, of %zu dimensions", s->n_heads, s->n_kv_heads,
          s->head_dim);
    field(out, "ffn_dim", "%zu, %s%s", s->ffn_dim, acts[s->act], s->ungated ? "" : ", gated");
    if (s->n_experts > 0)
        field(out, "experts", "%zu of %zu for each row, of dimension %zu, weights %s",
              s->n_experts_used, s->n_experts, s->expert_ffn_dim,
              s->no_renormalise ? "as they are" : "renormalised");
    field(out, "max_pos", "%zu", s->max_pos);
    if (s->bidirectional)
        field(out, "attention", "bidirectional: an encoder, for llm-embed");
}

static void describe_blocks(FILE *out, const struct spec *s) {
    static const char *const qk[] = {"", "each head", "each head, own weights",
                                     "all heads at once"};
    field(out, "norm", "%s, eps %g%s, %s", s->norm == NORM_RMS ? "RMS" : "LayerNorm",
          (double)s->norm_eps, s->norm_offset > 0 ? ", 1 + weight" : "",
          s->residual_norm ? "of the residual, after each block"
          : s->no_pre_norm ? "after each block"
          : s->post_norm   ? "before and after each block"
                           : "before each block");
    if (s->qk_norm != QK_NORM_NONE)
        field(out, "qk_norm", "%s", qk[s->qk_norm]);
    if (s->qkv_bias || s->o_bias || s->ffn_bias || s->head_bias)
        field(out, "biases", "%s%s%s%s", s->qkv_bias ? "qkv " : "", s->o_bias ? "o " : "",
              s->ffn_bias ? "ffn " : "", s->head_bias ? "head" : "");
    field(out, "attn_scale", "%.9g%s", (double)s->attn_scale,
          s->attn_scale_by_layer ? ", divided by the layer's number" : "");
    const struct {
        const char *name;
        float value;
    } optional[] = {{"attn_softcap", s->attn_softcap},
                    {"embed_scale", s->embed_scale},
                    {"residual_scale", s->residual_scale},
                    {"logit_divisor", s->logit_divisor},
                    {"logit_softcap", s->logit_softcap}};
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (optional[i].value > 0)
            field(out, optional[i].name, "%.9g", (double)optional[i].value);
}

static void describe_positions(FILE *out, const struct spec *s) {
    static const char *const kinds[] = {"none",   "default", "linear",  "dynamic",
                                        "llama3", "yarn",    "longrope"};
    if (s->learned_pos && s->pos_offset > 0)
        field(out, "positions", "learned, from row %zu on", s->pos_offset);
    else if (s->learned_pos)
        field(out, "positions", "learned");
    if (s->token_types > 0)
        field(out, "token_types", "%zu, of which 0 is used", s->token_types);
    for (size_t i = 0; i < s->n_ropes; i++) {
        const struct rope_spec *r = &s->ropes[i];
        char factor[40] = "";
        if (r->kind != ROPE_DEFAULT)
            snprintf(factor, sizeof factor, ", factor %g", r->factor);
        field(out, i == 0 ? "rope" : "rope, sliding", "%s, theta %g, %zu of %zu dimensions%s",
              kinds[r->kind], r->theta, r->rotary_dim, s->head_dim, factor);
    }
    size_t n_sliding = 0, n_plain = 0, n_dense = 0;
    uint32_t window = 0;
    for (size_t l = 0; l < s->n_layers; l++) {
        n_sliding += s->layers[l].window > 0;
        n_plain += s->layers[l].no_rope;
        n_dense += s->layers[l].dense;
        window = s->layers[l].window > 0 ? s->layers[l].window : window;
    }
    if (n_sliding > 0)
        field(out, "window", "%" PRIu32 " in %zu of %zu layers", window, n_sliding, s->n_layers);
    if (n_plain > 0)
        field(out, "no_rope", "%zu of %zu layers", n_plain, s->n_layers);
    if (n_dense > 0)
        field(out, "dense", "%zu of %zu layers have no experts", n_dense, s->n_layers);
    if (s->bos >= 0)
        field(out, "bos", "%" PRId32, s->bos);
    for (size_t i = 0; i < s->n_eos; i++)
        field(out, "eos", "%" PRId32, s->eos[i]);
}

static void describe_memory(FILE *out, const struct spec *s, const struct weights *w,
                            size_t context) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < w->n_tensors; i++)
        bytes += w->tensors[i].n_bytes;
    uint64_t token = 2 * (uint64_t)s->n_layers * s->n_kv_heads * s->head_dim * 2;
    field(out, "weights", "%" PRIu64 " bytes in %zu tensors, mapped", bytes, w->n_tensors);
    field(out, "KV", "%" PRIu64 " bytes a token in bf16, twice that with --precise", token);
    struct state_layer *states = xcalloc(s->n_layers, sizeof *states);
    mix_states(s, kv_page_bytes(s->n_kv_heads, s->head_dim, s->head_dim, KV_BF16), context, states);
    field(out, "", "%" PRIu64 " bytes a sequence of %zu tokens",
          state_sequence_bytes(states, s->n_layers, context), context);
    free(states);
}

static void describe_quantised(FILE *out, const struct layers *m) {
    char text[300];
    for (size_t i = 0; layers_quantised_text(m, i, text, sizeof text); i++)
        field(out, i == 0 ? "quantised" : "", "%s", text);
}

static void describe_tensors(FILE *out, const struct spec *s, const struct weights *w,
                             const struct layers *m) {
    char shape[200];
    fputs("\ntensors\n", out);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        const char *state = m->used[i]                      ? "used"
                            : layers_ignores(s, t->name)    ? "no weight"
                            : layers_other_part(s, t->name) ? "no text"
                                                            : "left over";
        fprintf(out, "%-9s  %-4s  %s %s\n", state, dtype_name(t->dtype), t->name,
                tensor_shape_text(t, shape));
    }
    for (const char *p = m->wrong.p, *end; p && (end = strchr(p, '\n')); p = end + 1)
        fprintf(out, "wrong      %.*s\n", (int)(end - p), p);
}

int model_describe(FILE *out, const char *dir, const struct weights *w, size_t context,
                   struct err *e) {
    struct buf warnings = {0};
    struct layers m = {0};
    struct spec s;
    struct err why = {0};
    int rc = spec_read(&s, dir, &warnings, e);
    if (rc == 0) {
        describe_dimensions(out, &s);
        describe_blocks(out, &s);
        describe_positions(out, &s);
        describe_memory(out, &s, w, context > 0 ? context : s.max_pos);
        size_t n_config = warnings.n; // what layers_load adds is in the list of tensors
        rc = layers_check(&m, &s, w, &warnings, &why) != 0;
        describe_quantised(out, &m);
        describe_tensors(out, &s, w, &m);
        if (n_config > 0)
            fprintf(out, "\nwarnings\n%.*s", (int)n_config, warnings.p);
    }
    layers_free(&m);
    buf_free(&warnings);
    spec_free(&s);
    return rc;
}

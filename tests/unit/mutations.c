/* Tests the goldens: would they notice an error? One field of a spec at a time is made wrong. Then
 * the logits of a golden model must differ by more than the tolerance of goldens.c, or the weights
 * must no longer fit. --device NAME: on that device.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"
#include "../lib/models.h"
#include "model/internal.h"

typedef void mutation(struct spec *s);

static void theta(struct spec *s) {
    s->ropes[0].theta *= 1.5;
}
static void local_theta(struct spec *s) {
    s->ropes[1].theta *= 1.5;
}
static void rope_factor(struct spec *s) {
    s->ropes[0].factor *= 1.25;
}
static void rope_plain(struct spec *s) {
    s->ropes[0].kind = ROPE_DEFAULT;
}
static void attention_factor(struct spec *s) {
    s->ropes[0].attention_factor = 1;
}
static void low_freq(struct spec *s) {
    s->ropes[0].low_freq_factor *= 2;
}
static void short_for_long(struct spec *s) {
    s->ropes[0].long_factor = s->ropes[0].short_factor;
}
static void rotary_dim(struct spec *s) {
    s->ropes[0].rotary_dim = s->head_dim;
}
static void rotated(struct spec *s) {
    for (size_t l = 0; l < s->n_layers; l++)
        s->layers[l].no_rope = false;
}
static void window_more(struct spec *s) {
    for (size_t l = 0; l < s->n_layers; l++)
        s->layers[l].window += s->layers[l].window > 0;
}
static void window_off(struct spec *s) {
    for (size_t l = 0; l < s->n_layers; l++)
        s->layers[l].window = 0;
}
static void windows_swapped(struct spec *s) {
    uint32_t w = s->layers[0].window;
    s->layers[0].window = s->layers[2].window;
    s->layers[2].window = s->layers[1].window;
    s->layers[1].window = w;
}
static void ropes_swapped(struct spec *s) {
    for (size_t l = 0; l < s->n_layers; l++)
        s->layers[l].sliding = !s->layers[l].sliding;
}
static void eps(struct spec *s) {
    s->norm_eps = s->norm_eps > 5e-4f ? 1e-5f : 1e-3f;
}
static void norm_kind(struct spec *s) {
    s->norm = NORM_RMS;
}
static void norm_offset(struct spec *s) {
    s->norm_offset = 0;
}
static void post_norm(struct spec *s) {
    s->post_norm = !s->post_norm;
}
static void pre_norm(struct spec *s) {
    s->no_pre_norm = !s->no_pre_norm;
}
static void parallel(struct spec *s) {
    s->parallel = !s->parallel;
}
static void qk_norm(struct spec *s) {
    s->qk_norm = QK_NORM_NONE;
}
static void act_erf(struct spec *s) {
    s->act = ACT_GELU_ERF;
}
static void act_relu(struct spec *s) {
    s->act = ACT_RELU;
}
static void qkv_bias(struct spec *s) {
    s->qkv_bias = false;
}
static void o_bias(struct spec *s) {
    s->o_bias = false;
}
static void ffn_bias(struct spec *s) {
    s->ffn_bias = false;
}
static void head_bias(struct spec *s) {
    s->head_bias = false;
}
static void tied(struct spec *s) {
    s->tied = !s->tied;
}
static void embed_scale(struct spec *s) {
    s->embed_scale = 0;
}
static void attn_scale(struct spec *s) {
    s->attn_scale *= 1.1f;
}
static void attn_softcap(struct spec *s) {
    s->attn_softcap *= 1.1f;
}
static void residual_scale(struct spec *s) {
    s->residual_scale = 0;
}
static void logit_divisor(struct spec *s) {
    s->logit_divisor *= 1.1f;
}
static void logit_softcap(struct spec *s) {
    s->logit_softcap *= 1.1f;
}
static void experts_used(struct spec *s) {
    s->n_experts_used--;
}
static void renormalise(struct spec *s) {
    s->no_renormalise = !s->no_renormalise;
}
static void transposed(struct spec *s) {
    s->transposed = false;
}

static const struct {
    const char *name, *model;
    mutation *mutate;
} mutations[] = {
    {"theta", "llama", theta},
    {"theta", "gemma3", theta},
    {"theta of sliding layers", "gemma3", local_theta},
    {"rope factor", "llama-linear-rope", rope_factor},
    {"rope factor", "llama-dynamic-ntk", rope_factor},
    {"rope factor", "llama3-rope", rope_factor},
    {"rope factor", "llama-yarn", rope_factor},
    {"rope kind", "llama3-rope", rope_plain},
    {"rope kind", "llama-yarn", rope_plain},
    {"rope kind", "phi3-longrope", rope_plain},
    {"low_freq_factor", "llama3-rope", low_freq},
    {"attention_factor", "llama-yarn", attention_factor},
    {"attention_factor", "phi3-longrope", attention_factor},
    {"long_factor", "phi3-longrope", short_for_long},
    {"rotary_dim", "phi", rotary_dim},
    {"rotary_dim", "phi3-partial", rotary_dim},
    {"rotary_dim", "stablelm", rotary_dim},
    {"layers without rotation", "smollm3", rotated},
    {"window + 1", "mistral", window_more},
    {"window + 1", "gemma2", window_more},
    {"window + 1", "gemma3", window_more},
    {"window + 1", "phi3", window_more},
    {"window + 1", "starcoder2", window_more},
    {"no window", "mistral", window_off},
    {"theta of sliding layers", "../models-odd/olmo3", local_theta},
    {"rope factor", "../models-odd/olmo3", rope_factor},
    {"windows of other layers", "gemma2", windows_swapped},
    {"windows of other layers", "gemma3", windows_swapped},
    {"rotations of other layers", "gemma3", ropes_swapped},
    {"eps", "llama", eps},
    {"eps", "qwen2", eps},
    {"eps", "gpt2", eps},
    {"eps", "phi", eps},
    {"norm kind", "phi", norm_kind},
    {"norm offset", "gemma", norm_offset},
    {"post-norm", "gemma2", post_norm},
    {"post-norm", "olmo2", post_norm},
    {"post-norm", "llama", post_norm},
    {"pre-norm", "olmo2", pre_norm},
    {"pre-norm", "llama", pre_norm},
    {"parallel", "phi", parallel},
    {"parallel", "stablelm", parallel},
    {"qk-norm", "qwen3", qk_norm},
    {"qk-norm", "gemma3", qk_norm},
    {"qk-norm", "olmo2", qk_norm},
    {"activation", "gemma", act_erf},
    {"activation", "gpt2", act_erf},
    {"activation", "llama", act_relu},
    {"q, k and v bias", "qwen2", qkv_bias},
    {"o bias", "llama-mha-bias", o_bias},
    {"FFN bias", "starcoder2", ffn_bias},
    {"head bias", "phi", head_bias},
    {"tied head", "gemma", tied},
    {"embedding scale", "gemma", embed_scale},
    {"embedding scale", "granite", embed_scale},
    {"score scale", "granite", attn_scale},
    {"score scale", "gemma2", attn_scale},
    {"score softcap", "gemma2", attn_softcap},
    {"residual scale", "granite", residual_scale},
    {"logit divisor", "granite", logit_divisor},
    {"logit softcap", "gemma2", logit_softcap},
    {"experts used", "mixtral", experts_used},
    {"experts' weights", "mixtral", renormalise},
    {"experts' weights", "qwen3-moe", renormalise},
    {"transposed", "gpt2", transposed},
};

/* The model's logits differ from its golden's, with the mutation made; or it does not load. */
static bool is_seen(const char *name, mutation *mutate) {
    char *folder = path_join(MODELS_DIR, name), *golden = path_join(folder, "golden.safetensors");
    struct model_options o = {.precise = true,
                              .n_threads = 1,
                              .max_sequences = 1,
                              .max_rows = 64,
                              .device = models_device};
    struct buf warnings = {0};
    struct err e = {0};
    struct weights g;
    struct spec s;
    struct model *m;
    if (weights_open(&g, golden, &e) != 0 || spec_read(&s, folder, &warnings, &e) != 0)
        die_err(&e);
    if (mutate)
        mutate(&s);
    bool seen = model_open_spec(&m, &s, folder, &o, &e) != 0;
    if (!seen) {
        size_t n, n_logits;
        const int64_t *ids = models_golden(&g, "ids", &n);
        const float *want = models_golden(&g, "logits", &n_logits);
        float *logits = xcalloc(n_logits, sizeof *logits);
        models_feed(m, 0, ids, n, n, logits, NULL);
        seen = models_difference(logits, want, n_logits) > 1e-3f;
        free(logits);
        model_close(m);
    }
    weights_close(&g);
    buf_free(&warnings);
    free(golden);
    free(folder);
    return seen;
}

static void unchanged_is_not_seen(void) {
    CHECK(!is_seen("llama", NULL));
}

int main(int argc, char **argv) {
    struct err e = {0};
    program_init(argv[0]);
    models_arguments(&argc, argv);
    if (kernels_init(&e) != 0)
        die_err(&e);
    warn_quiet(1);
    RUN(unchanged_is_not_seen);
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        bool seen = is_seen(mutations[i].model, mutations[i].mutate);
        printf("%s %d %s of %s\n", seen ? "ok" : "not ok", ++check_count, mutations[i].name,
               mutations[i].model);
        check_bad += !seen;
    }
    return check_done();
}

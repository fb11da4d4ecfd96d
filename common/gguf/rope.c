/* config.json's "rope_scaling" from a GGUF file: see model.h.
 *
 * linear and yarn have keys (gguf-py/gguf/constants.py, Keys.Rope). Llama 3's scaling has none:
 * rope_freqs.weight has its divisors, one for each pair of a head. If the published parameters give
 * the same divisors, they are written. Any other tensor is refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gguf/dequant.h"
#include "gguf/model.h"

void gguf_write_f32(struct buf *out, double f) {
    char text[40] = "0";
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (strtof(text, NULL) == (float)f)
            break;
    }
    if (strstr(text, "e+") && fabs(f) < 1e16)
        snprintf(text, sizeof text, "%.0f", f); // 100000.0, not 1e+05
    buf_str(out, text);
    if (!strpbrk(text, ".en"))
        buf_str(out, ".0");
}

/* The divisor of frequency i (transformers, modeling_rope_utils.py, _compute_llama3_parameters). */
static double llama3_divisor(const struct gguf_model *m, uint64_t i, double factor,
                             double original) {
    const double low = 1, high = 4, pi = 3.14159265358979323846;
    double freq = pow(m->rope_theta, -2.0 * (double)i / (double)m->head_dim),
           wavelength = 2 * pi / freq;
    if (wavelength < original / high)
        return 1;
    if (wavelength > original / low)
        return factor;
    double smooth = (original / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
}

static int llama3(struct gguf_model *m, const struct gguf_tensor *t, struct err *e) {
    const double original = 8192; // Llama 3.1, 3.2 and 3.3
    if (t->type != GGML_F32 || t->n_dims != 1 || t->ne[0] != m->head_dim / 2)
        return err_set(e, EXIT_DATA,
                       "tensor 'rope_freqs.weight' is no F32 vector of %" PRIu64 ": %s",
                       m->head_dim / 2, m->g->path);
    size_t n = (size_t)t->ne[0];
    float *divisors = xreallocarray(NULL, n, sizeof *divisors);
    gguf_dequant(t->type, t->data, divisors, n);
    double factor = divisors[n - 1];
    bool fits = factor >= 1 && factor <= 1e6, all_one = true;
    for (size_t i = 0; i < n; i++) {
        double want = llama3_divisor(m, i, factor, original);
        fits &= fabs(divisors[i] - want) <= 1e-4 * want; // f32 arithmetic in the converter
        all_one &= divisors[i] == 1;
    }
    free(divisors);
    if (all_one)
        return 0;
    if (!fits)
        return err_set(e, EXIT_DATA, "tensor 'rope_freqs.weight' is not Llama 3's scaling: %s",
                       m->g->path);
    buf_str(&m->rope_scaling, "{\"rope_type\": \"llama3\", \"factor\": ");
    gguf_write_f32(&m->rope_scaling, factor);
    buf_str(&m->rope_scaling, ", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                              "\"original_max_position_embeddings\": 8192}");
    return 0;
}

static int scaling_key(const struct gguf_model *m, const char *suffix, double *out, struct err *e) {
    char *key = xasprintf("%s.rope.%s", m->arch->name, suffix);
    int rc = gguf_f64(m->g, key, out, e);
    free(key);
    return rc;
}

static int linear(struct gguf_model *m, double factor) {
    if (factor != 1) {
        buf_str(&m->rope_scaling, "{\"rope_type\": \"linear\", \"factor\": ");
        gguf_write_f32(&m->rope_scaling, factor);
        buf_byte(&m->rope_scaling, '}');
    }
    return 0;
}

/* llama.cpp's attn_factor multiplies the default attention factor, 0.1 ln(factor) + 1, which
 * transformers has too. */
static int yarn(struct gguf_model *m, double factor, struct err *e) {
    double original = 0, attn = 1, ext = 1, fast = 32, slow = 1;
    if (scaling_key(m, "scaling.original_context_length", &original, e) < 0 ||
        scaling_key(m, "scaling.attn_factor", &attn, e) < 0 ||
        scaling_key(m, "scaling.yarn_ext_factor", &ext, e) < 0 ||
        scaling_key(m, "scaling.yarn_beta_fast", &fast, e) < 0 ||
        scaling_key(m, "scaling.yarn_beta_slow", &slow, e) < 0)
        return -1;
    if (attn != 1 || ext != 1)
        return err_set(e, EXIT_DATA,
                       "yarn with attn_factor %g and yarn_ext_factor %g is not supported: %s", attn,
                       ext, m->g->path);
    if (original < 1 || original > INT32_MAX || original != floor(original))
        return err_set(e, EXIT_DATA,
                       "yarn without a good '%s.rope.scaling.original_context_length': %s",
                       m->arch->name, m->g->path);
    buf_str(&m->rope_scaling, "{\"rope_type\": \"yarn\", \"factor\": ");
    gguf_write_f32(&m->rope_scaling, factor);
    buf_fmt(&m->rope_scaling, ", \"original_max_position_embeddings\": %.0f", original);
    buf_str(&m->rope_scaling, ", \"beta_fast\": ");
    gguf_write_f32(&m->rope_scaling, fast);
    buf_str(&m->rope_scaling, ", \"beta_slow\": ");
    gguf_write_f32(&m->rope_scaling, slow);
    buf_byte(&m->rope_scaling, '}');
    return 0;
}

int gguf_rope_scaling(struct gguf_model *m, struct err *e) {
    struct str type = {"none", 4};
    double factor = 1, old_linear = 1;
    char *key = xasprintf("%s.rope.scaling.type", m->arch->name);
    int rc = gguf_str(m->g, key, &type, e);
    free(key);
    if (rc < 0 || scaling_key(m, "scaling.factor", &factor, e) < 0 ||
        scaling_key(m, "scale_linear", &old_linear, e) < 0)
        return -1;
    if (factor <= 0 || old_linear <= 0)
        return err_set(e, EXIT_DATA, "the rope scaling factor is not positive: %s", m->g->path);
    const struct gguf_tensor *freqs = gguf_find_tensor(m->g, "rope_freqs.weight");
    bool none = str_eq(type, "none");
    if (freqs && (!none || old_linear != 1))
        return err_set(e, EXIT_DATA, "both rope_freqs.weight and a rope scaling type: %s",
                       m->g->path);
    if (freqs)
        return llama3(m, freqs, e);
    if (none)
        return linear(m, old_linear);
    if (str_eq(type, "linear"))
        return linear(m, factor);
    if (str_eq(type, "yarn"))
        return yarn(m, factor, e);
    return err_set(e, EXIT_DATA, "rope scaling '%.*s' is not supported: %s", str_shown(type),
                   type.p, m->g->path);
}

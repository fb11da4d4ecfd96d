/* config.json's "rope_scaling" from a GGUF file: see model.h.
 *
 * linear and yarn have keys (gguf-py/gguf/constants.py, Keys.Rope). longrope has its factors in
 * rope_factors_long.weight and rope_factors_short.weight. Llama 3's scaling has no keys:
 * rope_freqs.weight has its divisors, one for each pair of a head. Parameters that give the same
 * divisors are written: the published ones, or else a fit. Any other tensor is refused.
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

/* ---- Llama 3 ---- */

/* Only the ratios of original, low and high have an effect, so low is 1. */
struct llama3 {
    double factor, original, high;
};

static double wavelength(const struct gguf_model *m, uint64_t i) {
    const double pi = 3.14159265358979323846;
    return 2 * pi * pow(m->rope_theta, 2.0 * (double)i / (double)m->rope_dim);
}

/* The divisor of frequency i (transformers, modeling_rope_utils.py, _compute_llama3_parameters). */
static double llama3_divisor(const struct gguf_model *m, uint64_t i, const struct llama3 *p) {
    double wave = wavelength(m, i);
    if (wave < p->original / p->high)
        return 1;
    if (wave > p->original)
        return p->factor;
    double smooth = (p->original / wave - 1) / (p->high - 1);
    return 1 / ((1 - smooth) / p->factor + smooth);
}

static bool llama3_fits(const struct gguf_model *m, const float *divisors, size_t n,
                        const struct llama3 *p) {
    bool fits = p->factor >= 1 && p->factor <= 1e6 && p->high > 1 && p->original >= 1 &&
                p->original <= INT32_MAX;
    for (size_t i = 0; i < n && fits; i++) {
        double want = llama3_divisor(m, i, p);
        fits = fabs(divisors[i] - want) <= 1e-4 * want; // f32 arithmetic in the converter
    }
    return fits;
}

/* Finds original and high from the divisors between 1 and the factor, whose `smooth` is linear in
 * 1 / wavelength: smooth * (high - 1) + 1 = original / wavelength. With one such divisor, high
 * is 4. With none, all parameters that are between the last divisor of 1 and the next give the
 * same. Whole numbers are preferred. */
static void llama3_fit(const struct gguf_model *m, const float *divisors, size_t n,
                       struct llama3 *p) {
    double smooth[2] = {0}, inverse[2] = {0};
    int found = 0;
    size_t ones = 0;
    for (size_t i = 0; i < n; i++) {
        ones += divisors[i] == 1;
        if (!(divisors[i] > 1 && divisors[i] < p->factor))
            continue;
        int at = found < 1 ? 0 : 1; // the first and the last
        smooth[at] = (1 / (double)divisors[i] - 1 / p->factor) / (1 - 1 / p->factor);
        inverse[at] = 1 / wavelength(m, i);
        found = at + 1;
    }
    p->high = 4;
    if (found == 2) {
        double ratio = inverse[0] / inverse[1], slope = smooth[0] - ratio * smooth[1];
        p->high = slope > 0 ? 1 + (ratio - 1) / slope : 0;
        if (fabs(p->high - round(p->high)) < 1e-2 * p->high)
            p->high = round(p->high);
    }
    if (found) {
        p->original = round((smooth[0] * (p->high - 1) + 1) / inverse[0]);
    } else if (ones > 0 && ones < n) {
        double below = wavelength(m, ones - 1), above = wavelength(m, ones);
        p->high = fmin(p->high, sqrt(above / below));
        p->original = round(sqrt(below * p->high * above));
    }
}

/* Reads a vector of rope_dim / 2 positive numbers; NULL with e set if t is no such. The caller
 * frees it. */
static float *read_factors(const struct gguf_model *m, const struct gguf_tensor *t, struct err *e) {
    size_t n = (size_t)m->rope_dim / 2;
    if (t->type != GGML_F32 || t->n_dims != 1 || t->ne[0] != n) {
        err_set(e, EXIT_DATA, "tensor '%.*s' is no F32 vector of %zu: %s", str_shown(t->name),
                t->name.p, n, gguf_path_of(m->g, t));
        return NULL;
    }
    float *out = xreallocarray(NULL, n, sizeof *out);
    gguf_dequant(t->type, t->data, out, n);
    for (size_t i = 0; i < n; i++)
        if (!(out[i] > 0 && isfinite(out[i]))) {
            err_set(e, EXIT_DATA, "element %zu of tensor '%.*s' is %g, not a positive number: %s",
                    i, str_shown(t->name), t->name.p, (double)out[i], gguf_path_of(m->g, t));
            free(out);
            return NULL;
        }
    return out;
}

static int llama3(struct gguf_model *m, const struct gguf_tensor *t, struct err *e) {
    float *divisors = read_factors(m, t, e);
    if (!divisors)
        return -1;
    size_t n = (size_t)m->rope_dim / 2;
    bool all_one = true;
    for (size_t i = 0; i < n; i++)
        all_one &= divisors[i] == 1;
    // Llama 3.1, 3.2 and 3.3
    struct llama3 p = {.factor = (double)divisors[n - 1], .original = 8192, .high = 4};
    bool fits = llama3_fits(m, divisors, n, &p);
    if (!fits && !all_one) {
        llama3_fit(m, divisors, n, &p);
        fits = llama3_fits(m, divisors, n, &p);
    }
    free(divisors);
    if (all_one)
        return 0;
    if (!fits)
        return err_set(e, EXIT_DATA, "tensor 'rope_freqs.weight' is not Llama 3's scaling: %s",
                       gguf_path_of(m->g, t));
    buf_str(&m->rope_scaling, "{\"rope_type\": \"llama3\", \"factor\": ");
    gguf_write_f32(&m->rope_scaling, p.factor);
    buf_str(&m->rope_scaling, ", \"low_freq_factor\": 1.0, \"high_freq_factor\": ");
    gguf_write_f32(&m->rope_scaling, p.high);
    buf_fmt(&m->rope_scaling, ", \"original_max_position_embeddings\": %.0f}", p.original);
    return 0;
}

/* ---- the others ---- */

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
 * transformers has too. yarn_attn_factor is config.json's attention_factor (conversion/base.py). */
static int yarn(struct gguf_model *m, double factor, struct err *e) {
    double attn = 1, given = 0, ext = 1, fast = 32, slow = 1;
    if (scaling_key(m, "scaling.attn_factor", &attn, e) < 0 ||
        scaling_key(m, "scaling.yarn_attn_factor", &given, e) < 0 ||
        scaling_key(m, "scaling.yarn_ext_factor", &ext, e) < 0 ||
        scaling_key(m, "scaling.yarn_beta_fast", &fast, e) < 0 ||
        scaling_key(m, "scaling.yarn_beta_slow", &slow, e) < 0)
        return -1;
    if (attn != 1 || ext != 1)
        return err_set(e, EXIT_DATA,
                       "yarn with attn_factor %g and yarn_ext_factor %g is not supported: %s", attn,
                       ext, m->g->path);
    if (!m->original_max_pos)
        return err_set(e, EXIT_DATA,
                       "yarn without a good '%s.rope.scaling.original_context_length': %s",
                       m->arch->name, m->g->path);
    buf_str(&m->rope_scaling, "{\"rope_type\": \"yarn\", \"factor\": ");
    gguf_write_f32(&m->rope_scaling, factor);
    buf_fmt(&m->rope_scaling, ", \"original_max_position_embeddings\": %" PRIu64,
            m->original_max_pos);
    buf_str(&m->rope_scaling, ", \"beta_fast\": ");
    gguf_write_f32(&m->rope_scaling, fast);
    buf_str(&m->rope_scaling, ", \"beta_slow\": ");
    gguf_write_f32(&m->rope_scaling, slow);
    if (given > 0) {
        buf_str(&m->rope_scaling, ", \"attention_factor\": ");
        gguf_write_f32(&m->rope_scaling, given);
    }
    buf_byte(&m->rope_scaling, '}');
    return 0;
}

static int write_factors(struct gguf_model *m, const char *key, const struct gguf_tensor *t,
                         struct err *e) {
    float *factors = read_factors(m, t, e);
    if (!factors)
        return -1;
    buf_fmt(&m->rope_scaling, ", \"%s\": [", key);
    for (uint64_t i = 0; i < m->rope_dim / 2; i++) {
        buf_str(&m->rope_scaling, i ? ", " : "");
        gguf_write_f32(&m->rope_scaling, (double)factors[i]);
    }
    buf_byte(&m->rope_scaling, ']');
    free(factors);
    return 0;
}

/* The reference derives the factor from the two context lengths, and the attention factor from it.
 * The latter is written where the file has another one. */
static int longrope(struct gguf_model *m, const struct gguf_tensor *lng,
                    const struct gguf_tensor *shrt, struct err *e) {
    double attn = 0;
    if (!lng || !shrt)
        return err_set(e, EXIT_DATA, "tensor 'rope_factors_%s.weight' is missing: %s",
                       lng ? "short" : "long", m->g->path);
    if (m->original_max_pos < 2)
        return err_set(e, EXIT_DATA,
                       "longrope without a good '%s.rope.scaling.original_context_length': %s",
                       m->arch->name, m->g->path);
    if (scaling_key(m, "scaling.attn_factor", &attn, e) < 0)
        return -1;
    double original = (double)m->original_max_pos, scale = (double)m->max_pos / original;
    double usual = scale > 1 ? sqrt(1 + log(scale) / log(original)) : 1;
    buf_str(&m->rope_scaling, "{\"rope_type\": \"longrope\", \"type\": \"longrope\"");
    if (write_factors(m, "long_factor", lng, e) != 0 ||
        write_factors(m, "short_factor", shrt, e) != 0)
        return -1;
    if (attn > 0 && fabs(attn - usual) > 1e-6 * usual) {
        buf_str(&m->rope_scaling, ", \"attention_factor\": ");
        gguf_write_f32(&m->rope_scaling, attn);
    }
    buf_fmt(&m->rope_scaling, ", \"original_max_position_embeddings\": %" PRIu64 "}",
            m->original_max_pos);
    return 0;
}

/* rope.scaling.original_context_length, a whole number of any type; 0 if it is missing or not one.
 */
static int read_original(struct gguf_model *m, struct err *e) {
    double original = 0;
    if (scaling_key(m, "scaling.original_context_length", &original, e) < 0)
        return -1;
    if (original >= 1 && original <= INT32_MAX && original == floor(original))
        m->original_max_pos = (uint64_t)original;
    return 0;
}

int gguf_rope_scaling(struct gguf_model *m, struct err *e) {
    struct str type = {"none", 4};
    double factor = 1, old_linear = 1;
    char *key = gguf_model_key(m, "rope.scaling.type");
    int rc = gguf_str(m->g, key, &type, e);
    free(key);
    if (rc < 0 || scaling_key(m, "scaling.factor", &factor, e) < 0 ||
        scaling_key(m, "scale_linear", &old_linear, e) < 0 || read_original(m, e) != 0)
        return -1;
    if (factor <= 0 || old_linear <= 0)
        return err_set(e, EXIT_DATA, "the rope scaling factor is not positive: %s", m->g->path);
    const struct gguf_tensor *freqs = gguf_find_tensor(m->g, "rope_freqs.weight"),
                             *lng = gguf_find_tensor(m->g, "rope_factors_long.weight"),
                             *shrt = gguf_find_tensor(m->g, "rope_factors_short.weight");
    bool none = str_eq(type, "none"), is_long = lng || shrt || str_eq(type, "longrope");
    if ((freqs && (!none || old_linear != 1 || is_long)) ||
        (is_long && !none && !str_eq(type, "longrope")))
        return err_set(e, EXIT_DATA, "both %s and a rope scaling type: %s",
                       freqs ? "rope_freqs.weight" : "rope_factors_long.weight", m->g->path);
    if (is_long)
        return longrope(m, lng, shrt, e);
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

/* Rotary frequencies: see rope.h.
 *
 * The formulas are those of huggingface/transformers, src/transformers/modeling_rope_utils.py, with
 * its float32 roundings. At position 100,000, one rounding of a frequency already changes a head's
 * angle visibly. So frequencies are float, and so are the angles that a device computes from them;
 * cos and sin of an angle are exact to the last bit.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

static const double pi = 3.14159265358979323846;

/* theta^(2i / d): the wavelength of pair i, divided by 2 pi. */
static float wavelength(double theta, size_t i, size_t half) {
    float exponent = (float)(2 * i) / (float)(2 * half);
    return (float)pow(theta, exponent);
}

static float plain_freq(double theta, size_t i, size_t half) {
    return 1.0f / wavelength(theta, i, half);
}

/* Llama 3.1: the frequencies of slow pairs are divided by factor, those of fast pairs are
 * unchanged, and between them the two are blended. */
static float llama3_freq(const struct rope_spec *s, float freq) {
    double length = 2 * pi / freq;
    if (length < s->original_max_pos / s->high_freq_factor)
        return freq;
    if (length > s->original_max_pos / s->low_freq_factor)
        return (float)(freq / s->factor);
    double smooth = (s->original_max_pos / length - s->low_freq_factor) /
                    (s->high_freq_factor - s->low_freq_factor);
    return (float)((1 - smooth) * freq / s->factor + smooth * freq);
}

/* YaRN (Peng et al. 2023): the pair that rotates `turns` times within the trained length. */
static double yarn_pair(const struct rope_spec *s, double turns) {
    return (double)s->rotary_dim * log(s->original_max_pos / (turns * 2 * pi)) /
           (2 * log(s->theta));
}

static void yarn_freqs(const struct rope_spec *s, float *freq, size_t half) {
    double low = yarn_pair(s, s->beta_fast > 0 ? s->beta_fast : 32);
    double high = yarn_pair(s, s->beta_slow > 0 ? s->beta_slow : 1);
    if (!s->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)s->rotary_dim - 1);
    if (low >= high && low <= high)
        high += 0.001; // avoids a division by zero, as the reference does
    for (size_t i = 0; i < half; i++) {
        double ramp = fmin(fmax(((double)i - low) / (high - low), 0),
                           1); // 0: unchanged; 1: divided by factor
        double w = wavelength(s->theta, i, half);
        freq[i] = (float)(ramp / (s->factor * w) + (1 - ramp) / w);
    }
}

static double yarn_mscale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static double cos_sin_scale(const struct rope_spec *s) {
    if (s->kind != ROPE_YARN && s->kind != ROPE_LONGROPE)
        return 1;
    if (s->attention_factor > 0)
        return s->attention_factor;
    if (s->kind == ROPE_LONGROPE)
        return s->factor <= 1 ? 1 : sqrt(1 + log(s->factor) / log(s->original_max_pos));
    if (s->mscale > 0 && s->mscale_all_dim > 0)
        return yarn_mscale(s->factor, s->mscale) / yarn_mscale(s->factor, s->mscale_all_dim);
    return yarn_mscale(s->factor, 1);
}

void rope_init(struct rope *r, const struct rope_spec *s, size_t max_pos) {
    size_t half = s->rotary_dim / 2;
    *r = (struct rope){.kind = s->kind,
                       .half = half,
                       .theta = s->theta,
                       .factor = s->factor,
                       .max_pos = (double)max_pos,
                       .original_max_pos = s->original_max_pos,
                       .scale = (float)cos_sin_scale(s),
                       .freq = xcalloc(half, sizeof(float)),
                       .freq_long = xcalloc(half, sizeof(float))};
    for (size_t i = 0; i < half; i++) {
        r->freq[i] = plain_freq(s->theta, i, half);
        if (s->kind == ROPE_LINEAR)
            r->freq[i] /= (float)s->factor;
        if (s->kind == ROPE_LLAMA3)
            r->freq[i] = llama3_freq(s, r->freq[i]);
        if (s->kind == ROPE_LONGROPE) {
            r->freq[i] = 1.0f / (s->short_factor[i] * wavelength(s->theta, i, half));
            r->freq_long[i] = 1.0f / (s->long_factor[i] * wavelength(s->theta, i, half));
        }
    }
    if (s->kind == ROPE_YARN)
        yarn_freqs(s, r->freq, half);
}

void rope_free(struct rope *r) {
    free(r->freq);
    free(r->freq_long);
    *r = (struct rope){0};
}

uint32_t rope_variant(const struct rope *r, uint32_t length) {
    if (r->kind == ROPE_LONGROPE)
        return length > r->original_max_pos;
    if (r->kind == ROPE_DYNAMIC)
        return length > r->max_pos ? length : 0;
    return 0;
}

bool rope_needs_own(const struct rope *r) {
    return r->kind == ROPE_DYNAMIC;
}

const float *rope_freqs(const struct rope *r, uint32_t variant, float *own) {
    if (r->kind == ROPE_LONGROPE && variant)
        return r->freq_long;
    if (r->kind != ROPE_DYNAMIC || !variant)
        return r->freq;
    double d = (double)(2 * r->half); // variant is the length
    double theta = r->theta * pow(r->factor * variant / r->max_pos - (r->factor - 1), d / (d - 2));
    for (size_t i = 0; i < r->half; i++)
        own[i] = plain_freq(theta, i, r->half);
    return own;
}

/* The kinds of norms and activations that families have.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_KINDS_H
#define SPEC_KINDS_H

enum activation { ACT_NONE, ACT_SILU, ACT_GELU_TANH, ACT_GELU_ERF, ACT_RELU };
enum norm_kind { NORM_RMS, NORM_LAYER };
enum qk_norm {
    QK_NORM_NONE,
    QK_NORM_HEAD, // each head by itself, all with the same weights: Qwen 3, Gemma 3
    QK_NORM_EACH, // each head by itself, with weights of its own: StableLM 2 12B
    QK_NORM_ALL,  // all heads of a row at once: OLMo 2
};

#endif

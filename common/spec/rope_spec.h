/* One rotation (RoPE), as config.json describes it; model/rope.h computes its angles.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_ROPE_SPEC_H
#define SPEC_ROPE_SPEC_H

#include <stdbool.h>
#include <stddef.h>

enum rope_kind {
    ROPE_NONE,
    ROPE_DEFAULT,
    ROPE_LINEAR,
    ROPE_DYNAMIC,
    ROPE_LLAMA3,
    ROPE_YARN,
    ROPE_LONGROPE
};

struct rope_spec {
    enum rope_kind kind;
    double theta;
    double partial;          // share of head_dim that is rotated (Phi 0.5); 0: all
    size_t rotary_dim;       // partial * head_dim, even
    double factor;           // linear, dynamic, llama3, yarn, longrope; 0: not given
    double attention_factor; // yarn, longrope: factor of cos and sin; 0: given by their formula
    double original_max_pos; // llama3, yarn, longrope
    double low_freq_factor, high_freq_factor;            // llama3
    double beta_fast, beta_slow, mscale, mscale_all_dim; // yarn; 0: not given
    bool no_truncate;                                    // yarn: "truncate": false (gpt-oss)
    float *short_factor, *long_factor; // longrope [n_short], [n_long], in the spec's arena
    size_t n_short, n_long;
};

#endif

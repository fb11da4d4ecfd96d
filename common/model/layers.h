/* The weights as forward uses them: matrices as common/quant opens them, vectors (norms, biases) as
 * f32 copies.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_LAYERS_H
#define MODEL_LAYERS_H

#include "backend/ops.h"
#include "quant/format.h"
#include "spec/spec.h"
#include "weights/safetensors.h"

struct pending_copy {
    float *to;
    const struct tensor *from;
};

struct layer {
    struct norm attn_norm, attn_post_norm, ffn_norm, ffn_post_norm; // [hidden_dim] each
    struct norm q_norm, k_norm;
    struct linear
        qkv[3];      // q, k, v, side by side in a row of outputs; if fused, qkv[0] is all three
    struct linear o; // [hidden_dim, q_dim]
    struct linear ffn_in[2]; // gate, up; if fused, ffn_in[0] is both; if ungated, it is up
    struct linear down;      // [hidden_dim, ffn_dim]
    struct linear router;    // [n_experts, hidden_dim]; w.data NULL: an ordinary FFN
    struct linear *experts;  // [n_experts][3]: gate, up, down; NULL: an ordinary FFN
};

/* A matrix that was loaded, and its module: the tensor's name without ".weight". */
struct layers_matrix {
    const char *module; // in the arena
    const char *stack;  // the tensor [n_experts, ...] of which it is a part, or NULL
    struct mat w;
    bool same_as_embed; // a tied model's head, whose bits are those of the embedding
};

struct layers {
    struct linear embed, head; // [vocab_size, hidden_dim]
    struct linear positions;   // [max_pos, hidden_dim]
    struct linear types;       // [token_types, hidden_dim]
    struct norm embed_norm, final_norm;
    struct layer *layers;        // [n_layers]
    struct arena mem;            // holds f32 copies of vectors, and the experts
    struct mat_memory converted; // matrices that are not read from the mapping
    struct mat_report quantised; // how many matrices, and of which formats

    /* Vectors are copied when their layer is first used, so that opening a model whose files are
     * not in memory does not wait for the disk. */
    struct pending_copy *vectors; // [n_vectors], in the order of the layers
    size_t n_vectors, n_copied;
    size_t *vectors_of; // [n_layers + 1]: vectors of all layers up to this one; the last: of all

    struct layers_matrix *matrices; // [n_matrices], in the order of loading
    size_t n_matrices, matrices_cap;

    bool *used;       // [n_tensors] of the weights
    size_t n_other;   // tensors of other parts of a multimodal model
    struct buf wrong; // a line for each tensor that is missing or has another shape or type
};

/* Finds, checks and notes every tensor that the spec asks for. All errors are reported together: -1
 * (EXIT_DATA) names the first of them. Tensors that are not used add lines to warnings. Matrices
 * point into w, which must outlive them. */
int layers_load(struct layers *m, const struct spec *s, const struct weights *w,
                struct buf *warnings, struct err *e);

/* The same, but quantised matrices are only checked and counted: their rows cannot be read. */
int layers_check(struct layers *m, const struct spec *s, const struct weights *w,
                 struct buf *warnings, struct err *e);

/* Line i of m->quantised as text: "gptq: 14 matrices in 4-bit groups of 32, 12345 bytes of copies".
 * False after the last. */
bool layers_quantised_text(const struct layers *m, size_t i, char *text, size_t size);

/* Makes the norms and biases of layers 0 .. layer readable; layer n_layers: also what follows the
 * layers. */
void layers_ready(struct layers *m, size_t layer);

/* Copies all weights to a device that keeps them in memory of its own. From then on only the device
 * may read the vectors. */
int layers_send(struct layers *m, const struct spec *s, struct device *d, struct err *e);
void layers_free(struct layers *m); // needed after -1 too

/* Whether files of the family have this tensor although it is not a weight (GPT-2's causal masks).
 */
bool layers_ignores(const struct spec *s, const char *tensor);

/* Whether it belongs to another part of a multimodal model than its text model. */
bool layers_other_part(const struct spec *s, const char *tensor);

#endif

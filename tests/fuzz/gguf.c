/* Fuzz entry of the GGUF import: arbitrary bytes are opened. If they are accepted, a plan is made,
 * the vocabulary is written as JSON that must parse, and the first and last row of every tensor are
 * read.
 *
 * Input that begins with 'S' is a model in two parts: 3 bytes with the size of the first, then
 * both.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "gguf/keep.h"
#include "gguf/vocab.h"
#include "gguf/model.h"

static void vocab(const struct gguf *g) {
    struct gguf_vocab v;
    struct buf out = {0};
    struct err e;
    if (gguf_vocab_open(&v, g, NULL, &e) != 0)
        return;
    if (gguf_tokenizer_json(&v, &out, &e) == 0)
        fuzz_check_json(buf_view(&out));
    buf_clear(&out);
    if (gguf_tokenizer_config_json(&v, 7, &out, &e) == 0)
        fuzz_check_json(buf_view(&out));
    buf_free(&out);
    gguf_vocab_free(&v);
}

/* The pieces of a matrix whose blocks can be kept. */
static void keep(const struct gguf_hf_tensor *t) {
    if (!gguf_keep(t))
        return;
    struct convert_item item = gguf_keep_item(t);
    unsigned char *piece = xmalloc((size_t)item.n_cols);
    item.piece(item.source, 0, piece);
    item.piece(item.source, item.n_rows - 1, piece);
    free(piece);
    free((char *)(uintptr_t)item.name);
}

static void model(const struct gguf *g) {
    struct gguf_model m;
    struct err e;
    if (gguf_model_open(&m, g, &e) != 0)
        return;
    for (size_t i = 0; i < m.n_tensors; i++) {
        float *row = xreallocarray(NULL, (size_t)m.tensors[i].n_cols, sizeof *row);
        gguf_hf_tensor_row(&m.tensors[i], 0, row);
        gguf_hf_tensor_row(&m.tensors[i], m.tensors[i].n_rows - 1, row);
        free(row);
        keep(&m.tensors[i]);
    }
    struct buf out = {0};
    gguf_config_json(&m, DT_BF16, m.n_tensors % 2 == 0,
                     &(struct gguf_ids){.bos = -1, .pad = 3, .eos = {1, 2}, .n_eos = 2}, &out);
    fuzz_check_json(buf_view(&out));
    buf_free(&out);
    gguf_model_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"model-00001-of-00002.gguf", "model-00002-of-00002.gguf"};
    struct str all = {(const char *)data, size};
    char *one, *two = NULL;
    bool split = size > 4 && data[0] == 'S';
    if (split) {
        size_t n = (size_t)data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16, left = size - 4;
        n = n < left ? n : left;
        one = fuzz_file(names[0], (struct str){all.p + 4, n});
        two = fuzz_file(names[1], (struct str){all.p + 4 + n, left - n});
    } else {
        fuzz_unlink(names[1]);
        one = fuzz_file(names[0], all);
    }
    struct gguf g;
    struct err e;
    warn_quiet(1);
    if (gguf_open(&g, split && data[1] & 1 ? two : one, &e) == 0) {
        vocab(&g);
        model(&g);
        gguf_close(&g);
    } else {
        fuzz_check_refusal(&e);
    }
    free(one);
    free(two);
    return 0;
}

/* Fuzz entry: the attributes of a sequence as sampling parameters, and arbitrary floats as logits.
 * The input is the size of the vocabulary, a byte with a mask of allowed ids, the logits, and the
 * attributes. A chosen id must be in the vocabulary, and in the mask.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "sample/chain.h"
#include "sample/params.h"

enum { MOST_VOCAB = 40, N_HISTORY = 12 };

static void choose(const float *logits, uint32_t vocab, const struct sample_params *p,
                   uint64_t mask) {
    uint32_t ids[N_HISTORY], id = UINT32_MAX, again = UINT32_MAX;
    struct sampler *s = sampler_new(vocab);
    struct err e = {0};
    for (uint32_t i = 0; i < N_HISTORY; i++)
        ids[i] = i * i % vocab;
    for (size_t n = N_HISTORY; n > N_HISTORY - 3; n--) {
        struct sample_history h = {ids, n, 4, 7, mask ? &mask : NULL};
        if (sampler_choose(s, logits, p, &h, &id, &e) != 0) {
            fuzz_check_refusal(&e);
            continue;
        }
        assert(id < vocab && (!mask || mask >> id & 1));
        assert(sampler_choose(s, logits, p, &h, &again, &e) == 0 && again == id);
    }
    sampler_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    float logits[MOST_VOCAB] = {0};
    if (size < 2)
        return 0;
    uint32_t vocab = data[0] % MOST_VOCAB + 1;
    uint64_t mask = data[1] * 0x0101010101u;
    data += 2;
    size -= 2;
    size_t n = size < vocab * sizeof *logits ? size : vocab * sizeof *logits;
    memcpy(logits, data, n);
    struct str attrs = fuzz_exact((struct str){(const char *)data + n, size - n});
    struct sample_params p = sample_defaults;
    struct err e = {0};
    if (sample_attributes(&p, attrs, &e) != 0 || sample_check_ids(&p, vocab, &e) != 0)
        fuzz_check_refusal(&e);
    else
        choose(logits, vocab, &p, mask);
    free((char *)attrs.p);
    return 0;
}

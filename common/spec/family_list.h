/* The families, one a line: family_NAME is defined in family_NAME.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_FAMILY_LIST_H
#define SPEC_FAMILY_LIST_H

#include "spec/family.h"

// clang-format off
#define FAMILY_LIST(FAMILY) \
    FAMILY(bert)       \
    FAMILY(gemma)      \
    FAMILY(gemma2)     \
    FAMILY(gemma3)     \
    FAMILY(gpt2)       \
    FAMILY(granite)    \
    FAMILY(llama)      \
    FAMILY(mistral)    \
    FAMILY(mixtral)    \
    FAMILY(modernbert) \
    FAMILY(nomic_bert) \
    FAMILY(olmo2)      \
    FAMILY(olmo3)      \
    FAMILY(phi)        \
    FAMILY(phi3)       \
    FAMILY(qwen2)      \
    FAMILY(qwen3)      \
    FAMILY(qwen3_moe)  \
    FAMILY(smollm3)    \
    FAMILY(stablelm)   \
    FAMILY(starcoder2) \
    FAMILY(xlm_roberta)
// clang-format on

#define FAMILY_DECLARE(name) extern const struct family family_##name;
FAMILY_LIST(FAMILY_DECLARE)
#undef FAMILY_DECLARE

#endif

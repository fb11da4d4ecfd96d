/* The pre-tokenizers by name: see pre.h. A row has what the tokenizer.json of the models
 * of that name has: normalizer, the steps of the pre-tokenizer in order, and two flags.
 *
 * The names are llama.cpp's (convert_hf_to_gguf_update.py; src/llama-vocab.cpp, which quotes most
 * of the original patterns). The files:
 *
 *     gpt-2       openai-community/gpt2, microsoft/phi-2
 *     olmo        allenai/OLMo-7B-hf
 *     smollm      HuggingFaceTB/SmolLM2-135M
 *     starcoder   bigcode/starcoder2-3b
 *     llama-bpe   meta-llama/Meta-Llama-3-8B
 *     tekken      mistralai/Mistral-Nemo-Base-2407
 *     qwen2       Qwen/Qwen2.5-0.5B, stabilityai/stablelm-2-1_6b
 *     gpt-4o      Xenova/gpt-4o, meta-llama/Llama-4
 *     command-r   CohereForAI/c4ai-command-r-v01
 *     falcon      tiiuae/falcon-7b
 *     deepseek-*  deepseek-ai/deepseek-coder-6.7b-base, DeepSeek-V3, DeepSeek-R1-Distill-Qwen
 *
 * "default" is for files that were made before the key existed; its patterns are llama.cpp's.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/pre.h"

#include "tokconv/tokjson.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CASED_UPPER  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED_LOWER  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD         "[^\\r\\n\\p{L}\\p{N}]?"
#define SPACES       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"                                                  \
    "| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3(digits)                                                                             \
    CONTRACTIONS "|" LEAD "\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES

enum step_kind {
    END,
    SPLIT,  // at the matches of a regex, isolated
    DIGITS, // each digit alone
    DIGIT_RUNS,
    PUNCTUATION, // contiguous
    BYTES,       // bytes to printable characters
    BYTES_GPT2,  // the same, after GPT-2's regex
};

struct tokpre {
    const char *names[8];
    bool nfc, ignore_merges, add_bos;
    struct {
        enum step_kind kind;
        const char *regex;
    } steps[8];
};

static const struct tokpre table[] = {
    {.names = {"gpt-2", "phi-2", "gigachat", "mellum", "trillion", "a.x-4.0"},
     .steps = {{BYTES_GPT2, NULL}}},
    {.names = {"olmo", "mpt"}, .nfc = true, .steps = {{BYTES_GPT2, NULL}}},
    {.names = {"smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b"},
     .steps = {{DIGITS, NULL}, {BYTES_GPT2, NULL}}},
    {.names = {"command-r"}, .nfc = true, .steps = {{DIGITS, NULL}, {BYTES_GPT2, NULL}}},
    {.names = {"llama-bpe", "llama3", "llama-v3", "smaug-bpe"},
     .ignore_merges = true,
     .add_bos = true,
     .steps = {{SPLIT, LLAMA3("\\p{N}{1,3}")}, {BYTES, NULL}}},
    {.names = {"dbrx"}, .steps = {{SPLIT, LLAMA3("\\p{N}{1,3}")}, {BYTES, NULL}}},
    {.names = {"qwen2", "stablelm2"},
     .nfc = true,
     .steps = {{SPLIT, LLAMA3("\\p{N}")}, {BYTES, NULL}}},
    {.names = {"deepseek-r1-qwen"}, .steps = {{SPLIT, LLAMA3("\\p{N}")}, {BYTES, NULL}}},
    {.names = {"qwen35"},
     .nfc = true,
     .steps = {{SPLIT, CONTRACTIONS
                "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES},
               {BYTES, NULL}}},
    {.names = {"tekken"},
     .add_bos = true,
     .steps = {{SPLIT,
                LEAD CASED_UPPER "*" CASED_LOWER "+|" LEAD CASED_UPPER "+" CASED_LOWER "*|\\p{N}"
                                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES},
               {BYTES, NULL}}},
    {.names = {"gpt-4o", "llama4"},
     .steps = {{SPLIT, LEAD CASED_UPPER "*" CASED_LOWER "+" CONTRACTIONS "?|" LEAD CASED_UPPER
                                        "+" CASED_LOWER "*" CONTRACTIONS
                                        "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES},
               {BYTES, NULL}}},
    {.names = {"falcon"},
     .steps =
         {{PUNCTUATION, NULL}, {BYTES_GPT2, NULL}, {DIGIT_RUNS, NULL}, {SPLIT, "[0-9][0-9][0-9]"}}},
    {.names = {"deepseek-v3"},
     .steps = {{SPLIT, "\\p{N}{1,3}"},
               {SPLIT, "[一-龥぀-ゟ゠-ヿ]+"},
               {SPLIT,
                "[!\"#$%&'()*+,\\-./"
                ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},
               {BYTES, NULL}}},
    {.names = {"deepseek-coder"},
     .steps = {{SPLIT, "[\r\n]"},
               {SPLIT, "\\s?\\p{L}+"},
               {SPLIT, "\\s?\\p{P}+"},
               {SPLIT, "[一-龥ࠀ-一가-퟿]+"},
               {DIGITS, NULL},
               {BYTES, NULL}}},
    {.names = {"default"},
     .steps = {{SPLIT, "[\\p{P}\\$\\+<=>\\^~\\|]+"},
               {SPLIT, GPT2},
               {SPLIT, "\\p{N}+"},
               {SPLIT, "[0-9][0-9][0-9]"},
               {BYTES, NULL}}},
};
enum { N_ROWS = sizeof table / sizeof *table };

const struct tokpre *tokpre_find(struct str name) {
    for (size_t i = 0; i < N_ROWS; i++)
        for (const char *const *n = table[i].names; *n; n++)
            if (str_eq(name, *n))
                return &table[i];
    return NULL;
}

const char *tokpre_names(struct buf *out) {
    for (size_t i = 0; i < N_ROWS; i++)
        for (const char *const *n = table[i].names; *n; n++)
            buf_fmt(out, "%s%s", out->n ? " " : "", *n);
    return out->p;
}

bool tokpre_ignores_merges(const struct tokpre *p) {
    return p->ignore_merges;
}

bool tokpre_adds_bos(const struct tokpre *p) {
    return p->add_bos;
}

static void step_json(enum step_kind kind, const char *regex, bool prefix_space, struct buf *out) {
    switch (kind) {
    case END:
        break;
    case SPLIT:
        tokjson_split(str_of(regex), out);
        break;
    case DIGITS:
        buf_str(out, "{\"type\":\"Digits\",\"individual_digits\":true}");
        break;
    case DIGIT_RUNS:
        buf_str(out, "{\"type\":\"Digits\",\"individual_digits\":false}");
        break;
    case PUNCTUATION:
        buf_str(out, "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}");
        break;
    case BYTES:
    case BYTES_GPT2:
        tokjson_byte_level(prefix_space, kind == BYTES_GPT2, out);
        break;
    }
}

void tokpre_normalizer(const struct tokpre *p, struct buf *out) {
    if (p->nfc)
        buf_str(out, "{\"type\":\"NFC\"}");
}

void tokpre_pre_tokenizer(const struct tokpre *p, bool prefix_space, struct buf *out) {
    bool sequence = p->steps[1].kind != END;
    if (sequence)
        buf_str(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (size_t i = 0; p->steps[i].kind != END; i++) {
        if (i)
            buf_str(out, ",\n  ");
        step_json(p->steps[i].kind, p->steps[i].regex, prefix_space, out);
    }
    if (sequence)
        buf_str(out, "]}");
}

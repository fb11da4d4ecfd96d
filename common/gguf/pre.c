/* The pre-tokenizers that GGUF names: see vocab.h. A row has what the tokenizer.json of the models
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
#include "base/json.h"
#include "gguf/vocab.h"

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

struct gguf_pre {
    const char *names[8];
    bool nfc, ignore_merges, add_bos;
    struct {
        enum step_kind kind;
        const char *regex;
    } steps[8];
};

static const struct gguf_pre table[] = {
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

const struct gguf_pre *gguf_pre_find(struct str name) {
    for (size_t i = 0; i < N_ROWS; i++)
        for (const char *const *n = table[i].names; *n; n++)
            if (str_eq(name, *n))
                return &table[i];
    return NULL;
}

const char *gguf_pre_names(struct buf *out) {
    for (size_t i = 0; i < N_ROWS; i++)
        for (const char *const *n = table[i].names; *n; n++)
            buf_fmt(out, "%s%s", out->n ? " " : "", *n);
    return out->p;
}

bool gguf_pre_ignores_merges(const struct gguf_pre *p) {
    return p->ignore_merges;
}

bool gguf_pre_adds_bos(const struct gguf_pre *p) {
    return p->add_bos;
}

static void step_json(enum step_kind kind, const char *regex, struct buf *out) {
    static const char *const fixed[] = {
        [DIGITS] = "{\"type\":\"Digits\",\"individual_digits\":true}",
        [DIGIT_RUNS] = "{\"type\":\"Digits\",\"individual_digits\":false}",
        [PUNCTUATION] = "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}",
        [BYTES] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_"
                  "regex\":false}",
        [BYTES_GPT2] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                       "\"use_regex\":true}",
    };
    if (kind != SPLIT) {
        buf_str(out, fixed[kind]);
        return;
    }
    buf_str(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    json_write_str(out, str_of(regex));
    buf_str(out, "},\"behavior\":\"Isolated\",\"invert\":false}");
}

void gguf_pre_json(const struct gguf_pre *p, struct buf *out) {
    bool sequence = p->steps[1].kind != END;
    buf_fmt(out, "\"normalizer\":%s,\n\"pre_tokenizer\":", p->nfc ? "{\"type\":\"NFC\"}" : "null");
    if (sequence)
        buf_str(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    for (size_t i = 0; p->steps[i].kind != END; i++) {
        if (i)
            buf_str(out, ",\n  ");
        step_json(p->steps[i].kind, p->steps[i].regex, out);
    }
    if (sequence)
        buf_str(out, "]}");
}

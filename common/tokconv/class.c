/* Tokenizer classes: see class.h.
 *
 * Sources, in transformers 5: models/NAME/tokenization_NAME.py for the defaults and the steps,
 * models/auto/tokenization_auto.py for the class of a model_type, and convert_slow_tokenizer.py for
 * the classes that are not supported here. add_bos is the default of transformers 4, which the
 * comments of transformers 5 still state.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/class.h"

#define ENDOFTEXT "<|endoftext|>"

static const struct tokconv_class classes[] = {
    {.name = ""},              // the plain one: what PreTrainedTokenizerFast gets
    {.name = "LlamaTokenizer", // and other names of it
     .family = FAMILY_LLAMA,
     .add_bos = true,
     .defaults = {[ROLE_BOS] = "<s>", [ROLE_EOS] = "</s>", [ROLE_UNK] = "<unk>"}},
    {.name = "CodeLlamaTokenizer",
     .family = FAMILY_LLAMA,
     .add_bos = true,
     .defaults = {[ROLE_BOS] = "<s>", [ROLE_EOS] = "</s>", [ROLE_UNK] = "<unk>"}},
    {.name = "LLaMATokenizer",
     .family = FAMILY_LLAMA,
     .add_bos = true,
     .defaults = {[ROLE_BOS] = "<s>", [ROLE_EOS] = "</s>", [ROLE_UNK] = "<unk>"}},
    {.name = "Phi3Tokenizer",
     .family = FAMILY_LLAMA,
     .add_bos = true,
     .defaults = {[ROLE_BOS] = "<s>", [ROLE_EOS] = "</s>", [ROLE_UNK] = "<unk>"}},
    {.name = "GemmaTokenizer",
     .family = FAMILY_GEMMA,
     .add_bos = true,
     .defaults = {[ROLE_BOS] = "<bos>",
                  [ROLE_EOS] = "<eos>",
                  [ROLE_UNK] = "<unk>",
                  [ROLE_PAD] = "<pad>",
                  [ROLE_MASK] = "<mask>"}},
    {.name = "T5Tokenizer",
     .family = FAMILY_T5,
     .defaults = {[ROLE_EOS] = "</s>", [ROLE_UNK] = "<unk>", [ROLE_PAD] = "<pad>"}},
    {.name = "XLMRobertaTokenizer",
     .family = FAMILY_XLMR,
     .defaults = {[ROLE_BOS] = "<s>",
                  [ROLE_EOS] = "</s>",
                  [ROLE_UNK] = "<unk>",
                  [ROLE_SEP] = "</s>",
                  [ROLE_PAD] = "<pad>",
                  [ROLE_CLS] = "<s>",
                  [ROLE_MASK] = "<mask>"}},
    {.name = "GPT2Tokenizer",
     .pre = "gpt-2",
     .defaults = {[ROLE_BOS] = ENDOFTEXT, [ROLE_EOS] = ENDOFTEXT, [ROLE_UNK] = ENDOFTEXT}},
    {.name = "CodeGenTokenizer",
     .pre = "gpt-2",
     .defaults = {[ROLE_BOS] = ENDOFTEXT, [ROLE_EOS] = ENDOFTEXT, [ROLE_UNK] = ENDOFTEXT}},
    {.name = "Qwen2Tokenizer",
     .pre = "qwen2",
     .defaults = {[ROLE_EOS] = ENDOFTEXT, [ROLE_UNK] = ENDOFTEXT, [ROLE_PAD] = ENDOFTEXT}},
    {.name = "Qwen3_5Tokenizer",
     .pre = "qwen35",
     .defaults = {[ROLE_EOS] = ENDOFTEXT, [ROLE_UNK] = ENDOFTEXT, [ROLE_PAD] = ENDOFTEXT}},
    {.name = "GPTNeoXTokenizer",
     .pre = "olmo",
     .defaults = {[ROLE_BOS] = ENDOFTEXT,
                  [ROLE_EOS] = ENDOFTEXT,
                  [ROLE_UNK] = ENDOFTEXT,
                  [ROLE_PAD] = "<|padding|>"}},
    {.name = "CohereTokenizer",
     .pre = "command-r",
     .defaults = {[ROLE_BOS] = "<BOS_TOKEN>",
                  [ROLE_EOS] = "<|END_OF_TURN_TOKEN|>",
                  [ROLE_UNK] = "<UNK>",
                  [ROLE_SEP] = "<SEP>",
                  [ROLE_PAD] = "<PAD>",
                  [ROLE_CLS] = "<CLS>",
                  [ROLE_MASK] = "<MASK_TOKEN>"}},
};
enum { N_CLASSES = sizeof classes / sizeof *classes };

static const struct {
    const char *class_name;
    const char *model_types[24];
} by_model_type[] = {
    {"CodeLlamaTokenizer", {"code_llama"}},
    {"GemmaTokenizer",
     {"gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text", "recurrent_gemma",
      "shieldgemma2", "t5gemma"}},
    {"T5Tokenizer", {"t5", "mt5", "switch_transformers", "musicgen", "musicgen_melody"}},
    {"XLMRobertaTokenizer", {"xlm-roberta", "xmod", "gte", "jina_embeddings_v3"}},
    {"GPT2Tokenizer",
     {"gpt2", "gpt_neo", "gptj", "phi", "opt", "starcoder2", "codegen", "dbrx", "jais2"}},
    {"Qwen2Tokenizer",
     {"qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen2_5_omni", "qwen2_audio", "qwen3",
      "qwen3_moe", "qwen3_next", "qwen3_vl", "qwen3_vl_moe", "qwen3_omni_moe"}},
    {"Qwen3_5Tokenizer", {"qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"}},
    {"GPTNeoXTokenizer",
     {"gpt_neox", "olmo", "olmoe", "mamba", "mamba2", "falcon_mamba", "rwkv", "mpt", "xlstm"}},
    {"CohereTokenizer", {"cohere", "cohere2", "aya_vision"}},
};

/* Classes that rearrange the vocabulary or the steps in ways of their own. */
static const char *const unsupported[] = {
    "AlbertTokenizer",      "BarthezTokenizer",
    "BartTokenizer",        "BertGenerationTokenizer",
    "BertTokenizer",        "BigBirdTokenizer",
    "BlenderbotTokenizer",  "CamembertTokenizer",
    "CLIPTokenizer",        "CpmTokenizer",
    "DebertaTokenizer",     "DebertaV2Tokenizer",
    "DistilBertTokenizer",  "ElectraTokenizer",
    "FNetTokenizer",        "GPTSw3Tokenizer",
    "HerbertTokenizer",     "LayoutXLMTokenizer",
    "LongformerTokenizer",  "M2M100Tokenizer",
    "MarianTokenizer",      "MBart50Tokenizer",
    "MBartTokenizer",       "MPNetTokenizer",
    "NllbTokenizer",        "OpenAIGPTTokenizer",
    "ParakeetTokenizer",    "PegasusTokenizer",
    "PLBartTokenizer",      "ReformerTokenizer",
    "RemBertTokenizer",     "RobertaTokenizer",
    "SeamlessM4TTokenizer", "Speech2TextTokenizer",
    "SpeechT5Tokenizer",    "UdopTokenizer",
    "WhisperTokenizer",     "XGLMTokenizer",
    "XLNetTokenizer",
};

static const struct tokconv_class *class_named(struct str name) {
    for (size_t i = 1; i < N_CLASSES; i++)
        if (str_eq(name, classes[i].name))
            return &classes[i];
    return NULL;
}

static const struct tokconv_class *class_of_model(struct str model_type) {
    for (size_t i = 0; i < sizeof by_model_type / sizeof *by_model_type; i++)
        for (const char *const *t = by_model_type[i].model_types; *t; t++)
            if (str_eq(model_type, *t))
                return class_named(str_of(by_model_type[i].class_name));
    return NULL;
}

const struct tokconv_class *tokconv_class_of(const struct tokconv_config *c, const char *folder,
                                             struct err *e) {
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (str_eq(c->class_name, unsupported[i])) {
            err_set(e, EXIT_DATA, "the tokenizer class '%s' is not supported: %s", unsupported[i],
                    folder);
            return NULL;
        }
    const struct tokconv_class *found =
        c->class_name.n ? class_named(c->class_name) : class_of_model(c->model_type);
    return found ? found : &classes[0];
}

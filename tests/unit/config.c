/* config.json: refusals and their messages, warnings, defaults, layers and rotations.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"
#include "../lib/models.h"
#include "spec/family.h"

struct pair {
    const char *key, *value; // value NULL: the key is left out
};

static const struct pair llama[] = {
    {"model_type", "\"llama\""},       {"vocab_size", "512"},          {"hidden_size", "64"},
    {"intermediate_size", "80"},       {"num_hidden_layers", "3"},     {"num_attention_heads", "4"},
    {"max_position_embeddings", "99"}, {"rms_norm_eps", "1e-5"},       {"rope_theta", "10000.0"},
    {"hidden_act", "\"silu\""},        {"torch_dtype", "\"float32\""}, {NULL, NULL},
};
static const struct pair gpt2[] = {
    {"model_type", "\"gpt2\""},
    {"vocab_size", "512"},
    {"n_embd", "64"},
    {"n_layer", "2"},
    {"n_head", "4"},
    {"n_positions", "32"},
    {NULL, NULL},
};

struct outcome {
    int rc;
    struct spec s;
    struct err e;
    struct buf warnings;
};

/* Writes text to the file of this name in a new folder, reads the spec, and removes the path from
 * the messages. */
static struct outcome read_text(const char *name, const char *text, const char *generation) {
    struct outcome r = {0};
    char *dir = models_temp(), *path = path_join(dir, name),
         *second = path_join(dir, "generation_config.json");
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    if (generation) {
        f = fopen(second, "w");
        fputs(generation, f);
        fclose(f);
    }
    r.rc = spec_read(&r.s, dir, &r.warnings, &r.e);
    char *at = strstr(r.e.msg, dir);
    if (at && at - r.e.msg > 2)
        at[-2] = 0; // ": DIR/config.json"
    buf_byte(&r.warnings, 0);
    for (char *p; (p = strstr(r.warnings.p, dir));)
        memmove(p, p + strlen(dir) + 1, strlen(p + strlen(dir) + 1) + 1);
    free(path);
    free(second);
    models_remove(dir);
    return r;
}

/* Reads the base with n changes: keys that are added, replaced or removed. */
static struct outcome read_with(const struct pair *base, const struct pair *changes, size_t n) {
    struct buf text = {0};
    const char *comma = "{";
    for (; base->key; base++) {
        bool changed = false;
        for (size_t i = 0; i < n; i++)
            changed |= strcmp(base->key, changes[i].key) == 0;
        if (changed)
            continue;
        buf_fmt(&text, "%s\"%s\": %s", comma, base->key, base->value);
        comma = ",\n";
    }
    for (size_t i = 0; i < n; i++)
        if (changes[i].value)
            buf_fmt(&text, "%s\"%s\": %s", comma, changes[i].key, changes[i].value);
    buf_str(&text, "}\n");
    struct outcome r = read_text("config.json", text.p, NULL);
    buf_free(&text);
    return r;
}

static void done(struct outcome *r) {
    spec_free(&r->s);
    buf_free(&r->warnings);
}

static void check_refused(const struct pair *base, const char *key, const char *value,
                          const char *message) {
    struct pair change = {key, value};
    struct outcome r = read_with(base, &change, 1);
    CHECK_MSG(r.rc == -1 && r.e.code == EXIT_DATA, "%s: %s is taken", key,
              value ? value : "(missing)");
    CHECK_STR(r.e.msg, message);
    done(&r);
}

static void sizes_are_bounded(void) {
    static const char *const bad[] = {"0",      "-1",   "1.5",  "1e3",
                                      "\"64\"", "true", "[64]", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char message[200];
        snprintf(message, sizeof message,
                 "hidden_size is %s, but must be a whole number from 1 to 1048576", bad[i]);
        check_refused(llama, "hidden_size", bad[i], message);
    }
    check_refused(llama, "num_hidden_layers", "1025",
                  "num_hidden_layers is 1025, but must be a whole number from 1 to 1024");
    check_refused(llama, "vocab_size", "16777217",
                  "vocab_size is 16777217, but must be a whole number from 1 to 16777216");
    check_refused(llama, "num_attention_heads", "0",
                  "num_attention_heads is 0, but must be a whole number from 1 to 4096");
    check_refused(llama, "head_dim", "5000",
                  "head_dim is 5000, but must be a whole number from 0 to 4096");
    check_refused(gpt2, "n_positions", "999999999",
                  "n_positions is 999999999, but must be a whole number from 1 to 268435456");
}

static void needed_keys(void) {
    check_refused(llama, "model_type", NULL, "model_type is missing");
    check_refused(llama, "vocab_size", "null", "vocab_size is missing");
    check_refused(llama, "hidden_size", "null", "hidden_size is missing");
    check_refused(gpt2, "n_positions", "null", "n_positions is missing");
    check_refused(llama, "intermediate_size", "null", "intermediate_size is missing");
    check_refused(llama, "intermediate_size", "0", "intermediate_size is missing");
}

static void shapes_must_fit(void) {
    check_refused(llama, "num_key_value_heads", "3", "4 heads cannot share 3 KV heads evenly");
    check_refused(llama, "num_attention_heads", "5",
                  "hidden_size 64 is not a multiple of 5 heads, and head_dim is not given");
    check_refused(llama, "head_dim", "7",
                  "rotation needs an even number of dimensions, not 7 (of head_dim 7)");
}

static void features_we_lack(void) {
    check_refused(llama, "model_type", "\"mamba\"",
                  "model_type is \"mamba\", but that family is not supported");
    check_refused(llama, "model_type", "7", "model_type is 7, but that family is not supported");
    check_refused(llama, "hidden_act", "\"xielu\"",
                  "hidden_act is \"xielu\", but only silu, gelu, gelu_new, gelu_pytorch_tanh and "
                  "relu are supported");
    check_refused(llama, "quantization_config", "{\"bits\": 4}",
                  "quantization_config is {\"bits\": 4}, but quant_method is missing");
    check_refused(
        llama, "quantization_config", "{\"quant_method\": \"hqq\"}",
        "quant_method is \"hqq\", but only compressed-tensors, gptq, awq, auto-round, fp8, "
        "fbgemm_fp8, modelopt, mlx, bitsandbytes and tokpipe are supported");
    check_refused(llama, "is_causal", "false", "is_causal is false, but only true is supported");
    check_refused(llama, "is_encoder_decoder", "true",
                  "is_encoder_decoder is true, but only false is supported");
    check_refused(llama, "model_type", "\"\"",
                  "model_type is \"\", but that family is not supported");
    check_refused(llama, "attention_bias", "\"yes\"",
                  "attention_bias is \"yes\", but must be true or false");
    struct pair part[] = {{"partial_rotary_factor", "0.5"},
                          {"rope_scaling", "{\"type\": \"linear\", \"factor\": 2}"}};
    struct outcome r = read_with(llama, part, 2);
    CHECK_STR(r.e.msg, "partial_rotary_factor is 0.5, but only 1 is supported");
    done(&r);
    struct pair types[] = {
        {"model_type", "\"qwen2\""},
        {"num_key_value_heads", "2"},
        {"layer_types", "[\"full_attention\", \"chunked_attention\", \"full_attention\"]"},
    };
    r = read_with(llama, types, 3);
    CHECK_STR(r.e.msg, "layer_types[1] is chunked_attention, but only full_attention and "
                       "sliding_attention are supported");
    done(&r);
    check_refused(llama, "layer_types", "[\"full_attention\"]",
                  "layer_types has 1 items, but there are 3 layers");
    check_refused(gpt2, "add_cross_attention", "true",
                  "add_cross_attention is true, but only false is supported");
}

static void numbers_must_make_sense(void) {
    check_refused(llama, "rms_norm_eps", "-1",
                  "rms_norm_eps is -1, but must be at least 0 and less than 1");
    check_refused(llama, "rms_norm_eps", "\"small\"",
                  "rms_norm_eps is \"small\", but must be a number");
    check_refused(llama, "rope_theta", "0",
                  "rope_theta is 0, but must be positive, and not absurdly small or large");
    check_refused(llama, "rope_theta", "1e400",
                  "rope_theta is 1e400, but must be positive, and not absurdly small or large");
    check_refused(llama, "rope_theta", "1", "rope_theta is 1, but must be more than 1");
}

static void rotations(void) {
    check_refused(llama, "rope_scaling", "{\"rope_type\": \"ntk\", \"factor\": 2.0}",
                  "rope_type is \"ntk\", but only default, linear, dynamic, llama3, yarn and "
                  "longrope are supported");
    check_refused(llama, "rope_scaling", "7", "rope_scaling is 7, but must be an object or null");
    check_refused(llama, "rope_scaling", "{\"type\": \"linear\"}", "rope_scaling has no factor");
    check_refused(llama, "rope_scaling", "{\"type\": \"linear\", \"factor\": -2}",
                  "factor is -2, but must be positive, and not absurdly small or large");
    check_refused(llama, "rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8}",
                  "low_freq_factor 0 and high_freq_factor 0 are missing or out of order");
    check_refused(
        llama, "rope_scaling",
        "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1], \"long_factor\": [1, 1, 1]}",
        "short_factor and long_factor have 2 and 3 values, but 8 are needed");
    check_refused(llama, "rope_parameters", "{\"full_attention\": {}, \"sliding_attention\": {}}",
                  "rope_parameters is {\"full_attention\": {}, \"sliding_attention\": {}}, but one "
                  "rotation for each "
                  "type of layer is not supported for this model type");
}

static void bad_json(void) {
    struct outcome r = read_text("config.json", "{\"model_type\": \"llama\", \"a\": Nan}", NULL);
    CHECK_INT(r.rc, -1);
    CHECK_INT(r.e.code, EXIT_DATA);
    done(&r);
    r = read_text("config.json", "{\"a\": 1, \"b\": 2, \"a\": 3}", NULL);
    CHECK_STR(r.e.msg, "duplicate key 'a'");
    done(&r);
    r = read_text("config.json", "[1]", NULL);
    CHECK_INT(r.e.code, EXIT_DATA);
    done(&r);
    r = read_text("config.json", "", NULL);
    CHECK_INT(r.e.code, EXIT_DATA);
    done(&r);
    r = read_text("other.json", "{}", NULL);
    CHECK_INT(r.e.code, EXIT_NO_INPUT);
    done(&r);
}

/* Unknown keys, keys of other families, and unknown keys inside rope_scaling are warned about by
 * name. */
static void warnings(void) {
    static const struct pair changes[] = {
        {"frobnicate", "1"},
        {"sliding_window", "4096"},
        {"use_qkv_bias", "false"},
        {"moe_intermediate_size", "null"},
        {"use_cache", "true"},
        {"rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 2.0, \"wobble\": 3}"},
    };
    struct outcome r = read_with(llama, changes, sizeof changes / sizeof *changes);
    CHECK_INT(r.rc, 0);
    CHECK_STR(r.warnings.p,
              "rope_scaling.wobble is not known and is ignored: config.json\n"
              "sliding_window is not a key of this model type and is ignored: config.json\n"
              "frobnicate is not known and is ignored: config.json\n");
    done(&r);
    r = read_with(llama, NULL, 0);
    CHECK_STR(r.warnings.p, "");
    done(&r);
}

static void defaults(void) {
    struct outcome r = read_with(llama, NULL, 0);
    CHECK_INT(r.rc, 0);
    CHECK_INT(r.s.n_kv_heads, 4);
    CHECK_INT(r.s.head_dim, 16);
    CHECK(!r.s.tied && r.s.bos == 1 && r.s.n_eos == 1 && r.s.eos[0] == 2 && r.s.max_pos == 99);
    CHECK_INT(r.s.ropes[0].rotary_dim, 16);
    done(&r);
    struct pair mistral[] = {{"model_type", "\"mistral\""}, {"num_key_value_heads", "null"}};
    r = read_with(llama, mistral, 2);
    CHECK_INT(r.s.n_kv_heads, 4); // null means n_heads; a missing key would mean 8
    CHECK_INT(r.s.layers[2].window, 4096);
    done(&r);
    struct pair none[] = {
        {"model_type", "\"mistral\""}, {"num_key_value_heads", "2"}, {"sliding_window", "null"}};
    r = read_with(llama, none, 3);
    CHECK_INT(r.s.layers[0].window, 0);
    done(&r);
    struct pair theta[] = {{"rope_theta", "5e5"}, {"rope_parameters", "{\"rope_theta\": 7e4}"}};
    r = read_with(llama, theta, 2);
    CHECK(r.s.ropes[0].theta > 69999 && r.s.ropes[0].theta < 70001);
    done(&r);
}

/* Which layers have a window: S or F for each. */
static void check_layers(const struct pair *changes, size_t n, const char *expected) {
    struct outcome r = read_with(llama, changes, n);
    char got[100] = "";
    for (size_t i = 0; i < r.s.n_layers && i < 99 && r.rc == 0; i++)
        got[i] = r.s.layers[i].window > 0 ? 'S' : 'F';
    CHECK_MSG(strcmp(got, expected) == 0, "%s instead of %s: %s", got, expected, r.e.msg);
    done(&r);
}

static void windows(void) {
    struct pair gemma2[] = {{"model_type", "\"gemma2\""}, {"num_hidden_layers", "5"}};
    check_layers(gemma2, 2, "SFSFS");
    struct pair gemma3[] = {{"model_type", "\"gemma3_text\""}, {"num_hidden_layers", "8"}};
    check_layers(gemma3, 2, "SSSSSFSS");
    struct pair pattern[] = {{"model_type", "\"gemma3_text\""},
                             {"num_hidden_layers", "5"},
                             {"sliding_window_pattern", "2"}};
    check_layers(pattern, 3, "SFSFS");
    struct pair written[] = {{"model_type", "\"gemma3_text\""},
                             {"num_hidden_layers", "7"},
                             {"_sliding_window_pattern", "2"}}; // the reference does not read it
    check_layers(written, 3, "SSSSSFS");
    struct pair both[] = {{"model_type", "\"gemma3_text\""},
                          {"num_hidden_layers", "2"},
                          {"sliding_window_pattern", "[]"},
                          {"layer_types", "[\"full_attention\", \"sliding_attention\"]"}};
    check_layers(both, 4, "FS");
    struct pair types[] = {
        {"model_type", "\"gemma2\""},
        {"layer_types", "[\"full_attention\", \"sliding_attention\", \"full_attention\"]"}};
    check_layers(types, 2, "FSF");
    struct pair qwen[] = {{"model_type", "\"qwen2\""}, {"num_key_value_heads", "2"},
                          {"num_hidden_layers", "4"},  {"use_sliding_window", "true"},
                          {"max_window_layers", "3"},  {"sliding_window", "8"}};
    check_layers(qwen, 6, "FFFS");
    qwen[3].value = "false";
    check_layers(qwen, 6, "FFFF");
    struct pair phi3[] = {{"model_type", "\"phi3\""}, {"sliding_window", "2047"}};
    check_layers(phi3, 2, "SSS");
}

static void ends_of_text(void) {
    struct pair several[] = {{"eos_token_id", "[3, 5]"}, {"bos_token_id", "1"}};
    struct outcome r = read_with(llama, several, 2);
    CHECK(r.s.n_eos == 2 && r.s.eos[0] == 3 && r.s.eos[1] == 5 && r.s.bos == 1);
    done(&r);
    struct pair outside[] = {{"eos_token_id", "[3, 512, -1]"}};
    r = read_with(llama, outside, 1);
    CHECK(r.rc == 0 && r.s.n_eos == 1 && r.s.eos[0] == 3);
    CHECK_STR(r.warnings.p, "eos_token_id is outside the vocabulary: config.json\n"
                            "eos_token_id is outside the vocabulary: config.json\n");
    done(&r);
    static const char text[] = "{\"model_type\": \"gpt2\", \"vocab_size\": 50, \"n_embd\": 8, "
                               "\"n_layer\": 1, \"n_head\": 2, "
                               "\"n_positions\": 8, \"eos_token_id\": 1}";
    r = read_text("config.json", text, "{\"eos_token_id\": [7, 9]}");
    CHECK(r.rc == 0 && r.s.n_eos == 2 && r.s.eos[0] == 7 && r.s.eos[1] == 9);
    done(&r);
    r = read_text("config.json", text, "{\"eos_token_id\": \"</s>\"}");
    CHECK_INT(r.rc, -1);
    done(&r);
    struct pair many[] = {{"eos_token_id", "[1,2,3,4,5,6,7,8,9,10,9,11]"}};
    r = read_with(llama, many, 1);
    CHECK(r.rc == 0 && r.s.n_eos == 11 && r.s.eos[8] == 9 && r.s.eos[10] == 11);
    done(&r);
    struct pair none[] = {{"eos_token_id", "null"}, {"bos_token_id", "null"}};
    r = read_with(llama, none, 2);
    CHECK(r.rc == 0 && r.s.n_eos == 0 && r.s.bos == -1);
    done(&r);
    struct buf list = {0};
    for (int i = 0; i <= SPEC_MAX_EOS; i++)
        buf_fmt(&list, "%s%d", i ? "," : "[", i);
    buf_str(&list, "]");
    struct pair too_many[] = {{"eos_token_id", list.p}, {"vocab_size", "5000"}};
    r = read_with(llama, too_many, 2);
    CHECK_STR(r.e.msg, "more than 1024 ids");
    done(&r);
    buf_free(&list);
}

static struct outcome read_quant(const char *json) {
    struct pair p[] = {{"quantization_config", json}};
    return read_with(llama, p, 1);
}

static void quantisation(void) {
    static const char gptq[] = "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": -1, "
                               "\"desc_act\": true, \"sym\": false, \"checkpoint_format\": "
                               "\"gptq_v2\", \"dynamic\": {\"a\": {\"bits\": 8}, \"-:b\": {}}}";
    struct outcome r = read_quant(gptq);
    const struct spec_quant *q = &r.s.quant;
    CHECK_STR(r.e.msg, "");
    CHECK(r.rc == 0 && strcmp(q->method, "gptq") == 0 && q->store == QUANT_GPTQ && q->bits == 4);
    CHECK(q->group_size == -1 && q->desc_act && !q->sym && q->raw_zeros);
    CHECK(str_eq(q->raw, gptq));
    CHECK_INT(q->n_args, 2);
    CHECK(q->args[1].bits == 8 && q->args[1].group_size == -1);
    done(&r);
    r = read_quant(
        "{\"quant_method\": \"awq\", \"w_bit\": 4, \"q_group_size\": 128, \"bits\": \"x\", "
        "\"modules_to_not_convert\": [\"a\", 7, \"b.c\"]}");
    CHECK(r.rc == 0 && q->store == QUANT_AWQ && q->bits == 0 && q->group_size == 128);
    CHECK_INT(q->n_plain, 2);
    CHECK_STR(q->plain[1], "b.c");
    done(&r);
    r = read_quant("{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 64]}");
    CHECK(r.rc == 0 && q->store == QUANT_FP8 && q->block[0] == 128 && q->block[1] == 64);
    done(&r);
    r = read_quant(
        "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": {\"weights\": "
        "{\"num_bits\": 4, \"type\": \"float\", \"group_size\": 32, \"strategy\": "
        "\"group\"}}}, \"transform_config\": {}}");
    CHECK(r.rc == 0 && q->store == QUANT_COMPRESSED && q->n_args == 1);
    CHECK(q->args[0].bits == 4 && q->args[0].group_size == 32 && q->args[0].is_float);
    done(&r);
    static const char *const dynamic[] = {
        "{\"quant_method\": \"fp8\", \"activation_scheme\": \"dynamic\"}",
        "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": "
        "{\"input_activations\": {\"num_bits\": 8, \"dynamic\": true}}}}",
        "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": "
        "{\"input_activations\": {\"num_bits\": 4, \"dynamic\": \"local\"}}}}"};
    for (size_t i = 0; i < sizeof dynamic / sizeof *dynamic; i++) {
        r = read_quant(dynamic[i]);
        CHECK(r.rc == 0 && q->dynamic);
        done(&r);
    }
    r = read_with(llama, NULL, 0);
    CHECK(r.rc == 0 && !r.s.quant.method);
    done(&r);
    struct pair mlx[] = {
        {"quantization", "{\"bits\": 4, \"group_size\": 64, \"x\": {\"bits\": 8}}"}};
    r = read_with(llama, mlx, 1);
    CHECK(r.rc == 0 && q->store == QUANT_MLX && q->n_args == 2 && q->args[1].group_size == 64);
    done(&r);
}

/* What a method's keys may not say. */
static void quantisation_refused(void) {
    static const struct {
        const char *method, *key, *value, *message;
    } cases[] = {
        {"gptq", "checkpoint_format", "\"marlin\"", "only gptq and gptq_v2 are supported"},
        {"gptq", "is_marlin_format", "true", "the marlin format is not supported"},
        {"gptq", "pack_dtype", "\"int8\"", "only int32 is supported"},
        {"gptq", "dynamic", "{\"a\": {\"sym\": true}}", "sym must be the same for all modules"},
        {"awq", "version", "\"gemv\"", "only gemm is supported"},
        {"auto-round", "packing_format", "\"auto_round:x\"",
         "only auto_round, auto_round:auto_gptq"},
        {"fp8", "fmt", "\"e5m2\"", "only e4m3 is supported"},
        {"fp8", "expert_dtype", "\"fp4\"", "only fp8 is supported"},
        {"auto-round", "act_bits", "8, \"act_dynamic\": false", "static scales of activations"},
        {"fp8", "activation_scheme", "\"static\"",
         "activation_scheme is \"static\", but static scales of activations are not supported"},
        {"fp8", "weight_block_size", "[128]", "must be two numbers"},
        {"fp8", "weight_block_size", "[128, 0]", "two numbers in [1, 65536]"},
        {"fp8", "weight_block_size", "[1, 2, 3]", "two numbers in [1, 65536]"},
        {"modelopt", "quant_algo", "\"W4A8_AWQ\"", "only FP8 and NVFP4 are supported"},
        {"mlx", "mode", "\"mxfp4\"", "only affine is supported"},
        {"bitsandbytes", "bnb_4bit_quant_type", "\"int4\"", "only nf4 and fp4 are supported"},
        {"compressed-tensors", "format", "\"marlin-24\"", "only pack-quantized, int-quantized"},
        {"compressed-tensors", "quantization_status", "\"frozen\"", "only compressed is supported"},
        {"compressed-tensors", "transform_config", "{\"config_groups\": {\"u\": 1}}",
         "transforms are not supported"},
        {"compressed-tensors", "sparsity_config", "{\"format\": \"sparse-24-bitmask\"}",
         "sparse weights are not supported"},
        {"compressed-tensors", "config_groups",
         "{\"g\": {\"input_activations\": {\"num_bits\": 8, \"dynamic\": false}}}",
         "input_activations is {\"num_bits\": 8, \"dynamic\": false}, but static scales of "
         "activations are not supported"},
        {"compressed-tensors", "config_groups",
         "{\"g\": {\"output_activations\": {\"num_bits\": 8}}}", "static scales of activations"},
        {"compressed-tensors", "config_groups", "{\"FP8\": [\"Linear\"]}",
         "FP8 is [\"Linear\"], but static scales of activations are not supported"},
        {"compressed-tensors", "config_groups", "7", "must be an object"},
        {"compressed-tensors", "config_groups", "{\"g\": {\"weights\": 7}}", "must be an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[300];
        snprintf(json, sizeof json,
                 "{\"quant_method\": \"%s\", \"load_in_4bit\": true, \"%s\": %s}", cases[i].method,
                 cases[i].key, cases[i].value);
        struct outcome r = read_quant(json);
        CHECK_MSG(r.rc == -1 && r.e.code == EXIT_DATA && strstr(r.e.msg, cases[i].message),
                  "%s: %s", json, r.e.msg);
        done(&r);
    }
    check_refused(llama, "quantization_config", "7",
                  "quantization_config is 7, but must be an object or null");
}

/* A value that the reference ignores, or treats as missing, changes nothing. Unless it is neutral,
 * it is warned about. */
static void nothing_said(void) {
    static const struct {
        const char *key, *value;
        bool warned;
    } cases[] = {
        {"pretraining_tp", "8", false},
        {"pretraining_tp", "\"x\"", false},
        {"initializer_range", "NaN", false},
        {"router_aux_loss_coef", "-Infinity", false},
        {"attention_bias", "0", false},
        {"mlp_bias", "null", false},
        {"tie_word_embeddings", "[ ]", false},
        {"mlp_bias", "\"\"", false},
        {"is_encoder_decoder", "0", false},
        {"attention_chunk_size", "0", false},
        {"quantization_config", "{}", false},
        {"quantization_config", "false", false},
        {"quantization_config",
         "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": false, \"load_in_8bit\": 0}",
         false},
        {"compression_config", "\"\"", false},
        {"rope_scaling", "{}", false},
        {"rope_scaling", "0", false},
        {"rope_scaling", "false", false},
        {"rope_scaling", "{\"rope_type\": \"default\", \"factor\": 0, \"low_freq_factor\": \"x\"}",
         false},
        {"residual_multiplier", "0.2", true},
        {"residual_multiplier", "1.0", false},
        {"logits_scaling", "1", false},
        {"final_logit_softcapping", "30.0", true},
        {"final_logit_softcapping", "0.0", false},
        {"partial_rotary_factor", "0.5", true},
        {"clip_qkv", "8", true},
        {"clip_qkv", "null", false},
        {"alibi", "false", false},
        {"use_bidirectional_attention", "true", true},
        {"layer_types", "[\"full_attention\", \"full_attention\", \"full_attention\"]", false},
        {"layer_types", "[\"sliding_attention\", \"full_attention\", \"full_attention\"]", true},
        {"layer_types", "[\"full_attention\", \"chunked_attention\", \"full_attention\"]", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair change = {cases[i].key, cases[i].value};
        char want[200] = "";
        if (cases[i].warned)
            snprintf(want, sizeof want,
                     "%s is not a key of this model type and is ignored: config.json\n",
                     cases[i].key);
        struct outcome r = read_with(llama, &change, 1);
        CHECK_MSG(r.rc == 0, "%s %s: %s", change.key, change.value, r.e.msg);
        CHECK_MSG(r.rc != 0 || strcmp(r.warnings.p, want) == 0, "%s %s: %s", change.key,
                  change.value, r.warnings.p);
        CHECK(r.rc != 0 ||
              (!r.s.qkv_bias && !r.s.ffn_bias && !r.s.tied && r.s.ropes[0].kind == ROPE_DEFAULT));
        CHECK(r.rc != 0 || (r.s.residual_scale <= 0 && r.s.ropes[0].rotary_dim == 16));
        done(&r);
    }
    struct pair one[] = {{"attention_bias", "1"}};
    struct outcome r = read_with(llama, one, 1);
    CHECK(r.rc == 0 && r.s.qkv_bias);
    done(&r);
    // Without use_sliding_window the keys of the window are not checked.
    struct pair off[] = {{"model_type", "\"qwen2\""},
                         {"num_key_value_heads", "2"},
                         {"use_sliding_window", "0"},
                         {"sliding_window", "\"none\""},
                         {"max_window_layers", "-1"}};
    r = read_with(llama, off, 5);
    CHECK_MSG(r.rc == 0 && r.s.layers[2].window == 0, "%s", r.e.msg);
    done(&r);
    off[2].value = "true";
    r = read_with(llama, off, 5);
    CHECK_STR(r.e.msg,
              "sliding_window is \"none\", but must be a whole number from 1 to 268435456");
    done(&r);
    // In YaRN 0 and null mean the defaults.
    struct pair yarn[] = {
        {"rope_scaling",
         "{\"type\": \"yarn\", \"factor\": 2, \"beta_fast\": 0, \"beta_slow\": null, "
         "\"mscale\": 0, \"mscale_all_dim\": 0.0}"}};
    r = read_with(llama, yarn, 1);
    CHECK_MSG(r.rc == 0 && r.s.ropes[0].kind == ROPE_YARN, "%s", r.e.msg);
    done(&r);
    struct pair lists[] = {{"model_type", "\"smollm3\""}, {"no_rope_layers", "[1, 0, 7, 0, 0]"}};
    r = read_with(llama, lists, 2);
    CHECK_MSG(r.rc == 0 && !r.s.layers[0].no_rope && r.s.layers[1].no_rope &&
                  !r.s.layers[2].no_rope,
              "%s", r.e.msg);
    done(&r);
    struct pair dense[] = {{"model_type", "\"qwen3_moe\""}, {"mlp_only_layers", "[1, 99]"}};
    r = read_with(llama, dense, 2);
    CHECK_MSG(r.rc == 0 && !r.s.layers[0].dense && r.s.layers[1].dense, "%s", r.e.msg);
    done(&r);
    struct pair unscaled[] = {{"scale_attn_weights", "false"}};
    r = read_with(gpt2, unscaled, 1);
    CHECK(r.rc == 0 && r.s.attn_scale >= 1 && r.s.attn_scale <= 1);
    done(&r);
    // Gemma's first configs say gelu and mean its tanh form. In Gemma 2 and 3 only
    // hidden_activation is read.
    struct pair gelu[] = {{"model_type", "\"gemma\""},
                          {"num_key_value_heads", "2"},
                          {"hidden_act", "\"gelu\""},
                          {"hidden_activation", "null"}};
    r = read_with(llama, gelu, 4);
    CHECK(r.rc == 0 && r.s.act == ACT_GELU_TANH);
    done(&r);
    struct pair act[] = {{"model_type", "\"gemma2\""}, {"hidden_act", "\"gelu\""}};
    r = read_with(llama, act, 2);
    CHECK(r.rc == 0 && r.s.act == ACT_GELU_TANH);
    done(&r);
}

/* A config.json with model_type alone has the defaults of the reference's config class. */
static void class_defaults(void) {
    static const struct {
        const char *type;
        size_t vocab, hidden, ffn, layers, heads, kv_heads, head_dim, max_pos;
        int32_t bos, eos; // -1: none
    } wanted[] = {
        {"llama", 32000, 4096, 11008, 32, 32, 32, 128, 2048, 1, 2},
        {"mistral", 32000, 4096, 14336, 32, 32, 8, 128, 131072, 1, 2},
        {"qwen2", 151936, 4096, 22016, 32, 32, 32, 128, 32768, -1, -1},
        {"qwen3", 151936, 4096, 22016, 32, 32, 32, 128, 32768, -1, -1},
        {"gemma", 256000, 3072, 24576, 28, 16, 16, 256, 8192, 2, 1},
        {"gemma2", 256000, 2304, 9216, 26, 8, 4, 256, 8192, 2, 1},
        {"gemma3_text", 262208, 2304, 9216, 26, 8, 4, 256, 131072, 2, 1},
        {"phi", 51200, 2048, 8192, 24, 32, 32, 64, 2048, 1, 2},
        {"phi3", 32064, 3072, 8192, 32, 32, 32, 96, 4096, 1, 32000},
        {"smollm3", 128256, 2048, 11008, 36, 16, 4, 128, 32768, 128000, 128001},
        {"olmo2", 50304, 4096, 11008, 32, 32, 32, 128, 2048, -1, 50279},
        {"olmo3", 50304, 4096, 11008, 32, 32, 32, 128, 2048, -1, 50279},
        {"granite", 32000, 4096, 11008, 32, 32, 32, 128, 2048, 1, 2},
        {"mixtral", 32000, 4096, 14336, 32, 32, 8, 128, 131072, 1, 2},
        {"qwen3_moe", 151936, 2048, 6144, 24, 32, 4, 64, 32768, -1, -1},
        {"starcoder2", 49152, 3072, 12288, 30, 24, 2, 128, 4096, -1,
         -1}, // 50256 is outside its vocabulary
        {"stablelm", 50304, 2560, 6912, 32, 32, 32, 80, 4096, 0, 0},
        {"gpt2", 50257, 768, 3072, 12, 12, 12, 64, 1024, 50256, 50256},
        {"bert", 30522, 768, 3072, 12, 12, 12, 64, 512, -1, -1},
        {"xlm-roberta", 30522, 768, 3072, 12, 12, 12, 64, 510, 0, 2}, // 512 rows, of which 2 unused
        {"modernbert", 50368, 768, 1152, 22, 12, 12, 64, 8192, 50281, 50282},
        {"nomic_bert", 30528, 768, 3072, 12, 12, 12, 64, 2048, -1, -1},
    };
    size_t n = sizeof wanted / sizeof *wanted;
    CHECK(family_at(n - 1) && !family_at(n));
    for (size_t i = 0; i < n; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"model_type\": \"%s\"}", wanted[i].type);
        struct outcome r = read_text("config.json", text, NULL);
        const struct spec *s = &r.s;
        CHECK_MSG(r.rc == 0, "%s: %s", wanted[i].type, r.e.msg);
        CHECK_STR(r.warnings.p, "");
        CHECK_MSG(s->vocab_size == wanted[i].vocab && s->hidden_dim == wanted[i].hidden &&
                      s->ffn_dim == wanted[i].ffn && s->n_layers == wanted[i].layers &&
                      s->n_heads == wanted[i].heads && s->n_kv_heads == wanted[i].kv_heads &&
                      s->head_dim == wanted[i].head_dim && s->max_pos == wanted[i].max_pos,
                  "%s has other sizes", wanted[i].type);
        CHECK_MSG(s->bos == wanted[i].bos && (s->n_eos ? s->eos[0] : -1) == wanted[i].eos,
                  "%s has other ends", wanted[i].type);
        done(&r);
    }
}

/* Tensors that are missing or of the wrong shape are reported. */
static void tensors(void) {
    struct model_options o = {.max_sequences = 1, .max_rows = 1};
    struct err e = {0};
    struct model *m;
    char *dir = models_with_config(MODELS_DIR "/llama", NULL),
         *path = path_join(dir, "config.json");
    FILE *f = fopen(path, "w");
    fputs("{\"model_type\": \"llama\", \"vocab_size\": 288, \"hidden_size\": 64, "
          "\"intermediate_size\": 81,"
          "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
          "\"max_position_embeddings\": 256}",
          f);
    fclose(f);
    CHECK_INT(model_open(&m, dir, &o, &e), -1);
    CHECK_INT(e.code, EXIT_DATA);
    CHECK(strstr(
        e.msg, "tensor 'model.layers.0.mlp.gate_proj.weight': expected [81, 64], found [80, 64]"));
    CHECK(strstr(
        e.msg, "tensor 'model.layers.1.mlp.down_proj.weight': expected [64, 81], found [64, 80]"));
    CHECK(
        strstr(e.msg, "tensor 'model.layers.2.input_layernorm.weight' is missing: expected [64]"));
    CHECK(strstr(e.msg, "; and 7 more"));
    free(path);
    models_remove(dir);
}

int main(int argc, char **argv) {
    (void)argc;
    program_init(argv[0]);
    RUN(sizes_are_bounded);
    RUN(needed_keys);
    RUN(shapes_must_fit);
    RUN(features_we_lack);
    RUN(numbers_must_make_sense);
    RUN(rotations);
    RUN(bad_json);
    RUN(warnings);
    RUN(defaults);
    RUN(windows);
    RUN(ends_of_text);
    RUN(quantisation);
    RUN(quantisation_refused);
    RUN(nothing_said);
    RUN(class_defaults);
    RUN(tensors);
    return check_done();
}

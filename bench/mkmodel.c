/* mkmodel: writes a model folder with random BF16 weights in the exact shapes of a published
 * model, so that speed can be measured without a download.
 *
 *     mkmodel NAME DIR      NAME: tinyllama, llama-3.2-1b, qwen2.5-0.5b, smollm2-135m
 *
 * Every run writes the same bytes (splitmix64 from a fixed seed). Matrices are uniform with a
 * standard deviation of 0.02, and norms are one, so that activations stay finite over any depth.
 * Shapes and constants are those of the config.json of TinyLlama/TinyLlama-1.1B-Chat-v1.0,
 * meta-llama/Llama-3.2-1B, Qwen/Qwen2.5-0.5B and HuggingFaceTB/SmolLM2-135M-Instruct. DIR must not
 * exist.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/io.h"
#include "base/mem.h"
#include "weights/st_write.h"

struct shape {
    const char *name, *model_type, *architecture;
    uint64_t vocab, hidden, ffn, layers, heads, kv_heads, context;
    const char *theta, *eps;
    bool tied, qkv_bias;
    const char *rope_scaling; // JSON, or NULL
};

static const char llama3_rope[] =
    "{\"factor\": 32.0, \"high_freq_factor\": 4.0, \"low_freq_factor\": 1.0, "
    "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}";

static const struct shape shapes[] = {
    {"tinyllama", "llama", "LlamaForCausalLM", 32000, 2048, 5632, 22, 32, 4, 16384, "10000.0",
     "1e-05", false, false, NULL},
    {"llama-3.2-1b", "llama", "LlamaForCausalLM", 128256, 2048, 8192, 16, 32, 8, 131072, "500000.0",
     "1e-05", true, false, llama3_rope},
    {"qwen2.5-0.5b", "qwen2", "Qwen2ForCausalLM", 151936, 896, 4864, 24, 14, 2, 32768, "1000000.0",
     "1e-06", true, true, NULL},
    {"smollm2-135m", "llama", "LlamaForCausalLM", 49152, 576, 1536, 30, 9, 3, 8192, "100000",
     "1e-05", true, false, NULL},
};

static uint64_t splitmix64(uint64_t *state) { // Vigna, https://prng.di.unimi.it/splitmix64.c
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static void write_config(const struct shape *s, const char *dir, struct err *e) {
    struct buf b = {0};
    buf_fmt(&b, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n", s->architecture,
            s->model_type);
    buf_fmt(
        &b, "  \"vocab_size\": %llu,\n  \"hidden_size\": %llu,\n  \"intermediate_size\": %llu,\n",
        (unsigned long long)s->vocab, (unsigned long long)s->hidden, (unsigned long long)s->ffn);
    buf_fmt(&b,
            "  \"num_hidden_layers\": %llu,\n  \"num_attention_heads\": %llu,\n  "
            "\"num_key_value_heads\": %llu,\n",
            (unsigned long long)s->layers, (unsigned long long)s->heads,
            (unsigned long long)s->kv_heads);
    buf_fmt(
        &b,
        "  \"max_position_embeddings\": %llu,\n  \"rope_theta\": %s,\n  \"rms_norm_eps\": %s,\n",
        (unsigned long long)s->context, s->theta, s->eps);
    buf_fmt(&b,
            "  \"tie_word_embeddings\": %s,\n  \"hidden_act\": \"silu\",\n  \"bos_token_id\": 1,\n "
            " \"eos_token_id\": 2,\n",
            s->tied ? "true" : "false");
    if (s->rope_scaling)
        buf_fmt(&b, "  \"rope_scaling\": %s,\n", s->rope_scaling);
    buf_str(&b, "  \"torch_dtype\": \"bfloat16\"\n}\n");
    char *path = path_join(dir, "config.json");
    struct outfile o;
    if (outfile_open(&o, path, e) != 0 || outfile_write(&o, b.p, b.n, e) != 0 ||
        outfile_commit(&o, e) != 0)
        die_err(e);
    free(path);
    buf_free(&b);
}

/* Lists the tensors in order. Called once to declare them, and once to write them. */
struct tensors {
    struct st_writer *w;
    bool declare;
    uint64_t random;
    uint16_t *values; // [n_values], filled again for every piece
    struct err *e;
};
enum { N_VALUES = 1 << 20 };

static void tensor(struct tensors *t, const char *name, uint64_t rows, uint64_t columns,
                   bool ones) {
    uint64_t n = rows * (columns ? columns : 1);
    if (t->declare) {
        st_writer_add(t->w, name, DT_BF16, columns ? 2 : 1, (uint64_t[]){rows, columns});
        return;
    }
    for (uint64_t done = 0; done < n;) {
        size_t piece = n - done < N_VALUES ? (size_t)(n - done) : N_VALUES;
        for (size_t i = 0; i < piece; i += 4) {
            uint64_t r = splitmix64(&t->random);
            for (size_t k = i; k < i + 4 && k < piece;
                 k++, r >>= 16) // sqrt(12) * 0.02 wide: deviation 0.02
                t->values[k] =
                    ones ? 0x3F80
                         : bf16_from_f32(((float)(r & 0xFFFF) / 65536.0f - 0.5f) * 0.0693f);
        }
        if (st_writer_data(t->w, t->values, piece * 2, t->e) != 0)
            die_err(t->e);
        done += piece;
    }
}

static void all_tensors(struct tensors *t, const struct shape *s) {
    uint64_t head_dim = s->hidden / s->heads, kv = s->kv_heads * head_dim;
    tensor(t, "model.embed_tokens.weight", s->vocab, s->hidden, false);
    for (uint64_t layer = 0; layer < s->layers; layer++) {
        const struct {
            const char *name;
            uint64_t rows, columns;
            bool ones, is_bias;
        } parts[] = {
            {"input_layernorm.weight", s->hidden, 0, true, false},
            {"self_attn.q_proj.weight", s->hidden, s->hidden, false, false},
            {"self_attn.k_proj.weight", kv, s->hidden, false, false},
            {"self_attn.v_proj.weight", kv, s->hidden, false, false},
            {"self_attn.o_proj.weight", s->hidden, s->hidden, false, false},
            {"self_attn.q_proj.bias", s->hidden, 0, false, true},
            {"self_attn.k_proj.bias", kv, 0, false, true},
            {"self_attn.v_proj.bias", kv, 0, false, true},
            {"post_attention_layernorm.weight", s->hidden, 0, true, false},
            {"mlp.gate_proj.weight", s->ffn, s->hidden, false, false},
            {"mlp.up_proj.weight", s->ffn, s->hidden, false, false},
            {"mlp.down_proj.weight", s->hidden, s->ffn, false, false},
        };
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%llu.%s", (unsigned long long)layer,
                     parts[i].name);
            if (!parts[i].is_bias || s->qkv_bias)
                tensor(t, name, parts[i].rows, parts[i].columns, parts[i].ones);
        }
    }
    tensor(t, "model.norm.weight", s->hidden, 0, true);
    if (!s->tied)
        tensor(t, "lm_head.weight", s->vocab, s->hidden, false);
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    const struct shape *s = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(argv[1], shapes[i].name) == 0)
            s = &shapes[i];
    if (!s)
        die(EXIT_USAGE, "usage: mkmodel tinyllama|llama-3.2-1b|qwen2.5-0.5b|smollm2-135m DIR");
    struct err e = {0};
    if (mkdir(argv[2], 0777) != 0) {
        err_errno(&e, EXIT_IO, "cannot make the folder %s", argv[2]);
        die_err(&e);
    }
    write_config(s, argv[2], &e);
    char *path = path_join(argv[2], "model.safetensors");
    struct tensors t = {.w = st_writer_new(NULL),
                        .declare = true,
                        .random = 1,
                        .values = xmalloc(2 * N_VALUES),
                        .e = &e};
    all_tensors(&t, s);
    if (st_writer_begin(t.w, path, &e) != 0)
        die_err(&e);
    t.declare = false;
    all_tensors(&t, s);
    if (st_writer_commit(t.w, &e) != 0)
        die_err(&e);
    free(t.values);
    free(path);
    return EXIT_DONE;
}

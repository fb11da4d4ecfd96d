/* quantization_config -> struct spec_quant: how a checkpoint stores its matrices.
 *
 * Each method has keys of its own, and a function here that reads them. MLX's files have no
 * quant_method; their object is also called "quantization". Folders of before quantization_config
 * have quantize_config.json (GPTQ), quant_config.json (AWQ) or hf_quant_config.json (ModelOpt).
 * Sources: transformers utils/quantization_config.py, compressed_tensors/quantization, gptqmodel
 * quantization/config.py, auto_round export, modelopt's hf_quant_config.json, mlx_lm utils.py.
 *
 * Refused: methods and storage forms that no file of common/quant reads, transforms of activations,
 * sparsity, and static scales of activations: they cut off what is larger, and integers lose what
 * is smaller. Scales that are computed from the activations change little, and are left out.
 * bitsandbytes leaves an object with both of its switches off in models that were trained without
 * it; that one is accepted.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "base/num.h"
#include "spec/config_quant.h"

enum { MAX_PLAIN = 1 << 16 };

/* ---- Members ---- */

/* The whole number of key, or of other where key is missing, if it is in [min, 65536]; else 0. */
int32_t quant_number(const struct keys_object *o, int64_t min, const char *key, const char *other) {
    const struct keys_member *m = keys_member_find(o, key);
    m = m ? m : keys_member_find(o, other);
    int64_t v = 0;
    return m && parse_i64(m->raw, min, 65536, &v) ? (int32_t)v : 0;
}

bool quant_is_true(const struct keys_object *o, const char *key) {
    const struct keys_member *m = keys_member_find(o, key);
    return m && keys_member_is(m, "true");
}

bool quant_is_on(const struct keys_object *o, const char *key) {
    const struct keys_member *m = keys_member_find(o, key);
    return m && !keys_member_false(m);
}

bool quant_is_text(const struct keys_object *o, const char *key, const char *const *texts) {
    const struct keys_member *m = keys_member_find(o, key);
    for (; m && *texts; texts++)
        if (m->raw.n == strlen(*texts) + 2 && m->raw.p[0] == '"' &&
            memcmp(m->raw.p + 1, *texts, m->raw.n - 2) == 0)
            return true;
    return false;
}

int quant_only(struct keys_reader *r, const struct keys_object *o, const char *key,
               const char *const *texts, const char *expected) {
    const struct keys_member *m = keys_member_find(o, key);
    if (!m || keys_member_is(m, "null") || quant_is_text(o, key, texts))
        return 0;
    return keys_refuse(r, m, expected);
}

int quant_never(struct keys_reader *r, const struct keys_object *o, const char *key,
                const char *expected) {
    const struct keys_member *m = keys_member_find(o, key);
    return m && !keys_member_false(m) ? keys_refuse(r, m, expected) : 0;
}

const char quant_no_static[] = "static scales of activations are not supported";

int quant_add_args(struct keys_reader *r, struct spec_quant *q, struct quant_args a,
                   const struct keys_member *m) {
    for (size_t i = 0; i < q->n_args; i++)
        if (q->args[i].bits == a.bits && q->args[i].group_size == a.group_size &&
            q->args[i].sym == a.sym && q->args[i].is_float == a.is_float)
            return 0;
    if (q->n_args == QUANT_MAX_ARGS)
        return keys_refuse(r, m, "more than 64 kinds of quantised modules are not supported");
    q->args[q->n_args++] = a;
    return 0;
}

/* The names of a list of strings are modules that are not quantised. */
static int read_plain(struct keys_reader *r, struct spec *s, const struct keys_object *o,
                      const char *key) {
    struct spec_quant *q = &s->quant;
    const struct keys_member *m = keys_member_find(o, key);
    if (!m || m->raw.p[0] != '[')
        return 0;
    struct json j = keys_value(r, m);
    size_t n = 0;
    for (const char *p = m->raw.p; p < m->raw.p + m->raw.n; p++)
        n += *p == ',';
    const char **list = arena_alloc(&s->mem, (q->n_plain + n + 1) * sizeof *list);
    for (size_t i = 0; i < q->n_plain; i++)
        list[i] = q->plain[i];
    q->plain = list;
    json_enter_array(&j);
    while (json_item(&j)) {
        struct str name = json_peek(&j) == JSON_STRING ? json_str(&j) : (json_skip(&j), str_of(""));
        if (json_failed(&j))
            break;
        if (name.n > 0)
            q->plain[q->n_plain++] = arena_str(&s->mem, name.p, name.n).p;
    }
    json_free(&j);
    return json_failed(&j) ? -1 : 0;
}

/* Objects of a member, by name: each may have bits, group_size and sym of its own. */
static int read_overrides(struct keys_reader *r, struct spec_quant *q, const struct keys_object *o,
                          const char *key) {
    const struct keys_member *m = keys_member_find(o, key);
    struct keys_object each = {0};
    if (!m || m->raw.p[0] != '{')
        return 0;
    int rc = keys_read_object(r, m, &each);
    for (size_t i = 0; i < each.n && rc == 0; i++) {
        struct keys_object one = {0};
        if (each.members[i].raw.p[0] != '{')
            continue;
        rc = keys_read_object(r, &each.members[i], &one);
        const struct keys_member *sym = keys_member_find(&one, "sym");
        int32_t bits = quant_number(&one, 0, "bits", "bits"),
                group = quant_number(&one, -1, "group_size", "group_size");
        if (rc == 0 && sym && quant_is_on(&one, "sym") != q->sym)
            rc = keys_refuse(r, &each.members[i], "sym must be the same for all modules");
        if (rc == 0)
            rc = quant_add_args(r, q,
                                (struct quant_args){bits ? bits : q->bits,
                                                    group ? group : q->group_size, q->sym, false},
                                &each.members[i]);
        free(one.members);
    }
    free(each.members);
    return rc;
}

static int add_own_args(struct keys_reader *r, struct spec_quant *q) {
    const struct quant_args own = {q->bits, q->group_size, q->sym, false};
    return quant_add_args(r, q, own, NULL);
}

/* ---- Methods ---- */

static int read_gptq(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const forms[] = {"gptq", "gptq_v2", NULL}, *const v2[] = {"gptq_v2", NULL},
                             *const i32[] = {"int32", NULL};
    struct spec_quant *q = &s->quant;
    const char *form = keys_member_find(o, "checkpoint_format") ? "checkpoint_format" : "format";
    q->store = QUANT_GPTQ;
    q->raw_zeros = quant_is_text(o, form, v2);
    if (quant_only(r, o, form, forms, "only gptq and gptq_v2 are supported") != 0 ||
        quant_only(r, o, "pack_dtype", i32, "only int32 is supported") != 0 ||
        quant_never(r, o, "is_marlin_format", "the marlin format is not supported") != 0 ||
        add_own_args(r, q) != 0)
        return -1;
    return read_overrides(r, q, o, "dynamic");
}

static int read_awq(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const gemm[] = {"gemm", "GEMM", NULL};
    s->quant.store = QUANT_AWQ;
    if (quant_only(r, o, "version", gemm, "only gemm is supported") != 0)
        return -1;
    s->quant.sym = false; // zero points are stored
    return add_own_args(r, &s->quant);
}

static int read_auto_round(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const gptq[] = {"auto_round:auto_gptq", "auto_round:gptq", NULL},
                             *const awq[] = {"auto_round:auto_awq", "auto_round:awq", NULL},
                             *const raw[] = {"auto_round", "auto_round:gptqmodel", NULL},
                             *const compressed[] = {"auto_round:llm_compressor", NULL};
    struct spec_quant *q = &s->quant;
    const struct keys_member *form = keys_member_find(o, "packing_format"),
                             *dynamic = keys_member_find(o, "act_dynamic");
    const int32_t act_bits = quant_number(o, 1, "act_bits", "act_bits");
    if (act_bits > 0 && act_bits < 16 && dynamic && !quant_is_on(o, "act_dynamic"))
        return keys_refuse(r, dynamic, quant_no_static);
    if (quant_is_text(o, "packing_format", awq)) {
        q->store = QUANT_AWQ;
    } else if (quant_is_text(o, "packing_format", compressed)) {
        q->store = QUANT_COMPRESSED;
        return 0; // what is said of bits is about several kinds of floats
    } else if (!form || quant_is_text(o, "packing_format", gptq)) {
        q->store = QUANT_GPTQ;
    } else if (quant_is_text(o, "packing_format", raw)) {
        q->store = QUANT_GPTQ;
        q->raw_zeros = true;
    } else {
        return keys_refuse(r, form,
                           "only auto_round, auto_round:auto_gptq, auto_round:auto_awq, "
                           "auto_round:gptqmodel and auto_round:llm_compressor are supported");
    }
    return add_own_args(r, q) != 0 ? -1 : read_overrides(r, q, o, "extra_config");
}

/* "weight_block_size": [128, 128], or null. */
static int read_block(struct keys_reader *r, struct spec_quant *q, const struct keys_object *o) {
    const struct keys_member *m = keys_member_find(o, "weight_block_size");
    if (!m || keys_member_is(m, "null"))
        return 0;
    struct json j = keys_value(r, m);
    size_t n = 0;
    json_enter_array(&j);
    for (; json_item(&j); n++) {
        uint64_t v = json_u64(&j);
        if (!json_failed(&j) && (n == 2 || v == 0 || v > 65536))
            json_refuse(&j, "weight_block_size must be two numbers in [1, 65536]");
        if (json_failed(&j))
            break;
        q->block[n] = (size_t)v;
    }
    json_free(&j);
    if (json_failed(&j))
        return -1;
    return n == 2 ? 0 : keys_refuse(r, m, "must be two numbers");
}

static int read_fp8(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const e4m3[] = {"e4m3", "float8_e4m3fn", NULL}, *const fp8[] = {"fp8", NULL},
                             *const dynamic[] = {"dynamic", NULL}, *const ue8m0[] = {"ue8m0", NULL};
    s->quant.store = QUANT_FP8;
    s->quant.dynamic = quant_is_text(o, "activation_scheme", dynamic);
    if (quant_only(r, o, "fmt", e4m3, "only e4m3 is supported") != 0 ||
        quant_only(r, o, "expert_dtype", fp8, "only fp8 is supported") != 0 ||
        quant_only(r, o, "scale_fmt", ue8m0, "only ue8m0 is supported") != 0 ||
        quant_only(r, o, "activation_scheme", dynamic, quant_no_static) != 0)
        return -1;
    return read_block(r, &s->quant, o);
}

static int read_modelopt(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const algos[] = {"FP8", "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4", NULL};
    s->quant.store = QUANT_MODELOPT;
    if (read_plain(r, s, o, "exclude_modules") != 0)
        return -1;
    return quant_only(r, o, "quant_algo", algos, "only FP8 and NVFP4 are supported");
}

static int read_mlx(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const modes[] = {"affine", NULL};
    struct spec_quant *q = &s->quant;
    q->store = QUANT_MLX;
    if (quant_only(r, o, "mode", modes, "only affine is supported") != 0 || add_own_args(r, q) != 0)
        return -1;
    // A module's path, with an object of its own, or false.
    for (size_t i = 0; i < o->n; i++) {
        const struct keys_member *m = &o->members[i];
        struct keys_object own = {0};
        if (m->raw.p[0] != '{')
            continue;
        int rc = keys_read_object(r, m, &own);
        if (rc == 0)
            rc = quant_only(r, &own, "mode", modes, "only affine is supported");
        int32_t bits = quant_number(&own, 0, "bits", "bits"),
                group = quant_number(&own, 0, "group_size", "group_size");
        if (rc == 0)
            rc = quant_add_args(r, q,
                                (struct quant_args){bits ? bits : q->bits,
                                                    group ? group : q->group_size, false, false},
                                m);
        free(own.members);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int read_bnb(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const types[] = {"nf4", "fp4", NULL};
    s->quant.store = QUANT_BNB;
    return quant_only(r, o, "bnb_4bit_quant_type", types, "only nf4 and fp4 are supported");
}

/* What is quantised is found from the tensors, which have names of their own (quant(5)). */
static int read_tokpipe(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    (void)r;
    (void)o;
    s->quant.store = QUANT_PLAIN;
    return 0;
}

/* ---- The object ---- */

static const struct {
    const char *name; // quant_method
    int (*read)(struct keys_reader *r, struct spec *s, const struct keys_object *o);
    const char *plain; // key of the list of modules that are not quantised
} methods[] = {
    {"compressed-tensors", quant_read_compressed, "ignore"},
    {"gptq", read_gptq, NULL},
    {"awq", read_awq, "modules_to_not_convert"},
    {"auto-round", read_auto_round, NULL},
    {"intel/auto-round", read_auto_round, NULL},
    {"fp8", read_fp8, "modules_to_not_convert"},
    {"fbgemm_fp8", read_fp8, "modules_to_not_convert"},
    {"modelopt", read_modelopt, "ignore"},
    {"mlx", read_mlx, NULL},
    {"bitsandbytes", read_bnb, "llm_int8_skip_modules"},
    {"tokpipe", read_tokpipe, NULL},
};
enum { N_METHODS = sizeof methods / sizeof *methods };

static void read_common(struct spec *s, const struct keys_object *o, const char *method,
                        struct str raw) {
    struct spec_quant *q = &s->quant;
    *q = (struct spec_quant){.method = method, .raw = arena_str(&s->mem, raw.p, raw.n)};
    q->bits = quant_number(o, 0, "bits", "w_bit");
    q->group_size = quant_number(o, -1, "group_size", "q_group_size");
    q->sym = quant_is_true(o, "sym");
    q->desc_act = quant_is_true(o, "desc_act");
}

/* m, with members q, is the object of a method; fallback: where it has no quant_method. */
static int read_object(struct keys_reader *r, struct spec *s, const struct keys_member *m,
                       const struct keys_object *q, const char *fallback) {
    const struct keys_member *method = keys_member_find(q, "quant_method");
    struct str name = fallback ? str_of(fallback) : str_of("");
    if (method && method->raw.p[0] == '"')
        name = (struct str){method->raw.p + 1, method->raw.n - 2};
    read_common(s, q, arena_str(&s->mem, name.p, name.n).p, m->raw);
    for (size_t i = 0; i < N_METHODS; i++)
        if (str_eq(name, methods[i].name)) {
            s->quant.method = methods[i].name;
            if (methods[i].plain && read_plain(r, s, q, methods[i].plain) != 0)
                return -1;
            return methods[i].read(r, s, q);
        }
    if (!method)
        return keys_refuse(r, m, "quant_method is missing");
    return keys_refuse(r, method,
                       "only compressed-tensors, gptq, awq, auto-round, fp8, fbgemm_fp8, modelopt, "
                       "mlx, bitsandbytes and tokpipe are supported");
}

int config_quant(struct keys_reader *r, struct spec_config *c, const struct keys_object *o) {
    struct keys_member *m = keys_member_take(o, "quantization_config"),
                       *mlx = keys_member_take(o, "quantization");
    m = m ? m : mlx;
    if (!m || keys_member_false(m))
        return 0;
    struct keys_object q = {0};
    int rc = m->raw.p[0] == '{' ? keys_read_object(r, m, &q)
                                : keys_refuse(r, m, "must be an object or null");
    if (rc == 0) {
        const struct keys_member *method = keys_member_find(&q, "quant_method");
        bool off = method && keys_member_is(method, "\"bitsandbytes\"") &&
                   !quant_is_on(&q, "load_in_4bit") && !quant_is_on(&q, "load_in_8bit");
        if (!off)
            rc = read_object(r, &c->spec, m, &q, mlx ? "mlx" : NULL);
    }
    free(q.members);
    return rc;
}

/* ---- Files of their own ---- */

const struct quant_file config_quant_files[] = {
    {"quantize_config.json", "gptq", NULL},
    {"quant_config.json", "awq", NULL},
    {"hf_quant_config.json", "modelopt", "quantization"},
    {NULL, NULL, NULL},
};

int config_quant_file(struct spec *s, const struct quant_file *file, const char *path,
                      const char *text, size_t n, struct buf *warnings, struct err *e) {
    struct keys_reader r = {.warnings = warnings, .e = e};
    struct keys_object o = {0}, inner = {0};
    int rc = keys_open(&r, path, text, n, &o);
    const struct keys_member *m =
        rc == 0 && file->member ? keys_member_find(&o, file->member) : NULL;
    struct keys_member whole = {.key = str_of("quantization"), .raw = {text, n}};
    if (rc == 0 && file->member && !m)
        rc = err_set(e, EXIT_DATA, "%s is missing: %s", file->member, path);
    if (rc == 0 && m)
        rc = keys_read_object(&r, m, &inner);
    if (rc == 0)
        rc = read_object(&r, s, m ? m : &whole, m ? &inner : &o, file->method);
    free(inner.members);
    keys_close(&r, &o);
    return rc;
}

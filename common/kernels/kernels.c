/* Which kernels run: the table of instruction sets, and the choice of one.
 *
 * Sets are listed from the slowest up, and each replaces some functions of those before it. The
 * default is the last one that this CPU has and that is fast on it (isa.c). LLM_ISA names another.
 * A name that is unknown, or that this CPU lacks, is refused rather than replaced: the reader of a
 * measurement wants to know what was measured. amx-emulated computes amx's bits with AVX-512; it is
 * for tests, and is used only where LLM_ISA names it.
 *
 * A new instruction set is a line here.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/amx.h"
#include "kernels/isa.h"
#include "kernels/table.h"
#include "kernels/x86.h"

struct kernel_table kernel;

static bool always(const struct isa_cpu *c) {
    (void)c;
    return true;
}
#if defined(__x86_64__)
static bool has_avx2(const struct isa_cpu *c) {
    return c->avx2;
}
static bool has_avxvnni(const struct isa_cpu *c) {
    return c->avxvnni;
}
static bool has_avx512(const struct isa_cpu *c) {
    return c->avx512;
}
static void matmul_vnni_fill(struct kernel_table *t) {
    if (isa_cpu().avx512vnni)
        matmul_int_avx512_fill(t);
}
static bool has_avx512bf16(const struct isa_cpu *c) {
    return c->avx512bf16;
}
static bool fast_bf16(const struct isa_cpu *c) {
    return !isa_slow_bf16(c);
}
#endif
#if KERNELS_AMX
static bool has_amx(const struct isa_cpu *c) {
    return c->amx && !c->amx_refused;
}
static bool never(const struct isa_cpu *c) {
    (void)c;
    return false;
}
static void amx_fill(struct kernel_table *t) {
    matmul_amx_fill(t);
    matmul_int_amx_fill(t);
    attention_amx_fill(t);
    t->idle = amx_release;
}
#endif

static const struct set {
    const char *name;
    bool (*has)(const struct isa_cpu *c);
    bool (*is_fast)(const struct isa_cpu *c);
    kernel_fill *fill[6]; // or NULL
} sets[] = {
    {"baseline",
     always,
     always,
     {matmul_baseline_fill, matmul_int_baseline_fill, attention_baseline_fill, softmax_c_fill,
      rows_c_fill, widen_c_fill}},
#if defined(__x86_64__)
    {"c", always, always, {matmul_c_fill, attention_c_fill}},
    {"avx2",
     has_avx2,
     always,
     {matmul_avx2_fill, matmul_int_avx2_fill, attention_avx2_fill, softmax_avx2_fill,
      rows_avx2_fill, widen_avx2_fill}},
    {"avxvnni", has_avxvnni, always, {matmul_int_avxvnni_fill}},
    {"avx512",
     has_avx512,
     always,
     {matmul_avx512_fill, matmul_vnni_fill, attention_avx512_fill, softmax_avx512_fill,
      rows_avx512_fill, widen_avx512_fill}},
    {"avx512bf16",
     has_avx512bf16,
     fast_bf16,
     {matmul_avx512bf16_fill, attention_avx512bf16_fill, softmax_avx512bf16_fill}},
#if KERNELS_AMX
    {"amx-emulated",
     has_avx512bf16, // whose softmax it takes
     never,
     {matmul_amx_emulated_fill, matmul_int_amx_emulated_fill, attention_amx_emulated_fill}},
    {"amx", has_amx, always, {amx_fill}},
#endif
#else
    {"c", always, always, {NULL}}, // as baseline
#endif
};
enum { N_SETS = sizeof sets / sizeof *sets };

void matmul_register(struct kernel_table *t, const struct matmul_kernel *kernels, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct matmul_kernel *place =
            &(kernels[i].pack_x ? t->matmul_own : t->matmul)[kernels[i].layout];
        if (kernels[i].least_rows > 0 && place->least_rows == 0)
            t->matmul_few[kernels[i].layout] = *place;
        *place = kernels[i];
    }
}

static void use(size_t set, const struct isa_cpu *c) {
    struct kernel_table t = {.isa = sets[set].name};
    for (size_t i = 0; i <= set; i++)
        for (size_t k = 0; k < sizeof sets[i].fill / sizeof *sets[i].fill; k++)
            if (sets[i].fill[k] && sets[i].has(c))
                sets[i].fill[k](&t);
    t.widen_rows = MATMUL_WIDEN_ROWS_C;
    t.widen_n_in = MATMUL_WIDEN_N_IN_C;
    if (sets[set].has != always) {
        t.widen_rows = isa_slow_convert(c) ? MATMUL_WIDEN_ROWS : SIZE_MAX;
        t.widen_n_in = MATMUL_WIDEN_N_IN;
    }
    t.row_ahead = isa_slow_streams(c) ? MATMUL_ROW_AHEAD : 0;
    t.amx_refused = c->amx ? c->amx_refused : NULL;
    kernel = t;
}

/* The set of this name, N_SETS if there is none. */
static size_t find(const char *name) {
    size_t i = 0;
    while (i < N_SETS && strcmp(name, sets[i].name) != 0)
        i++;
    return i;
}

/* The last set that this CPU has, and that is fast on it. */
static size_t default_set(const struct isa_cpu *c) {
    size_t i = N_SETS - 1;
    while (!sets[i].has(c) || !sets[i].is_fast(c))
        i--;
    return i;
}

const char *kernels_choose(const char *want, const struct isa_cpu *c, struct err *e) {
    size_t set = want && *want ? find(want) : default_set(c);
    if (set == N_SETS)
        err_set(e, EXIT_USAGE,
                "LLM_ISA is '%s', not one of baseline, c, avx2, avxvnni, avx512, avx512bf16, "
                "amx, amx-emulated",
                want);
    else if (sets[set].has(c))
        return sets[set].name;
    else if (strcmp(want, "amx") == 0 && c->amx)
        err_set(e, EXIT_USAGE, "LLM_ISA is 'amx', which the system does not allow: %s",
                c->amx_refused);
    else
        err_set(e, EXIT_USAGE, "LLM_ISA is '%s', which this CPU lacks (its default is %s)", want,
                sets[default_set(c)].name);
    return NULL;
}

int kernels_init(struct err *e) {
    struct isa_cpu c = isa_cpu();
    const char *name = kernels_choose(getenv("LLM_ISA"), &c, e);
    if (name)
        use(find(name), &c);
    return name ? 0 : -1;
}

const char *kernels_isa(void) {
    return kernel.isa;
}

const char *kernels_refused(void) {
    return kernel.amx_refused;
}

const char *const *kernels_isas(void) {
    static const char *has[N_SETS + 1];
    struct isa_cpu c = isa_cpu();
    size_t n = 0;
    for (size_t i = 0; i < N_SETS; i++)
        if (sets[i].has(&c))
            has[n++] = sets[i].name;
    has[n] = NULL;
    return has;
}

void kernels_use(const char *isa) {
    struct isa_cpu c = isa_cpu();
    use(find(isa), &c);
}

/* The runtime of shim.h: the threads of a block as fibers, their barriers, the tensor core, and the
 * checks.
 *
 *   shim_run      for each block, in a seeded order: poison shared memory, then run its threads
 *   pick          the ready thread that runs next: mostly one of the same warp, sometimes another's
 *   meet          operations of a whole warp: the last lane to arrive does the work of all
 *   tile_product  16 x 8 sums of 16 products each, as Hopper's tensor core adds them
 *   touch         the race check: with -fsanitize=thread the compiler calls it at reads and writes
 *
 * The race check needs kernels compiled with -fsanitize=thread and a link without it: the functions
 * that the compiler calls are here. Each word of shared memory has a record of its last writers and
 * readers. Two threads are in order if __syncthreads was between them, or, in one warp, an
 * operation of both lanes. With CUDA_SHIM_STRICT=1 only __syncwarp orders lanes, which is all that
 * CUDA promises.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "asan.h"
#include "shim.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <vector>

#pragma GCC visibility push(hidden)

enum {
    MAX_BLOCK = 1024,        // threads
    MAX_CLUSTER = 4,         // blocks that run together
    MAX_WARPS = 64,          // of all of them
    MAX_SHARED = 227 * 1024, // of sm_90, and what no launch exceeds
    GUARD = 4096,            // bytes after a launch's dynamic memory that belong to nobody
    STACK = (ASAN ? 256 : 64) * 1024
};
static const uint32_t POISON = 0xffffffff; // NaN as f32, bf16 and f16

/* ---- fibers ---- */

#if defined(__x86_64__) && !defined(SHIM_UCONTEXT)
extern "C" void shim_switch(void **from, void *to);
__asm__(
    ".text\n.globl shim_switch\n.hidden shim_switch\n.type shim_switch, @function\nshim_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size shim_switch, "
    ".-shim_switch\n");
static void *first_frame(char *top, void (*entry)(void)) {
    void **sp = (void **)top;
    *--sp = NULL; // as if entry had been called: its frame begins 8 bytes off 16
    *--sp = (void *)entry;
    for (int i = 0; i < 6; i++)
        *--sp = NULL;
    return sp;
}
#elif defined(__aarch64__) && !defined(SHIM_UCONTEXT)
extern "C" void shim_switch(void **from, void *to);
__asm__(
    ".text\n.globl shim_switch\n.hidden shim_switch\n.type shim_switch, %function\nshim_switch:\n"
    "sub sp, sp, #160\nstp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp "
    "x25, x26, "
    "[sp, #48]\n"
    "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\nstp d8, d9, [sp, #96]\nstp d10, d11, [sp, "
    "#112]\n"
    "stp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\nmov x2, sp\nstr x2, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, "
    "#48]\n"
    "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\nldp d8, d9, [sp, #96]\nldp d10, d11, [sp, "
    "#112]\n"
    "ldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\nadd sp, sp, #160\nret\n.size shim_switch, "
    ".-shim_switch\n");
static void *first_frame(char *top, void (*entry)(void)) {
    void **sp = (void **)(top - 160);
    memset(sp, 0, 160);
    sp[11] = (void *)entry; // x30
    return sp;
}
#else
static ucontext_t *context_of(void **slot) {
    if (!*slot)
        *slot = calloc(1, sizeof(ucontext_t));
    return (ucontext_t *)*slot;
}
static void shim_switch(void **from, void *to) {
    swapcontext(context_of(from), (ucontext_t *)to);
}
static void *first_frame(char *top, void (*entry)(void)) {
    size_t room = (sizeof(ucontext_t) + 63) / 64 * 64;
    ucontext_t *c =
        (ucontext_t *)(((uintptr_t)top - room) & ~(uintptr_t)63); // at the top of its own stack
    getcontext(c);
    c->uc_stack.ss_sp = top - STACK / 2;
    c->uc_stack.ss_size = (size_t)((char *)c - (top - STACK / 2));
    makecontext(c, entry, 0);
    return c;
}
#endif

#if ASAN
extern "C" {
__attribute__((visibility("default"))) void
__sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
__attribute__((visibility("default"))) void
__sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *size);
}
#endif

struct stack {
    char *base; // STACK bytes, the lowest page without access
    char *top;
};

struct entry { // who touched a word: at which block-wide epoch, at which time of the thread's own
               // clock
    uint32_t epoch, clock;
    int32_t pc; // less that of shim_run
    uint16_t thread;
    uint16_t bytes; // mask, of 4; BY_COPY: a bulk copy wrote them
};
enum { BY_COPY = 0x100 };
struct word {
    struct entry writer[2], reader[2];
};

struct copy { // of copy_16, on its way
    unsigned char *to;
    unsigned char bytes[16];
    uint32_t group;
    void *pc;
};

struct thread {
    struct shim_place place; // first, for shim_here
    uint32_t number, warp, lane;
    bool started, ended, waited; // waited: called grid_wait
    void *sp;
    struct stack *stack;
    void *fake; // ASan's
    const char *at;
    void *pc;
    // what it brings to a meeting, and takes away
    uint32_t in[6], result;
    float *d;
    int32_t *whole; // d of mma_s8
    const uint32_t *a;
    const void *b;
    // copies under way
    std::vector<struct copy> copies;
    uint32_t copy_group;
    // the race check: clock goes up at each meeting, seen[l] is the last time of lane l that is
    // before now
    uint32_t clock, fence, seen[32];
    std::vector<uint32_t> far; // the same of threads of other warps, that mbarriers have ordered
    bool far_changed;          // since the warp's lanes joined theirs
};

struct bulk { // a bulk copy on its way
    unsigned char *to;
    std::vector<unsigned char> bytes;
    struct entry writer; // as the race check knows it from its arrival on
};

struct barrier { // an mbarrier
    const uint64_t *at;
    uint32_t arrivals, left;      // of each phase, and of this one
    uint32_t phase;               // number
    uint64_t expected, in_flight; // bytes in this phase, announced and of copies
    std::vector<struct bulk> copies;
    std::vector<uint32_t> waiting; // threads
    struct entry init;
    // the race check: by thread, the last time that is before a wait's end
    std::vector<uint32_t> arrived, done; // of arrivals, and of phases that have ended
};

enum kind {
    SYNC_WARP,
    SHUFFLE_XOR,
    SHUFFLE_INDEX,
    SHUFFLE_DOWN,
    SHUFFLE_UP,
    BALLOT,
    MMA_BF16,
    MMA_F16,
    MMA_S8,
    MMA_S8_HALF,
    WGMMA,
    WGMMA_DO
};
static const char *const kind_name[] = {
    "__syncwarp",     "__shfl_xor_sync", "__shfl_sync", "__shfl_down_sync",
    "__shfl_up_sync", "__ballot_sync",   "mma_bf16",    "mma_f16",
    "mma_s8",         "mma_s8_half",     "wgmma",       "wgmma_fence, commit or wait"};

struct meeting {
    uint32_t mask, arrived;
    enum kind kind;
};

struct sums { // accumulators of a wgmma that is under way
    float *acc[32];
    uint32_t n, group;
    std::vector<float> value; // [32, n / 2]
};
struct operands {          // what a wgmma under way reads
    const uint32_t *a[32]; // registers of each lane, [4]
    uint32_t a_then[32][4];
    const unsigned char *b;
    uint32_t n, group;
    std::vector<unsigned char> bytes;
};

struct warp {
    uint32_t exists, ready;
    uint32_t n_meetings;
    struct meeting meetings[32];
    // wgmma
    bool fenced;
    uint32_t group, n_products;
    std::vector<struct sums> sums;
    std::vector<struct operands> operands;
};

struct product { // the i-th wgmma of a warpgroup, the same for its four warps
    const void *b;
    uint32_t n;
    int f16, add;
};

struct block {
    unsigned char *dynamic;
    uint32_t n_arrived, n_ended;
    uint32_t epoch, first_epoch; // now, and when the block began
};

struct run { // a launch; a second one where the first waits for the kernel before it
    const struct shim_launch *launch;
    struct shim_place place;
    // Blocks of a cluster; threads of each; warps of each, rounded up to warpgroups in clusters.
    uint32_t n_blocks, n_threads, n_warps;
    uint32_t n_ended, n_grid, n_cluster;
    bool before_done;
    uint64_t ready_warps;
    uint32_t warp_now;
    struct thread *me;
    void *main_sp;
    const void *main_bottom;
    size_t main_size;
    void *main_fake;
    struct block blocks[MAX_CLUSTER];
    struct thread *threads; // [MAX_WARPS * 32]
    struct warp *warps;     // [MAX_WARPS]
    std::vector<struct product> products[MAX_WARPS / 4];
    std::vector<struct barrier> barriers;
    // the race check; a word's number counts static memory first, then each block's dynamic memory
    struct word *words;
    uint16_t *flight; // thread + 1 whose copy_16 is on its way to it; OF_BULK: whose bulk_copy
};

enum { MAX_RUNS = 4, OF_BULK = 0x8000 };
static struct run runs[MAX_RUNS];
static struct run *now; // NULL: no kernel runs
static bool races;      // kernels are instrumented
static bool strict;
static uint64_t random_state;
static uint32_t last_epoch;
static std::vector<struct stack *> &stacks =
    *new std::vector<struct stack *>; // free; never destroyed

extern "C" {
const struct shim_place *shim_here;
struct uint3 shim_block_dim, shim_grid_dim;
unsigned char *shim_dynamic;
extern unsigned char __start_shim_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_shim_shared[] __attribute__((weak, visibility("hidden")));
extern const struct shim_kernel __start_shim_kernels[] __attribute__((weak, visibility("hidden")));
extern const struct shim_kernel __stop_shim_kernels[] __attribute__((weak, visibility("hidden")));
}

static inline uint64_t random_bits(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* The C library's memcpy and so on, whose names belong to the race check here. Through pointers,
 * since a compiler takes a call of
 * __memcpy_chk for one of memcpy. */
#if ASAN
#define raw_copy memcpy
#define raw_fill memset
#else
extern "C" {
__attribute__((visibility("default"))) void *__memcpy_chk(void *, const void *, size_t, size_t);
__attribute__((visibility("default"))) void *__memmove_chk(void *, const void *, size_t, size_t);
__attribute__((visibility("default"))) void *__memset_chk(void *, int, size_t, size_t);
}
static void *(*volatile real_memcpy)(void *, const void *, size_t, size_t) = __memcpy_chk;
static void *(*volatile real_memmove)(void *, const void *, size_t, size_t) = __memmove_chk;
static void *(*volatile real_memset)(void *, int, size_t, size_t) = __memset_chk;
static inline void raw_copy(void *to, const void *from, size_t n) {
    real_memcpy(to, from, n, n);
}
static inline void raw_fill(void *to, int byte, size_t n) {
    real_memset(to, byte, n, n);
}
#endif

/* ---- reports ---- */

static void print_place(const char *what, const void *pc) {
    Dl_info info;
    if (!pc || !dladdr(pc, &info) || !info.dli_fname) {
        fprintf(stderr, "shim:   %s\n", what);
        return;
    }
    unsigned long offset = (unsigned long)((const char *)pc - (const char *)info.dli_fbase) - 1;
    char command[1024], line[512] = "";
    snprintf(command, sizeof command, "addr2line -s -e '%s' 0x%lx 2>/dev/null", info.dli_fname,
             offset);
    FILE *f = popen(command, "r");
    if (f) {
        if (!fgets(line, sizeof line, f))
            line[0] = 0;
        pclose(f);
    }
    line[strcspn(line, "\n")] = 0;
    if (line[0] && line[0] != '?')
        fprintf(stderr, "shim:   %s at %s\n", what, line);
    else
        fprintf(stderr, "shim:   %s at %s+0x%lx\n", what, info.dli_fname, offset);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    fflush(stdout);
    fprintf(stderr, "shim: ");
    if (now)
        fprintf(stderr, "kernel %s, block (%u, %u, %u): ", now->launch->name, now->place.block.x,
                now->place.block.y, now->place.block.z);
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

__attribute__((noreturn)) static void die(void) {
    fflush(stderr);
    abort();
}

__attribute__((noreturn)) static void deadlock(void) {
    struct run *r = now;
    say("deadlock: %u of %u threads have ended, and the others wait for each other", r->n_ended,
        r->n_blocks * r->n_threads);
    const char *said[16];
    unsigned n_said = 0;
    uint32_t all = r->n_blocks * r->n_warps * 32;
    for (uint32_t i = 0; i < all; i++) {
        if (!(r->warps[i / 32].exists >> i % 32 & 1))
            continue;
        const char *at = r->threads[i].ended ? "its end" : r->threads[i].at;
        bool again = false;
        for (unsigned k = 0; k < n_said; k++)
            again |= said[k] == at;
        if (again || n_said == 16)
            continue;
        said[n_said++] = at;
        uint32_t n = 0;
        for (uint32_t k = 0; k < all; k++)
            n += (r->warps[k / 32].exists >> k % 32 & 1) &&
                 (r->threads[k].ended ? "its end" : r->threads[k].at) == at;
        char text[128];
        snprintf(text, sizeof text, "thread %u and %u more: %s", i, n - 1, at);
        if (r->threads[i].ended)
            fprintf(stderr, "shim:   %s\n", text);
        else
            print_place(text, r->threads[i].pc);
    }
    die();
}

/* ---- which thread runs ---- */

static inline uint32_t block_of(const struct run *r, const struct thread *t) {
    return r->n_blocks == 1 ? 0 : t->warp / r->n_warps;
}

static struct stack *take_stack(void) {
    static unsigned made;
    if (stacks.empty()) {
        struct stack *s = (struct stack *)malloc(sizeof *s);
        s->base = (char *)mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (s->base == (char *)MAP_FAILED) {
            say("no memory for the stack of a thread");
            die();
        }
        mprotect(s->base, 4096, PROT_NONE);
        s->top = s->base + STACK - made++ % 32 * 320; // not all in one set of the cache
        stacks.push_back(s);
    }
    struct stack *s = stacks.back();
    stacks.pop_back();
    return s;
}

static inline unsigned some_bit(uint32_t mask,
                                unsigned from) { // the first set bit from `from` on, cyclically
    from &= 31;
    uint32_t turned = mask >> from | mask << (-from & 31);
    return (__builtin_ctz(turned) + from) & 31;
}

static inline unsigned some_bit_of_64(uint64_t mask, unsigned from) {
    from &= 63;
    uint64_t turned = mask >> from | mask << (-from & 63);
    return ((unsigned)__builtin_ctzll(turned) + from) & 63;
}

static inline struct thread *pick(struct run *r) {
    uint64_t bits = random_bits();
    if (!r->warps[r->warp_now].ready || !(bits >> 40 & 63)) {
        if (!r->ready_warps)
            return NULL;
        r->warp_now = some_bit_of_64(r->ready_warps, (unsigned)(bits >> 32));
    }
    struct warp *w = &r->warps[r->warp_now];
    unsigned lane = some_bit(w->ready, (unsigned)(bits >> 24));
    w->ready &= ~(1u << lane);
    if (!w->ready)
        r->ready_warps &= ~((uint64_t)1 << r->warp_now);
    return &r->threads[r->warp_now * 32 + lane];
}

static inline void set_me(struct run *r, struct thread *t) {
    r->me = t;
    shim_here = &t->place;
    shim_dynamic = r->blocks[block_of(r, t)].dynamic;
}

static inline void before_switch(void **fake, const void *bottom, size_t size) {
#if ASAN
    __sanitizer_start_switch_fiber(fake, bottom, size);
#else
    (void)fake, (void)bottom, (void)size;
#endif
}
static inline void after_switch(void *fake, const void **bottom, size_t *size) {
#if ASAN
    __sanitizer_finish_switch_fiber(fake, bottom, size);
#else
    (void)fake, (void)bottom, (void)size;
#endif
}

#if defined(__clang__)
__attribute__((no_sanitize("function"))) // a kernel's parameter is a reference to its own struct
#endif
static void
call_kernel(const struct shim_launch *l) {
    l->kernel(l->args);
}

static void fiber_main(void);

static void begin_on_own_stack(struct thread *t) {
    t->started = true;
    t->stack = take_stack();
    t->sp = first_frame(t->stack->top, fiber_main);
}

static void fiber_main(void) {
    struct run *r = now;
    const void *bottom = NULL;
    size_t size = 0;
    after_switch(NULL, &bottom, &size);
    if (!r->main_bottom) {
        r->main_bottom = bottom;
        r->main_size = size;
    }
    for (;;) {
        struct thread *t = r->me;
        call_kernel(r->launch);
        t->ended = true;
        r->n_ended++;
        r->blocks[block_of(r, t)].n_ended++;
        struct thread *next = pick(r);
        if (!next && r->n_ended < r->n_blocks * r->n_threads)
            deadlock();
        if (next && !next->started) { // the stack goes on to it
            next->started = true;
            next->stack = t->stack;
            set_me(r, next);
            continue;
        }
        stacks.push_back(t->stack);
        if (next) {
            set_me(r, next);
            before_switch(NULL, next->stack->base, STACK);
            shim_switch(&t->sp, next->sp);
        } else {
            before_switch(NULL, r->main_bottom, r->main_size);
            shim_switch(&t->sp, r->main_sp);
        }
    }
}

/* The thread that runs has said what it waits for, unless it is ready; others run until it is ready
 * and picked. */
static inline void sleep_here(struct run *r) {
    struct thread *t = r->me, *next = pick(r);
    if (next == t)
        return;
    if (!next)
        deadlock();
    if (!next->started)
        begin_on_own_stack(next);
    set_me(r, next);
    before_switch(&t->fake, next->stack->base, STACK);
    shim_switch(&t->sp, next->sp);
    after_switch(t->fake, NULL, NULL);
}

/* ---- the race check ---- */

enum { BLOCK_WORDS = (MAX_SHARED + GUARD) / 4 };

static inline uint32_t static_words(void) {
    return (uint32_t)((__stop_shim_shared - __start_shim_shared + 3) / 4);
}

static void *pc_of(const struct entry *e) {
    return (void *)((intptr_t)shim_run + e->pc);
}

static void describe(char *text, size_t size, uint32_t word) {
    uint32_t n = static_words();
    if (word < n)
        snprintf(text, size, "static shared memory, byte %u", word * 4);
    else
        snprintf(text, size, "dynamic shared memory, byte %u", (word - n) % BLOCK_WORDS * 4);
}

__attribute__((noreturn, noinline)) static void report_race(uint32_t word, const struct entry *e,
                                                            bool wrote, bool writes, void *pc) {
    char where[64], text[64];
    describe(where, sizeof where, word);
    say("race: %s: thread %u %s it, and thread %u %s it, without a barrier between", where,
        e->thread, wrote ? "wrote" : "read", now->me->number, writes ? "writes" : "reads");
    snprintf(text, sizeof text, "thread %u", e->thread);
    print_place(text, pc_of(e));
    snprintf(text, sizeof text, "thread %u", now->me->number);
    print_place(text, pc);
    die();
}

__attribute__((noreturn, noinline)) static void report_flight(uint32_t word, uint32_t thread,
                                                              bool writes, void *pc) {
    char where[64], text[64];
    describe(where, sizeof where, word);
    bool bulk = thread & OF_BULK;
    say("%s: thread %u %s it while a %s of thread %u is under way: %s is missing", where,
        now->me->number, writes ? "writes" : "reads", bulk ? "bulk_copy" : "copy_16",
        (thread & ~(uint32_t)OF_BULK) - 1, bulk ? "barrier_wait" : "copy_wait");
    snprintf(text, sizeof text, "thread %u", now->me->number);
    print_place(text, pc);
    die();
}

/* The block that has a word. */
static inline const struct block *owner_of(const struct run *r, uint32_t word) {
    return r->n_blocks == 1 ? r->blocks : &r->blocks[(word - static_words()) / BLOCK_WORDS];
}

/* Whether e, of this epoch of the memory's block, is not before what thread t does now. */
static inline bool unordered(const struct block *b, const struct entry *e, const struct thread *t) {
    if (e->epoch != b->epoch || e->thread == t->number)
        return false;
    if (e->thread / 32 != t->warp)
        return e->thread >= t->far.size() || t->far[e->thread] < e->clock;
    return t->seen[e->thread % 32] < e->clock;
}

static inline void touch_word(struct run *r, uint32_t index, uint32_t bytes, bool writes,
                              void *pc) {
    struct thread *t = r->me;
    struct word *w = &r->words[index];
    const struct block *b = owner_of(r, index);
    if (__builtin_expect(r->flight[index] != 0, 0))
        report_flight(index, r->flight[index], writes, pc);
    for (int i = 0; i < 2; i++)
        if ((w->writer[i].bytes & bytes) && unordered(b, &w->writer[i], t))
            report_race(index, &w->writer[i], true, writes, pc);
    struct entry e = {b->epoch, t->clock, (int32_t)((intptr_t)pc - (intptr_t)shim_run),
                      (uint16_t)t->number, (uint16_t)bytes};
    struct entry *to = writes ? w->writer : w->reader;
    if (writes) {
        for (int i = 0; i < 2; i++)
            if ((w->reader[i].bytes & bytes) && unordered(b, &w->reader[i], t))
                report_race(index, &w->reader[i], false, true, pc);
        for (int i = 0; i < 2; i++)
            if (!((to[i].bytes &= (uint16_t)~bytes) & 15))
                to[i].bytes = 0;
        if (to[0].bytes && to[1].bytes) // three threads in one word: forget one
            to[0] = to[1], to[1] = e;
        else
            to[to[0].bytes != 0] = e;
        return;
    }
    // Two readers are remembered, of two warps where there are two.
    for (int i = 0; i < 2; i++)
        if (to[i].thread == e.thread || !unordered(b, &to[i], t)) {
            if (to[i].thread == e.thread && to[i].epoch == e.epoch)
                e.bytes |= to[i].bytes;
            to[i] = e;
            return;
        }
    if (to[0].thread / 32 == to[1].thread / 32 || e.bytes > to[1].bytes)
        to[1] = e;
}

/* Where p is in shared memory: its number of word, else UINT32_MAX. */
static inline uint32_t word_of(const struct run *r, const void *p) {
    uintptr_t at = (uintptr_t)p - (uintptr_t)__start_shim_shared;
    if (at < (uintptr_t)(__stop_shim_shared - __start_shim_shared))
        return (uint32_t)(at / 4);
    for (uint32_t i = 0; i < r->n_blocks; i++) {
        at = (uintptr_t)p - (uintptr_t)r->blocks[i].dynamic;
        if (at < MAX_SHARED + GUARD)
            return static_words() + i * BLOCK_WORDS + (uint32_t)(at / 4);
    }
    return UINT32_MAX;
}

__attribute__((noinline)) static void touch_shared(struct run *r, uintptr_t p, size_t size,
                                                   bool writes, void *pc) {
    uintptr_t at = p - (uintptr_t)r->blocks[block_of(r, r->me)].dynamic;
    if (at < MAX_SHARED + GUARD && at + size > r->launch->dynamic) {
        say("thread %u %s byte %zu of dynamic shared memory, and the launch has %u", r->me->number,
            writes ? "writes" : "reads", (size_t)at, r->launch->dynamic);
        print_place("there", pc);
        die();
    }
    uint32_t index = word_of(r, (const void *)p);
    for (size_t done = 0; done < size; index++) {
        uint32_t from = (uint32_t)((p + done) & 3), n = 4 - from;
        if (n > size - done)
            n = (uint32_t)(size - done);
        touch_word(r, index, ((1u << n) - 1) << from, writes, pc);
        done += n;
    }
}

__attribute__((unused)) static inline void touch(const void *p, size_t size, bool writes,
                                                 void *pc) {
    struct run *r = now;
    if (!r)
        return;
    if ((uintptr_t)p - (uintptr_t)__start_shim_shared <
            (uintptr_t)(__stop_shim_shared - __start_shim_shared) ||
        (uintptr_t)p - (uintptr_t)r->blocks[block_of(r, r->me)].dynamic < MAX_SHARED + GUARD)
        touch_shared(r, (uintptr_t)p, size, writes, pc);
}

#if !ASAN
__attribute__((noinline)) static void report_alignment(const void *p, size_t size, void *pc) {
    say("thread %u: %zu bytes at %p, which is not a multiple of it", now->me->number, size, p);
    print_place("there", pc);
    die();
}

static inline void touch_aligned(const void *p, size_t size, bool writes, void *pc) {
    if (__builtin_expect(((uintptr_t)p & (size - 1)) != 0, 0) && now)
        report_alignment(p, size, pc);
    touch(p, size, writes, pc);
}

#define RETURN_ADDRESS __builtin_return_address(0)
#define HOOK           __attribute__((visibility("hidden"))) void
extern "C" {
HOOK __tsan_init(void);
HOOK __tsan_func_entry(void *);
HOOK __tsan_func_exit(void);
HOOK __tsan_vptr_update(void **, void *);
HOOK __tsan_vptr_read(void **);
HOOK __tsan_read_range(void *, size_t);
HOOK __tsan_write_range(void *, size_t);
HOOK __tsan_init(void) {
    races = true;
}
HOOK __tsan_func_entry(void *) {
}
HOOK __tsan_func_exit(void) {
}
HOOK __tsan_vptr_update(void **, void *) {
}
HOOK __tsan_vptr_read(void **) {
}
HOOK __tsan_read_range(void *p, size_t n) {
    touch(p, n, false, RETURN_ADDRESS);
}
HOOK __tsan_write_range(void *p, size_t n) {
    touch(p, n, true, RETURN_ADDRESS);
}
#define HOOKS(n)                                                                                   \
    HOOK __tsan_read##n(void *);                                                                   \
    HOOK __tsan_write##n(void *);                                                                  \
    HOOK __tsan_read_write##n(void *);                                                             \
    HOOK __tsan_unaligned_read##n(void *);                                                         \
    HOOK __tsan_unaligned_write##n(void *);                                                        \
    HOOK __tsan_unaligned_read_write##n(void *);                                                   \
    HOOK __tsan_read##n(void *p) {                                                                 \
        touch_aligned(p, n, false, RETURN_ADDRESS);                                                \
    }                                                                                              \
    HOOK __tsan_write##n(void *p) {                                                                \
        touch_aligned(p, n, true, RETURN_ADDRESS);                                                 \
    }                                                                                              \
    HOOK __tsan_read_write##n(void *p) {                                                           \
        touch_aligned(p, n, false, RETURN_ADDRESS);                                                \
        touch(p, n, true, RETURN_ADDRESS);                                                         \
    }                                                                                              \
    HOOK __tsan_unaligned_read##n(void *p) {                                                       \
        touch(p, n, false, RETURN_ADDRESS);                                                        \
    }                                                                                              \
    HOOK __tsan_unaligned_write##n(void *p) {                                                      \
        touch(p, n, true, RETURN_ADDRESS);                                                         \
    }                                                                                              \
    HOOK __tsan_unaligned_read_write##n(void *p) {                                                 \
        touch(p, n, false, RETURN_ADDRESS);                                                        \
        touch(p, n, true, RETURN_ADDRESS);                                                         \
    }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

/* clang 14 turns a copied struct into a plain memcpy, and expects a runtime that has taken its
 * place. Only this library's own calls end here. */
#define OWN __attribute__((visibility("hidden"))) void *
OWN shim_memcpy(void *to, const void *from, size_t n) __asm__("memcpy");
OWN shim_memmove(void *to, const void *from, size_t n) __asm__("memmove");
OWN shim_memset(void *to, int byte, size_t n) __asm__("memset");
OWN shim_tsan_memcpy(void *to, const void *from, size_t n) __asm__("__tsan_memcpy");
OWN shim_tsan_memmove(void *to, const void *from, size_t n) __asm__("__tsan_memmove");
OWN shim_tsan_memset(void *to, int byte, size_t n) __asm__("__tsan_memset");
#define MOVE(name, real)                                                                           \
    OWN name(void *to, const void *from, size_t n) {                                               \
        if (races && now) {                                                                        \
            touch(from, n, false, RETURN_ADDRESS);                                                 \
            touch(to, n, true, RETURN_ADDRESS);                                                    \
        }                                                                                          \
        return real(to, from, n, n);                                                               \
    }
#define SET(name)                                                                                  \
    OWN name(void *to, int byte, size_t n) {                                                       \
        if (races && now)                                                                          \
            touch(to, n, true, RETURN_ADDRESS);                                                    \
        return real_memset(to, byte, n, n);                                                        \
    }
MOVE(shim_memcpy, real_memcpy)
MOVE(shim_memmove, real_memmove)
MOVE(shim_tsan_memcpy, real_memcpy)
MOVE(shim_tsan_memmove, real_memmove)
SET(shim_memset)
SET(shim_tsan_memset)
}
#endif

/* Of the block of the thread that runs. */
static bool is_shared(const struct run *r, const void *p, size_t size) {
    const unsigned char *dynamic = r->blocks[block_of(r, r->me)].dynamic;
    return (p >= (void *)__start_shim_shared &&
            (const unsigned char *)p + size <= __stop_shim_shared) ||
           (p >= (const void *)dynamic &&
            (const unsigned char *)p + size <= dynamic + r->launch->dynamic);
}

__attribute__((noreturn, noinline)) static void refuse(const char *what, void *pc) {
    say("thread %u: %s", now->me->number, what);
    print_place("there", pc);
    die();
}

void shim_check_global(const void *p, size_t align) {
    if (__builtin_expect(((uintptr_t)p & (align - 1)) != 0, 0))
        refuse("load_once or __ldg from an address that is not aligned",
               __builtin_return_address(0));
    if (now && is_shared(now, p, 1))
        refuse("load_once or __ldg from shared memory", __builtin_return_address(0));
}

/* ---- barriers ---- */

static void wake_warps(struct run *r, uint32_t first, uint32_t n) {
    for (uint32_t i = first; i < first + n; i++)
        if ((r->warps[i].ready = r->warps[i].exists))
            r->ready_warps |= (uint64_t)1 << i;
}

/* All threads of the run are here: what they did is before what they do. */
static void wake_all(struct run *r) {
    for (uint32_t i = 0; i < r->n_blocks; i++)
        r->blocks[i].epoch = ++last_epoch;
    wake_warps(r, 0, r->n_blocks * r->n_warps);
}

void shim_sync_threads(void) {
    struct run *r = now;
    struct thread *t = r->me;
    uint32_t i = block_of(r, t);
    t->at = "__syncthreads";
    t->pc = __builtin_return_address(0);
    if (++r->blocks[i].n_arrived == r->n_threads) {
        r->blocks[i].n_arrived = 0;
        r->blocks[i].epoch = ++last_epoch;
        wake_warps(r, i * r->n_warps, r->n_warps);
    }
    sleep_here(r);
}

void shim_cluster_sync(void) {
    struct run *r = now;
    struct thread *t = r->me;
    t->at = "cluster_sync";
    t->pc = __builtin_return_address(0);
    if (++r->n_cluster == r->n_blocks * r->n_threads) {
        r->n_cluster = 0;
        wake_all(r);
    }
    sleep_here(r);
}

uint32_t shim_cluster_rank(void) {
    return block_of(now, now->me);
}

static void later(std::vector<uint32_t> &clocks, const std::vector<uint32_t> &others) {
    if (clocks.size() < others.size())
        clocks.resize(others.size());
    for (size_t i = 0; i < others.size(); i++)
        clocks[i] = clocks[i] > others[i] ? clocks[i] : others[i];
}

/* The same for what the lanes know of other warps by mbarriers. */
static void join_far(struct thread *lanes, uint32_t mask) {
    bool changed = false;
    for (uint32_t m = mask; m; m &= m - 1) {
        struct thread *t = &lanes[__builtin_ctz(m)];
        changed |= t->far_changed;
        t->far_changed = false;
    }
    if (!changed)
        return;
    std::vector<uint32_t> joined;
    for (uint32_t m = mask; m; m &= m - 1)
        later(joined, lanes[__builtin_ctz(m)].far);
    for (uint32_t m = mask; m; m &= m - 1)
        lanes[__builtin_ctz(m)].far = joined;
}

/* What lanes did before is before what they do from now on. */
static void join_clocks(struct run *r, uint32_t warp, uint32_t mask) {
    uint32_t joined[32] = {0};
    struct thread *lanes = r->threads + warp * 32;
    for (uint32_t m = mask; m; m &= m - 1) {
        struct thread *t = &lanes[__builtin_ctz(m)];
        t->seen[t->lane] = t->clock++;
        for (int i = 0; i < 32; i++)
            joined[i] = joined[i] > t->seen[i] ? joined[i] : t->seen[i];
    }
    for (uint32_t m = mask; m; m &= m - 1)
        memcpy(lanes[__builtin_ctz(m)].seen, joined, sizeof joined);
    join_far(lanes, mask);
}

/* The lanes of mask meet. The last one to arrive does the work of all, then any may run on. */
template <typename work>
static inline void meet(enum kind kind, uint32_t mask, void *pc, work do_work) {
    struct run *r = now;
    struct thread *t = r->me;
    struct warp *w = &r->warps[t->warp];
    mask &= w->exists;
    t->at = kind_name[kind];
    t->pc = pc;
    if (!(mask >> t->lane & 1))
        refuse("its own lane is not in the mask", pc);
    uint32_t i = 0;
    while (i < w->n_meetings && (w->meetings[i].mask != mask || w->meetings[i].kind != kind))
        i++;
    if (i == w->n_meetings)
        w->meetings[w->n_meetings++] = {mask, 0, kind};
    struct meeting *m = &w->meetings[i];
    m->arrived |= 1u << t->lane;
    if (m->arrived == mask) {
        *m = w->meetings[--w->n_meetings];
        if (races && (kind == SYNC_WARP || !strict))
            join_clocks(r, t->warp, mask);
        do_work(r, w, r->threads + t->warp * 32, mask);
        w->ready |= mask;
        r->ready_warps |= (uint64_t)1 << t->warp;
    }
    sleep_here(r);
}

void shim_sync_warp(uint32_t mask) {
    meet(SYNC_WARP, mask, __builtin_return_address(0),
         [](struct run *, struct warp *, struct thread *, uint32_t) {});
}

uint32_t shim_shuffle(uint32_t mask, uint32_t value, uint32_t lane, uint32_t width,
                      enum shim_shuffle which) {
    struct thread *t = now->me;
    void *pc = __builtin_return_address(0);
    if (width < 1 || width > 32 || (width & (width - 1)))
        refuse("the width of a shuffle is not a power of two", pc);
    uint32_t first = t->lane & ~(width - 1), from = t->lane;
    if (which == SHIM_XOR && (t->lane ^ lane) < first + width)
        from = t->lane ^ lane;
    else if (which == SHIM_INDEX)
        from = first + (lane & (width - 1));
    else if (which == SHIM_DOWN && t->lane + lane < first + width)
        from = t->lane + lane;
    else if (which == SHIM_UP && t->lane >= first + lane)
        from = t->lane - lane;
    t->in[0] = value;
    t->in[1] = from;
    meet((enum kind)(SHUFFLE_XOR + which), mask, pc,
         [](struct run *, struct warp *, struct thread *lanes, uint32_t all) {
             for (uint32_t m = all; m; m &= m - 1) {
                 struct thread *l = &lanes[__builtin_ctz(m)];
                 l->result = all >> l->in[1] & 1 ? lanes[l->in[1]].in[0] : POISON;
             }
         });
    return t->result;
}

uint32_t shim_ballot(uint32_t mask, int predicate) {
    struct thread *t = now->me;
    t->in[0] = predicate != 0;
    meet(BALLOT, mask, __builtin_return_address(0),
         [](struct run *, struct warp *, struct thread *lanes, uint32_t all) {
             uint32_t votes = 0;
             for (uint32_t m = all; m; m &= m - 1)
                 votes |= lanes[__builtin_ctz(m)].in[0] << __builtin_ctz(m);
             for (uint32_t m = all; m; m &= m - 1)
                 lanes[__builtin_ctz(m)].result = votes;
         });
    return t->result;
}

/* ---- the tensor core ---- */

/* A sum of MMA_TERMS products and an accumulator: each term is cut, toward zero, MMA_FRACTION
 * binary places below the largest exponent of all; the rest is exact; the result is cut to f32,
 * toward zero. (MMA-Sim, arXiv 2511.10909: Hopper.) */
enum { MMA_TERMS = 16, MMA_FRACTION = 25 };
static_assert(MMA_FRACTION <= 25, "16 products of less than 4 fit 32 bits");

typedef double four_doubles __attribute__((vector_size(32)));
typedef int64_t four_longs __attribute__((vector_size(32)));
typedef int32_t four_ints __attribute__((vector_size(16)));
typedef uint32_t four_words __attribute__((vector_size(16)));
typedef float four_floats __attribute__((vector_size(16)));
typedef uint32_t eight_words __attribute__((vector_size(32)));
typedef float eight_floats __attribute__((vector_size(32)));
typedef double eight_doubles __attribute__((vector_size(64)));
typedef uint16_t eight_halves __attribute__((vector_size(16)));
typedef int16_t eight_shorts __attribute__((vector_size(16)));

enum { ZERO_EXPONENT = -8000, NO_TERM = -4000 };

struct tile {
    uint16_t a[16][MMA_TERMS], b[MMA_TERMS][8];
};
struct terms { // of a tile: exact, with exponents; those of subnormals are the smallest there are
    double a[16][MMA_TERMS], b[MMA_TERMS][8];
    int16_t a_exponent[16][MMA_TERMS], b_exponent[MMA_TERMS][8];
};

template <bool F16> static inline double exact(uint16_t h) {
    return (double)(F16 ? f32_of_f16(h) : __uint_as_float((uint32_t)h << 16));
}

/* n elements, a multiple of 8. Returns whether any is Inf or NaN; of f16, these have other values
 * then. */
template <bool F16>
__attribute__((always_inline)) static inline bool decode(const uint16_t *from, int n, double *v,
                                                         int16_t *exponent) {
    eight_shorts special = {};
    for (int i = 0; i < n; i += 8) {
        eight_halves h;
        memcpy(&h, from + i, sizeof h);
        eight_words w = __builtin_convertvector(h, eight_words);
        eight_floats f;
        if (F16) {
            f = (eight_floats)((w & 0x7fff) << 13) * 0x1p112f;
            f = (eight_floats)((eight_words)f | (w & 0x8000) << 16);
        } else {
            f = (eight_floats)(w << 16);
        }
        eight_doubles d = __builtin_convertvector(f, eight_doubles);
        memcpy(v + i, &d, sizeof d);
        eight_shorts x = (eight_shorts)(h & 0x7fff), e = x >> (F16 ? 10 : 7);
        special |= e == (int16_t)(F16 ? 31 : 255);
        e = (e == 0 ? e + (int16_t)1 : e) - (int16_t)(F16 ? 15 : 127);
        e = x == 0 ? e * (int16_t)0 + (int16_t)ZERO_EXPONENT : e;
        memcpy(exponent + i, &e, sizeof e);
    }
    uint64_t any[2];
    memcpy(any, &special, sizeof any);
    return any[0] | any[1];
}

static inline float cut_to_f32(double d) {
    double mag = fabs(d);
    if (mag >= 0x1p128)
        return d < 0 ? -INFINITY : INFINITY;
    if (mag < 0x1p-126)
        return (float)(trunc(d * 0x1p149) * 0x1p-149);
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    bits &= ~(uint64_t)0x1fffffff;
    memcpy(&d, &bits, sizeof d);
    return (float)d;
}

/* c += the sum; returns false where it is Inf or NaN. */
template <bool F16> static bool special_sum(const struct tile *t, int i, int j, float *c) {
    double sum = (double)*c;
    for (int k = 0; k < MMA_TERMS; k++)
        sum += exact<F16>(t->a[i][k]) * exact<F16>(t->b[k][j]);
    if (fabs(sum) <= 0x1p1000)
        return true;
    *c = sum != sum ? __uint_as_float(0x7fffffff) : (float)sum;
    return false;
}

/* Four of a row's sums: exponents are the largest of their terms. */
__attribute__((always_inline)) static inline four_floats
four_sums(const double *a, const double (*b)[8], const int16_t *exponent, four_floats c) {
    typedef int16_t four_shorts __attribute__((vector_size(8)));
    four_shorts largest;
    memcpy(&largest, exponent, sizeof largest);
    four_longs e = __builtin_convertvector(largest, four_longs);
    e = e > (int64_t)NO_TERM ? e : e * 0;
    four_doubles scale = (four_doubles)(((MMA_FRACTION + 1023) - e) << 52),
                 back = (four_doubles)((e + (1023 - MMA_FRACTION)) << 52);
    four_words sum =
        {}; // of 32 bits with sign; where Inf or NaN comes in, special_sum has the result
    for (int k = 0; k < MMA_TERMS; k++) {
        four_doubles v;
        memcpy(&v, b[k], sizeof v);
        sum += (four_words) __builtin_convertvector(a[k] * v * scale, four_ints);
    }
    four_ints accumulator =
        __builtin_convertvector(__builtin_convertvector(c, four_doubles) * scale, four_ints);
    four_doubles total = __builtin_convertvector((four_ints)sum, four_doubles) +
                         __builtin_convertvector(accumulator, four_doubles);
    total *= back;
    four_doubles mag = (four_doubles)((four_longs)total & INT64_MAX);
    four_longs rare = ((mag < 0x1p-126) & (mag > 0)) | (mag >= 0x1p128);
    if (rare[0] | rare[1] | rare[2] | rare[3])
        return four_floats{cut_to_f32(total[0]), cut_to_f32(total[1]), cut_to_f32(total[2]),
                           cut_to_f32(total[3])};
    return __builtin_convertvector((four_doubles)((four_longs)total & ~(int64_t)0x1fffffff),
                                   four_floats);
}

template <bool F16>
__attribute__((always_inline)) static inline void tile_product_body(const struct tile *t,
                                                                    float c[16][8]) {
    struct terms x;
    bool special = decode<F16>(t->a[0], 16 * MMA_TERMS, x.a[0], x.a_exponent[0]);
    special |= decode<F16>(t->b[0], MMA_TERMS * 8, x.b[0], x.b_exponent[0]);
    for (int i = 0; i < 16; i++) {
        int16_t exponents[8];
        bool special_row = special;
        for (int j = 0; j < 8; j++) {
            uint32_t u = __float_as_uint(c[i][j]) & 0x7fffffff, e = u >> 23;
            exponents[j] = (int16_t)(u ? (int)(e ? e : 1) - 127 : (int)ZERO_EXPONENT);
            special_row |= e == 255;
        }
        eight_shorts largest;
        memcpy(&largest, exponents, sizeof largest);
        for (int k = 0; k < MMA_TERMS; k++) {
            eight_shorts e;
            memcpy(&e, x.b_exponent[k], sizeof e);
            e += x.a_exponent[i][k];
            largest = e > largest ? e : largest;
        }
        memcpy(exponents, &largest, sizeof largest);
        four_floats result[2];
        for (int half = 0; half < 2; half++) {
            four_floats accumulator;
            memcpy(&accumulator, c[i] + 4 * half, sizeof accumulator);
            result[half] = four_sums(x.a[i], (const double(*)[8])(x.b[0] + 4 * half),
                                     exponents + 4 * half, accumulator);
        }
        float out[8];
        memcpy(out, result, sizeof out);
        for (int j = 0; j < 8; j++)
            if (!special_row || special_sum<F16>(t, i, j, &c[i][j]))
                c[i][j] = out[j];
    }
}

template <bool F16> static void tile_product_any(const struct tile *t, float c[16][8]) {
    tile_product_body<F16>(t, c);
}
#if defined(__x86_64__)
template <bool F16>
__attribute__((target("avx2"))) static void tile_product_avx2(const struct tile *t,
                                                              float c[16][8]) {
    tile_product_body<F16>(t, c);
}
#endif
static void tile_product(int f16, const struct tile *t, float c[16][8]) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return f16 ? tile_product_avx2<true>(t, c) : tile_product_avx2<false>(t, c);
#endif
    return f16 ? tile_product_any<true>(t, c) : tile_product_any<false>(t, c);
}

static inline void set_a_of_lane(struct tile *t, int lane, const uint32_t words[4]) {
    for (int i = 0; i < 4; i++)
        memcpy(&t->a[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8], &words[i], 4);
}

void shim_mma(int f16, float *d, const uint32_t a[4], const uint32_t b[2]) {
    struct thread *t = now->me;
    void *pc = __builtin_return_address(0);
    if (now->warps[t->warp].exists != 0xffffffff)
        refuse("mma in a warp of fewer than 32 threads", pc);
    t->d = d;
    for (int i = 0; i < 4; i++)
        t->in[i] = a[i];
    t->in[4] = b[0], t->in[5] = b[1];
    meet(f16 ? MMA_F16 : MMA_BF16, 0xffffffff, pc,
         [=](struct run *, struct warp *, struct thread *lanes, uint32_t) {
             struct tile tile;
             float c[16][8];
             for (int l = 0; l < 32; l++) {
                 const struct thread *o = &lanes[l];
                 int g = l / 4, x = l % 4 * 2;
                 set_a_of_lane(&tile, l, o->in);
                 for (int i = 0; i < 4; i++)
                     c[g + i / 2 * 8][x + i % 2] = o->d[i];
                 for (int i = 0; i < 4; i++)
                     tile.b[x + i % 2 + i / 2 * 8][g] = (uint16_t)(o->in[4 + i / 2] >> i % 2 * 16);
             }
             tile_product(f16, &tile, c);
             for (int l = 0; l < 32; l++)
                 for (int i = 0; i < 4; i++)
                     lanes[l].d[i] = c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
         });
}

/* Sums wrap, as those of the GPU do. */
void shim_mma_s8(int32_t *d, const uint32_t a[4], const uint32_t b[2], int half) {
    struct thread *t = now->me;
    void *pc = __builtin_return_address(0);
    if (now->warps[t->warp].exists != 0xffffffff)
        refuse("mma in a warp of fewer than 32 threads", pc);
    t->whole = d;
    for (int i = 0; i < 4; i++)
        t->in[i] = a[i];
    t->in[4] = b[0], t->in[5] = b[1];
    meet(half ? MMA_S8_HALF : MMA_S8, 0xffffffff, pc,
         [=](struct run *, struct warp *, struct thread *lanes, uint32_t) {
             int8_t w[16][32], x[8][32];
             int n = half ? 16 : 32;
             for (int l = 0; l < 32; l++)
                 for (int i = 0; i < (half ? 2 : 4); i++) {
                     memcpy(&w[l / 4 + i % 2 * 8][l % 4 * 4 + i / 2 * 16], &lanes[l].in[i], 4);
                     if (i < (half ? 1 : 2))
                         memcpy(&x[l / 4][l % 4 * 4 + i * 16], &lanes[l].in[4 + i], 4);
                 }
             for (int l = 0; l < 32; l++)
                 for (int i = 0; i < 4; i++) {
                     int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
                     int32_t sum = 0;
                     for (int k = 0; k < n; k++)
                         sum += w[row][k] * x[column][k];
                     lanes[l].whole[i] = (int32_t)((uint32_t)lanes[l].whole[i] + (uint32_t)sum);
                 }
         });
}

/* ---- wgmma: each warp has 16 of the 64 rows ---- */

/* Row r, 16 bytes number c (0 or 1) of a step of k 16, in a tile of 128-byte rows. */
static const unsigned char *swizzled(const unsigned char *p, uint32_t row, uint32_t c) {
    const unsigned char *tile = (const unsigned char *)((uintptr_t)p & ~(uintptr_t)1023);
    uint32_t chunk = (uint32_t)((uintptr_t)p & 127) / 16 + c;
    return tile + row * 128 + (chunk ^ (row & 7)) * 16;
}

/* wgmma sees what a thread has written only after the thread's fence_shared. */
static void check_fence(const struct run *r, uint32_t index, void *pc) {
    for (const struct entry &e : r->words[index].writer)
        if (e.bytes && !(e.bytes & BY_COPY) &&
            e.epoch - owner_of(r, index)->first_epoch < 0x80000000 &&
            e.clock > r->threads[e.thread].fence) {
            char where[64];
            describe(where, sizeof where, index);
            say("%s: thread %u wrote it, and no fence_shared before wgmma reads it", where,
                e.thread);
            print_place("written", pc_of(&e));
            print_place("read", pc);
            die();
        }
}

/* As the tensor core reads them: 32 bytes a row of b. */
static void read_operands(struct run *r, const struct operands *o, unsigned char *to, void *pc) {
    for (uint32_t i = 0; i < o->n; i++)
        for (uint32_t c = 0; c < 2; c++) {
            const unsigned char *from = swizzled(o->b, i, c);
            if (!is_shared(r, from, 16))
                refuse("wgmma reads outside of shared memory", pc);
            uint32_t index = races ? word_of(r, from) : 0;
            for (uint32_t k = 0; races && k < 4; k++) {
                touch_word(r, index + k, 15, false, pc);
                check_fence(r, index + k, pc);
            }
            raw_copy(to + i * 32 + c * 16, from, 16);
        }
}

static uint16_t element(const unsigned char *row, int k) {
    uint16_t h;
    memcpy(&h, row + 2 * k, sizeof h);
    return h;
}

static void poison_accumulators(struct sums *s) {
    for (int l = 0; l < 32; l++)
        for (uint32_t i = 0; i < s->n / 2; i++)
            s->acc[l][i] = __uint_as_float(POISON);
}

static void check_poison(const struct sums *s, void *pc) {
    for (int l = 0; l < 32; l++)
        for (uint32_t i = 0; i < s->n / 2; i++)
            if (__float_as_uint(s->acc[l][i]) != POISON)
                refuse("accumulators of a wgmma were written before its wgmma_wait", pc);
}

static void multiply(struct run *r, struct warp *w, struct thread *lanes, const struct product *p,
                     void *pc) {
    uint32_t n = p->n;
    struct operands o;
    for (int l = 0; l < 32; l++) {
        o.a[l] = lanes[l].a;
        memcpy(o.a_then[l], lanes[l].a, sizeof o.a_then[l]);
    }
    o.b = (const unsigned char *)p->b, o.n = n, o.group = w->group;
    o.bytes.resize(n * 32);
    read_operands(r, &o, o.bytes.data(), pc);
    struct sums *s = NULL;
    for (struct sums &x : w->sums)
        if (x.acc[0] == lanes[0].d)
            s = &x;
    if (s && s->n != n)
        refuse("wgmma of another n on accumulators under way", pc);
    if (s) {
        check_poison(s, pc);
    } else {
        if (!w->fenced)
            refuse("wgmma without wgmma_fence before it", pc);
        w->sums.emplace_back();
        s = &w->sums.back();
        s->n = n;
        s->value.resize(16 * n);
        for (int l = 0; l < 32; l++) {
            s->acc[l] = lanes[l].d;
            memcpy(&s->value[(size_t)l * n / 2], s->acc[l], n / 2 * sizeof(float));
        }
        poison_accumulators(s);
    }
    s->group = w->group;
    if (!p->add)
        s->value.assign(s->value.size(), 0.0f);
    struct tile tile;
    float c[16][8];
    for (int l = 0; l < 32; l++)
        set_a_of_lane(&tile, l, o.a_then[l]);
    for (uint32_t j = 0; j < n / 8; j++) {
        for (int i = 0; i < 8; i++)
            for (int k = 0; k < 16; k++)
                tile.b[k][i] = element(&o.bytes[(j * 8 + (size_t)i) * 32], k);
        for (int l = 0; l < 32; l++)
            for (int i = 0; i < 4; i++)
                c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2] =
                    s->value[(size_t)l * n / 2 + j * 4 + (size_t)i];
        tile_product(p->f16, &tile, c);
        for (int l = 0; l < 32; l++)
            for (int i = 0; i < 4; i++)
                s->value[(size_t)l * n / 2 + j * 4 + (size_t)i] =
                    c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
    }
    w->operands.push_back(static_cast<struct operands &&>(o));
}

void shim_wgmma(uint32_t n, int f16, int add, float *acc, const uint32_t a[4], const void *b) {
    struct thread *t = now->me;
    void *pc = __builtin_return_address(0);
    if (t->warp % now->n_warps / 4 * 128 + 128 > now->n_threads)
        refuse("wgmma in a warpgroup of fewer than 128 threads", pc);
    if (((uintptr_t)b & 1023) >= 128 || ((uintptr_t)b & 31))
        refuse("wgmma: not the place of a step in a tile that begins at a multiple of 1024", pc);
    t->d = acc;
    t->a = a;
    t->b = b;
    meet(WGMMA, 0xffffffff, pc, [=](struct run *r, struct warp *w, struct thread *lanes, uint32_t) {
        for (int l = 1; l < 32; l++)
            if (lanes[l].b != b)
                refuse("the lanes of a wgmma name different tiles", pc);
        std::vector<struct product> *list = &r->products[lanes->warp / 4];
        struct product p = {b, n, f16, add};
        if (w->n_products == list->size())
            list->push_back(p);
        const struct product *first = &(*list)[w->n_products++];
        if (first->b != b || first->n != n || first->f16 != f16 || first->add != add)
            refuse("the four warps of a wgmma name different tiles", pc);
        multiply(r, w, lanes, &p, pc);
    });
}

void shim_wgmma_fence(void) {
    meet(WGMMA_DO, 0xffffffff, __builtin_return_address(0),
         [](struct run *, struct warp *w, struct thread *, uint32_t) { w->fenced = true; });
}

void shim_wgmma_commit(void) {
    meet(WGMMA_DO, 0xffffffff, __builtin_return_address(0),
         [](struct run *, struct warp *w, struct thread *, uint32_t) { w->group++; });
}

void shim_wgmma_wait(uint32_t pending) {
    void *pc = __builtin_return_address(0);
    meet(WGMMA_DO, 0xffffffff, pc, [=](struct run *r, struct warp *w, struct thread *, uint32_t) {
        w->fenced = false;
        if (w->group < pending)
            return;
        uint32_t end = w->group - pending; // groups before it are done
        std::vector<unsigned char> again;
        size_t kept = 0;
        for (struct operands &o : w->operands) {
            if (o.group >= end) {
                if (&w->operands[kept] != &o)
                    w->operands[kept] = o;
                kept++;
                continue;
            }
            for (int l = 0; l < 32; l++)
                if (memcmp(o.a[l], o.a_then[l], sizeof o.a_then[l]))
                    refuse("registers changed between a wgmma that reads them and its wgmma_wait",
                           pc);
            again.resize(o.bytes.size());
            read_operands(r, &o, again.data(), pc);
            if (memcmp(again.data(), o.bytes.data(), again.size()))
                refuse("shared memory changed between a wgmma that reads it and its wgmma_wait",
                       pc);
        }
        w->operands.resize(kept);
        kept = 0;
        for (struct sums &s : w->sums) {
            check_poison(&s, pc);
            if (s.group >= end) {
                if (&w->sums[kept] != &s)
                    w->sums[kept] = s;
                kept++;
                continue;
            }
            for (int l = 0; l < 32; l++)
                memcpy(s.acc[l], &s.value[(size_t)l * s.n / 2], s.n / 2 * sizeof(float));
        }
        w->sums.resize(kept);
    });
}

void shim_fence_shared(void) {
    struct thread *t = now->me;
    t->fence = t->clock++;
}

/* ---- copies, counters, the grid ---- */

void shim_copy_16(void *shared, const void *global, int valid) {
    struct run *r = now;
    struct thread *t = r->me;
    void *pc = __builtin_return_address(0);
    if (((uintptr_t)shared & 15) || (valid && ((uintptr_t)global & 15)))
        refuse("copy_16: an address is not a multiple of 16", pc);
    if (!is_shared(r, shared, 16))
        refuse("copy_16 to what is not shared memory of this launch", pc);
    struct copy c = {(unsigned char *)shared, {0}, t->copy_group, pc};
    if (valid) {
        if (is_shared(r, global, 1))
            refuse("copy_16 from shared memory", pc);
        memcpy(c.bytes, global, 16);
    }
    if (races) {
        uint32_t index = word_of(r, shared);
        for (uint32_t i = 0; i < 4; i++) {
            touch_word(r, index + i, 15, true, pc);
            r->flight[index + i] = (uint16_t)(t->number + 1);
        }
    }
    raw_fill(shared, 0xff, 16);
    t->copies.push_back(c);
}

void shim_copy_commit(void) {
    now->me->copy_group++;
}

void shim_copy_wait(uint32_t pending) {
    struct run *r = now;
    struct thread *t = r->me;
    void *pc = __builtin_return_address(0);
    size_t kept = 0;
    for (const struct copy &c : t->copies) {
        if (c.group + pending >= t->copy_group) {
            t->copies[kept++] = c;
            continue;
        }
        raw_copy(c.to, c.bytes, 16);
        if (races) {
            uint32_t index = word_of(r, c.to);
            for (uint32_t i = 0; i < 4; i++) {
                r->flight[index + i] = 0;
                touch_word(r, index + i, 15, true, pc);
            }
        }
    }
    t->copies.resize(kept);
}

/* ---- mbarriers and bulk copies ---- */

static struct entry entry_of(const struct run *r, uint16_t bytes, void *pc) {
    return {r->blocks[block_of(r, r->me)].epoch, r->me->clock,
            (int32_t)((intptr_t)pc - (intptr_t)shim_run), (uint16_t)r->me->number, bytes};
}

void shim_barrier_init(uint64_t *b, uint32_t arrivals) {
    struct run *r = now;
    void *pc = __builtin_return_address(0);
    if (((uintptr_t)b & 7) || !is_shared(r, b, 8))
        refuse("barrier_init: not 8 bytes of shared memory", pc);
    if (arrivals < 1)
        refuse("barrier_init: no arrivals", pc);
    for (const struct barrier &x : r->barriers)
        if (x.at == b)
            refuse("barrier_init of an mbarrier that is in use", pc);
    if (races)
        for (uint32_t i = 0; i < 2; i++)
            touch_word(r, word_of(r, b) + i, 15, true, pc);
    struct barrier x = {};
    x.at = b;
    x.arrivals = x.left = arrivals;
    x.init = entry_of(r, 15, pc);
    r->barriers.push_back(x);
}

/* The mbarrier at b, which this thread may use. */
static struct barrier *barrier_of(struct run *r, const uint64_t *b, void *pc) {
    for (struct barrier &x : r->barriers) {
        if (x.at != b)
            continue;
        const struct block *owner = &r->blocks[block_of(r, &r->threads[x.init.thread])];
        if (owner->n_ended == r->n_threads)
            refuse("use of an mbarrier of a block that has ended", pc);
        if (races && unordered(owner, &x.init, r->me))
            refuse("use of an mbarrier, without a barrier since its barrier_init", pc);
        return &x;
    }
    refuse("use of an mbarrier without barrier_init", pc);
}

static void wake(struct run *r, uint32_t thread) {
    r->warps[thread / 32].ready |= 1u << thread % 32;
    r->ready_warps |= (uint64_t)1 << thread / 32;
}

static void land(struct run *r, struct barrier *x, const struct bulk *c) {
    raw_copy(c->to, c->bytes.data(), c->bytes.size());
    if (!races)
        return;
    uint32_t index = word_of(r, c->to);
    struct entry e = c->writer;
    e.epoch = owner_of(r, index)->epoch;
    for (size_t i = 0; i < c->bytes.size() / 4; i++) {
        r->flight[index + i] = 0;
        r->words[index + i].writer[0] = e;
        r->words[index + i].writer[1].bytes = 0;
    }
    if (x->arrived.size() <= e.thread)
        x->arrived.resize(e.thread + 1u);
    if (x->arrived[e.thread] < e.clock)
        x->arrived[e.thread] = e.clock;
}

/* Ends the phase if all have arrived. Copies arrive as late as possible: when a thread waits. */
static void settle(struct run *r, struct barrier *x, bool wanted, void *pc) {
    if (x->left > 0 || (x->expected > 0 && !wanted && x->waiting.empty()))
        return;
    if (x->in_flight > x->expected)
        refuse("more bytes are copied than the mbarrier's phase expects", pc);
    if (x->in_flight < x->expected)
        return;
    for (const struct bulk &c : x->copies)
        land(r, x, &c);
    x->copies.clear();
    x->expected = x->in_flight = 0;
    x->phase++;
    x->left = x->arrivals;
    if (races)
        x->done = x->arrived;
    for (uint32_t t : x->waiting)
        wake(r, t);
    x->waiting.clear();
}

static void arrive(uint64_t *b, uint32_t bytes, void *pc) {
    struct run *r = now;
    struct thread *t = r->me;
    struct barrier *x = barrier_of(r, b, pc);
    settle(r, x, true, pc);
    if (x->left == 0)
        refuse("more arrivals at an mbarrier than it was made for", pc);
    x->left--;
    x->expected += bytes;
    if (races) {
        t->seen[t->lane] = t->clock++;
        later(x->arrived, t->far);
        if (x->arrived.size() < t->warp * 32 + 32)
            x->arrived.resize(t->warp * 32 + 32);
        for (uint32_t l = 0; l < 32; l++) {
            uint32_t *c = &x->arrived[t->warp * 32 + l];
            *c = *c > t->seen[l] ? *c : t->seen[l];
        }
    }
    settle(r, x, false, pc);
}
void shim_barrier_arrive(uint64_t *b) {
    arrive(b, 0, __builtin_return_address(0));
}
void shim_barrier_arrive_expect(uint64_t *b, uint32_t bytes) {
    arrive(b, bytes, __builtin_return_address(0));
}

/* The place in block `rank` of the cluster that p is in this one. */
static unsigned char *place_in(struct run *r, const void *p, uint32_t rank, void *pc) {
    if (rank >= r->n_blocks)
        refuse("a block that the cluster does not have", pc);
    unsigned char *mine = r->blocks[block_of(r, r->me)].dynamic;
    if (r->n_blocks > 1 && (p < (const void *)mine || p >= (const void *)(mine + MAX_SHARED)))
        refuse("static shared memory of another block: here kernels have it once", pc);
    return r->blocks[rank].dynamic + ((const unsigned char *)p - mine);
}
void shim_barrier_arrive_at(uint64_t *b, uint32_t rank) {
    void *pc = __builtin_return_address(0);
    arrive((uint64_t *)(void *)place_in(now, b, rank, pc), 0, pc);
}

void shim_barrier_wait(uint64_t *b, uint32_t parity) {
    struct run *r = now;
    struct thread *t = r->me;
    void *pc = __builtin_return_address(0);
    struct barrier *x = barrier_of(r, b, pc);
    if ((x->phase & 1) == (parity & 1)) {
        settle(r, x, true, pc);
        if ((x->phase & 1) == (parity & 1)) {
            t->at = "barrier_wait";
            t->pc = pc;
            x->waiting.push_back(t->number);
            sleep_here(r);
            x = barrier_of(r, b, pc);
        }
    }
    if (!races || x->done.empty())
        return;
    later(t->far, x->done);
    t->far_changed = true;
    for (uint32_t l = 0; l < 32; l++) {
        uint32_t i = t->warp * 32 + l, c = i < x->done.size() ? x->done[i] : 0;
        t->seen[l] = t->seen[l] > c ? t->seen[l] : c;
    }
}

/* To `to`, perhaps in another block, signalling x, which is there too. */
static void copy_bulk(struct run *r, unsigned char *to, const void *global, uint32_t bytes,
                      uint64_t *b, void *pc) {
    struct thread *t = r->me;
    struct barrier *x = barrier_of(r, b, pc);
    if (r->threads[x->init.thread].fence < x->init.clock)
        refuse("bulk_copy: no barriers_ready after the barrier_init", pc);
    struct bulk c = {to, {}, entry_of(r, 15 | BY_COPY, pc)};
    const unsigned char *from = (const unsigned char *)global;
    c.bytes.assign(from, from + bytes);
    for (uint32_t i = 0; races && i < bytes / 4; i++) {
        uint32_t index = word_of(r, to) + i;
        check_fence(r, index, pc);
        touch_word(r, index, 15, true, pc);
        r->flight[index] = (uint16_t)((t->number + 1) | OF_BULK);
    }
    t->clock++;
    raw_fill(to, 0xff, bytes);
    x->in_flight += bytes;
    x->copies.push_back(c);
    settle(r, x, false, pc);
}

static void check_bulk(const struct run *r, const void *shared, const void *global, uint32_t bytes,
                       void *pc) {
    if (((uintptr_t)shared | (uintptr_t)global | bytes) & 15 || !bytes)
        refuse("bulk_copy: an address or the size is not a multiple of 16", pc);
    if (!is_shared(r, shared, bytes))
        refuse("bulk_copy to what is not shared memory of this launch", pc);
    if (is_shared(r, global, 1))
        refuse("bulk_copy from shared memory", pc);
}
void shim_bulk_copy(void *shared, const void *global, uint32_t bytes, uint64_t *b) {
    void *pc = __builtin_return_address(0);
    check_bulk(now, shared, global, bytes, pc);
    copy_bulk(now, (unsigned char *)shared, global, bytes, b, pc);
}
void shim_bulk_copy_each(void *shared, const void *global, uint32_t bytes, uint64_t *b,
                         uint32_t blocks) {
    void *pc = __builtin_return_address(0);
    check_bulk(now, shared, global, bytes, pc);
    for (uint32_t i = 0; i < 16; i++)
        if (blocks >> i & 1)
            copy_bulk(now, place_in(now, shared, i, pc), global, bytes,
                      (uint64_t *)(void *)place_in(now, b, i, pc), pc);
}

uint32_t shim_count_up(uint32_t *counter) {
    if ((uintptr_t)counter & 3)
        refuse("count_up: an address that is not a multiple of 4", __builtin_return_address(0));
    return (*counter)++;
}

/* Where the kernel before this one has not run yet, the block gathers here, and it runs now. Its
 * blocks use the same static shared memory, so this block's is set aside. */
void shim_grid_wait(void) {
    struct run *r = now;
    struct thread *t = r->me;
    t->waited = true;
    if (!r->launch->before || r->before_done)
        return;
    t->at = "grid_wait";
    t->pc = __builtin_return_address(0);
    if (++r->n_grid == r->n_blocks * r->n_threads) {
        r->before_done = true;
        size_t n = (size_t)(__stop_shim_shared - __start_shim_shared);
        std::vector<unsigned char> aside(n);
        raw_copy(aside.data(), __start_shim_shared, n);
        struct uint3 block_dim = shim_block_dim, grid_dim = shim_grid_dim;
        r->launch->before(r->launch->before_arg);
        now = r;
        shim_block_dim = block_dim, shim_grid_dim = grid_dim;
        set_me(r, t);
        raw_copy(__start_shim_shared, aside.data(), n);
        wake_all(r);
    }
    sleep_here(r);
}

/* ---- launches ---- */

const struct shim_kernel *shim_find_kernel(const void *kernel) {
    const struct shim_kernel *found =
        NULL; // two files may have used one section: then the looser bounds hold
    for (const struct shim_kernel *k = __start_shim_kernels; k < __stop_shim_kernels; k++)
        if ((const char *)kernel >= k->begin && (const char *)kernel < k->end &&
            (!found || found->threads < k->threads))
            found = k;
    return found;
}

size_t shim_static_shared(void) {
    return (size_t)(__stop_shim_shared - __start_shim_shared);
}

static void prepare_dynamic(struct block *b, uint32_t bytes) {
#if ASAN
    free(b->dynamic);
    void *p = NULL;
    if (posix_memalign(&p, 1024, bytes ? bytes : 1))
        die();
    b->dynamic = (unsigned char *)p;
#else
    if (!b->dynamic) {
        b->dynamic = (unsigned char *)mmap(NULL, MAX_SHARED + GUARD, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (b->dynamic == (unsigned char *)MAP_FAILED)
            die();
    }
    raw_fill(b->dynamic + bytes, 0xa5, GUARD);
#endif
}

static void prepare(struct run *r, const struct shim_launch *l) {
    const struct shim_kernel *k = shim_find_kernel((const void *)l->kernel);
    r->launch = l;
    if (!r->threads) {
        r->threads = new struct thread[MAX_WARPS * 32]();
        r->warps = new struct warp[MAX_WARPS]();
        for (uint32_t i = 0; i < MAX_WARPS * 32; i++)
            r->threads[i].clock = 1;
    }
    r->n_blocks = k ? k->cluster : 1;
    r->n_threads = l->block.x * l->block.y * l->block.z;
    r->n_warps = (r->n_threads + 31) / 32;
    if (r->n_blocks > 1)
        r->n_warps = (r->n_warps + 3) / 4 * 4;
    r->before_done = false;
    if (r->n_blocks > MAX_CLUSTER || r->n_threads > MAX_BLOCK ||
        r->n_blocks * r->n_warps > MAX_WARPS || l->grid.x % r->n_blocks) {
        say("kernel %s: a cluster of %u blocks of %u threads, in a grid of %u", l->name,
            r->n_blocks, r->n_threads, l->grid.x);
        die();
    }
    for (uint32_t i = 0; i < r->n_blocks; i++)
        prepare_dynamic(&r->blocks[i], l->dynamic);
    if (races && !r->words) {
        size_t n = static_words() + (size_t)MAX_CLUSTER * BLOCK_WORDS;
        r->words = (struct word *)calloc(n, sizeof *r->words);
        r->flight = (uint16_t *)calloc(n, sizeof *r->flight);
        if (!r->words || !r->flight)
            die();
    }
}

static void begin_thread(struct run *r, uint32_t block, uint32_t i) {
    struct uint3 dim = r->launch->block;
    uint32_t number = block * r->n_warps * 32 + i;
    struct thread *t = &r->threads[number];
    t->place.block = r->place.block;
    t->place.block.x += block;
    t->place.thread = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
    t->number = number, t->warp = number / 32, t->lane = i % 32;
    t->started = t->ended = t->waited = false;
    t->copy_group = 0;
    t->copies.clear();
    t->fence = t->clock++;
}

static void begin_warp(struct run *r, uint32_t block, uint32_t i) {
    struct warp *w = &r->warps[block * r->n_warps + i];
    uint32_t n = r->n_threads > i * 32 ? r->n_threads - i * 32 : 0;
    w->exists = n < 32 ? (1u << n) - 1 : 0xffffffff;
    w->n_meetings = 0;
    w->fenced = false;
    w->group = w->n_products = 0;
    w->sums.clear();
    w->operands.clear();
}

/* The blocks of a cluster; of one block without clusters. */
static void begin_blocks(struct run *r) {
    raw_fill(__start_shim_shared, 0xff, (size_t)(__stop_shim_shared - __start_shim_shared));
    r->n_ended = r->n_grid = r->n_cluster = 0;
    r->ready_warps = 0;
    for (uint32_t b = 0; b < r->n_blocks; b++) {
        struct block *block = &r->blocks[b];
        raw_fill(block->dynamic, 0xff, r->launch->dynamic);
        block->n_arrived = block->n_ended = 0;
        block->epoch = block->first_epoch = ++last_epoch;
        for (uint32_t i = 0; i < r->n_threads; i++)
            begin_thread(r, b, i);
        for (uint32_t i = 0; i < r->n_warps; i++)
            begin_warp(r, b, i);
    }
    for (auto &list : r->products)
        list.clear();
    r->barriers.clear();
    wake_warps(r, 0, r->n_blocks * r->n_warps);
    r->warp_now = some_bit_of_64(r->ready_warps, (unsigned)(random_bits() >> 16));
}

static void end_warps(struct run *r) {
    for (uint32_t i = 0; i < r->n_blocks * r->n_warps; i++) {
        if (!r->warps[i].exists)
            continue;
        if (r->warps[i].n_products != r->products[i / 4].size()) {
            say("warp %u issued %u wgmma, and another of its four issued %zu", i,
                r->warps[i].n_products, r->products[i / 4].size());
            die();
        } else if (!r->warps[i].sums.empty()) {
            say("warp %u ended before the wgmma_wait of its wgmma", i);
            die();
        }
    }
}

static void end_memory(const struct run *r) {
    for (const unsigned char *p = __start_shim_shared; r->n_blocks > 1 && p < __stop_shim_shared;
         p++)
        if (*p != 0xff) {
            say("static shared memory in a cluster: here its blocks would share it");
            die();
        }
#if !ASAN
    for (uint32_t b = 0; b < r->n_blocks; b++)
        for (uint32_t i = 0; i < GUARD; i++)
            if (r->blocks[b].dynamic[r->launch->dynamic + i] != 0xa5) {
                say("byte %u of dynamic shared memory was written, and the launch has %u",
                    r->launch->dynamic + i, r->launch->dynamic);
                die();
            }
#endif
}

static void end_blocks(struct run *r) {
    uint32_t waited = 0, all = r->n_blocks * r->n_threads;
    for (uint32_t i = 0; i < r->n_blocks * r->n_warps * 32; i++) {
        struct thread *t = &r->threads[i];
        if (!(r->warps[i / 32].exists >> i % 32 & 1))
            continue;
        waited += t->waited;
        if (races)
            for (const struct copy &c : t->copies)
                for (uint32_t k = 0; k < 4; k++)
                    r->flight[word_of(r, c.to) + k] = 0;
    }
    for (const struct barrier &x : r->barriers)
        if (!x.copies.empty()) {
            say("the block ended while bulk copies were under way");
            print_place("copy", pc_of(&x.copies[0].writer));
            die();
        }
    if (waited && waited < all) {
        say("%u of %u threads called grid_wait", waited, all);
        die();
    }
    end_warps(r);
    end_memory(r);
}

static void run_blocks(struct run *r) {
    begin_blocks(r);
    struct thread *first = pick(r);
    begin_on_own_stack(first);
    set_me(r, first);
    before_switch(&r->main_fake, first->stack->base, STACK);
    shim_switch(&r->main_sp, first->sp);
    after_switch(r->main_fake, NULL, NULL);
    end_blocks(r);
}

static uint64_t no_common_divisor(uint64_t a,
                                  uint64_t b) { // the next number from a on that has none with b
    for (;; a++) {
        uint64_t x = a, y = b;
        while (y) {
            uint64_t z = x % y;
            x = y, y = z;
        }
        if (x == 1)
            return a;
    }
}

void shim_run(const struct shim_launch *launch) {
    if (!random_state) {
        const char *seed = getenv("CUDA_SHIM_SEED"), *s = getenv("CUDA_SHIM_STRICT");
        random_state = (seed ? strtoull(seed, NULL, 10) : 1) * 0x9e3779b97f4a7c15 | 1;
        for (int i = 0; i < 8; i++)
            random_bits();
        strict = s && *s == '1';
    }
    struct run *outer = now, *r = outer ? outer + 1 : runs;
    if (r == runs + MAX_RUNS) {
        say("launches too deep");
        die();
    }
    prepare(r, launch);
    r->main_bottom = NULL;
    now = r;
    shim_block_dim = launch->block;
    shim_grid_dim = launch->grid;
    uint32_t x = launch->grid.x / r->n_blocks; // clusters
    uint64_t n = (uint64_t)x * launch->grid.y * launch->grid.z;
    uint64_t block = random_bits() % n,
             step = n > 1 ? no_common_divisor(1 + random_bits() % (n - 1), n) % n : 0;
    for (uint64_t i = 0; i < n; i++, block = (block + step) % n) {
        r->place.block = {(uint32_t)(block % x) * r->n_blocks,
                          (uint32_t)(block / x % launch->grid.y),
                          (uint32_t)(block / x / launch->grid.y)};
        run_blocks(r);
    }
    now = outer;
    shim_here = NULL;
}

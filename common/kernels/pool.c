/* The pool: one word, the gate, says whether a job is open, which one it is, and how many workers
 * are inside.
 *
 * The items are dealt into one stretch a thread. A worker enters an open job by counting itself
 * in, takes pieces from its own stretch in order, then from the others', and counts itself out. The
 * caller works too. When no pieces are left it closes the gate and waits only for the workers still
 * inside. So nobody waits for a worker that the system does not run, and a thread that lost its
 * core for a while has simply taken fewer pieces.
 *
 * Where another process uses a CPU, the system may put a worker on the caller's CPU, where the two
 * take turns while that process has a CPU to itself. A worker that finds itself there moves to
 * another. A thread that has to wait for one that lost its CPU to another process lends it its own
 * before it sleeps.
 *
 * Waiting is a short spin, then sleep (futex on Linux, a condition variable elsewhere). A spin that
 * met no work halves the next one; a spin that met some restores it. So idle threads sleep, and
 * little time is spun away on a machine with more runnable threads than cores.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _DEFAULT_SOURCE // syscall
#endif
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/err.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/thread.h"
#include "kernels/cores.h"
#include "kernels/pool.h"
#include "kernels/table.h"
#include "kernels/tune.h"

/* The gate: bits 0..15 workers inside, bit 16 open, bits 17..31 the job's number. */
enum { MAX_THREADS = 1024, GATE_INSIDE = 0xFFFF, GATE_OPEN = 0x10000, GATE_JOB = 0x20000 };

/* A word that threads sleep on; padded so that spinning on one disturbs no other. */
struct signal_word {
    _Alignas(64) atomic_uint word;
    atomic_uint sleepers;
#if !defined(__linux__)
    pthread_mutex_t lock;
    pthread_cond_t changed;
#endif
};

struct stretch {
    _Alignas(64) atomic_size_t next; // the first item that is not taken
    size_t end;
};

struct worker {
    struct pool *pool;
    size_t index;
    atomic_bool inside;
    atomic_int thread; // its number
    double moved;      // seconds_now() when it last left the caller's CPU
    pthread_t id;
};

struct pool {
    struct signal_word gate; // workers wait here for another job
    struct signal_word
        done; // the caller waits here; word counts jobs that were left by their last worker
    _Alignas(64) pool_job *job;
    void *arg;
    size_t grain, least;
    atomic_int caller_cpu; // when it began the job
    atomic_int caller;     // its thread's number
    atomic_bool ending;
    size_t n_threads;
    struct stretch *stretches; // [n_threads]
    struct worker *workers;    // [n_threads - 1]
    unsigned char *scratch,
        *scratch_base; // [n_threads, POOL_SCRATCH], page-aligned inside scratch_base
};

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#if defined(__linux__)
static void word_init(struct signal_word *s) {
    atomic_init(&s->word, 0);
    atomic_init(&s->sleepers, 0);
}
static void word_free(struct signal_word *s) {
    (void)s;
}
static void word_sleep(struct signal_word *s, unsigned seen) {
    atomic_fetch_add(&s->sleepers, 1);
    // The kernel compares once more, so a change since the caller's look is not missed.
    syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&s->sleepers, 1);
}
static void word_wake(struct signal_word *s) {
    if (atomic_load(&s->sleepers) != 0)
        syscall(SYS_futex, &s->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
static void word_init(struct signal_word *s) {
    atomic_init(&s->word, 0);
    atomic_init(&s->sleepers, 0);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
}
static void word_free(struct signal_word *s) {
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}
static void word_sleep(struct signal_word *s, unsigned seen) {
    pthread_mutex_lock(&s->lock);
    atomic_fetch_add(&s->sleepers, 1);
    if (atomic_load(&s->word) == seen)
        pthread_cond_wait(&s->changed, &s->lock);
    atomic_fetch_sub(&s->sleepers, 1);
    pthread_mutex_unlock(&s->lock);
}
static void word_wake(struct signal_word *s) {
    if (atomic_load(&s->sleepers) == 0)
        return;
    pthread_mutex_lock(&s->lock); // now none is between its look and its wait
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}
#endif

/* Spins until the word is no longer `seen`, or for *spin_ns. Returns the word. */
static unsigned word_spin(struct signal_word *s, unsigned seen, unsigned *spin_ns) {
    unsigned word;
    double end = 0;
    for (unsigned i = 1;; i++) {
        if ((word = atomic_load_explicit(&s->word, memory_order_acquire)) != seen) {
            *spin_ns = POOL_SPIN_NS;
            return word;
        }
        relax();
        if (i % 64 == 0) {
            double now = seconds_now();
            if (end == 0)
                end = now + *spin_ns * 1e-9;
            else if (now >= end)
                break;
        }
    }
    *spin_ns = *spin_ns / 2 > POOL_SPIN_MIN_NS ? *spin_ns / 2 : POOL_SPIN_MIN_NS;
    return seen;
}

/* This thread will not run kernels for a while. */
static void rest(void) {
    if (kernel.idle)
        kernel.idle();
}

static unsigned word_sleep_until(struct signal_word *s, unsigned seen) {
    unsigned word;
    while ((word = atomic_load(&s->word)) == seen)
        word_sleep(s, seen);
    return word;
}

/* The next piece of s: `grain` items, towards the end half of what is left, but not less than
 * `least`, so that threads end together. Where a thread loses its CPU within its piece, the others
 * wait for less. Returns its items, 0: none are left. */
static size_t take_piece(const struct pool *p, struct stretch *s, size_t *begin) {
    size_t next = atomic_load_explicit(&s->next, memory_order_relaxed), n;
    do {
        if (next >= s->end)
            return 0;
        size_t left = s->end - next, half = (left / 2 + p->least - 1) / p->least * p->least;
        n = half < p->least ? p->least : half < p->grain ? half : p->grain;
        n = n < left ? n : left;
    } while (!atomic_compare_exchange_weak_explicit(&s->next, &next, next + n, memory_order_relaxed,
                                                    memory_order_relaxed));
    *begin = next;
    return n;
}

static void take_pieces(struct pool *p, size_t thread) {
    for (size_t i = 0; i < p->n_threads; i++) {
        struct stretch *s =
            &p->stretches[thread + i < p->n_threads ? thread + i : thread + i - p->n_threads];
        for (size_t begin, n; (n = take_piece(p, s, &begin)) > 0;)
            p->job(p->arg, begin, begin + n, thread);
    }
}

/* Cuts [0, n) into one stretch a thread, at multiples of grain. */
static void deal(struct pool *p, size_t n, size_t grain, size_t least) {
    size_t pieces = n / grain + (n % grain != 0), each = pieces / p->n_threads,
           more = pieces % p->n_threads;
    for (size_t t = 0, at = 0; t < p->n_threads; t++) {
        size_t end = at + (each + (t < more)) * grain;
        atomic_store_explicit(&p->stretches[t].next, at, memory_order_relaxed);
        at = p->stretches[t].end = end < n ? end : n;
    }
    p->grain = grain;
    p->least = least;
}

/* Leaves the CPU that the caller was on. */
static void keep_apart(struct worker *w) {
    int cpu = atomic_load_explicit(&w->pool->caller_cpu, memory_order_relaxed);
    double now;
    if (cpu < 0 || cpu != current_cpu() || (now = seconds_now()) - w->moved < POOL_MOVE_NS * 1e-9)
        return;
    w->moved = now;
    leave_cpu(w->pool->n_threads);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct pool *p = w->pool;
    atomic_store(&w->thread, thread_number());
    unsigned seen = 0, spin = POOL_SPIN_NS,
             gate = atomic_load_explicit(&p->gate.word, memory_order_acquire);
    for (;;) {
        while (!(gate & GATE_OPEN) || gate / GATE_JOB == seen / GATE_JOB) {
            if (atomic_load(&p->ending))
                return NULL;
            unsigned next = word_spin(&p->gate, gate, &spin);
            if (next == gate && gate & GATE_OPEN) // the caller is still at a piece
                lend_cpu(atomic_load(&p->caller));
            if (next == gate)
                rest();
            gate = next != gate ? next : word_sleep_until(&p->gate, gate);
        }
        // Fails if another worker came or went, or the caller closed the gate: look again.
        if (!atomic_compare_exchange_strong(&p->gate.word, &gate, gate + 1))
            continue;
        seen = gate;
        keep_apart(w);
        atomic_store_explicit(&w->inside, true, memory_order_release);
        take_pieces(p, w->index);
        atomic_store_explicit(&w->inside, false, memory_order_relaxed);
        gate = atomic_fetch_sub(&p->gate.word, 1) - 1;
        if ((gate & (GATE_INSIDE | GATE_OPEN)) == 0) { // the last one out, after the caller
            atomic_fetch_add(&p->done.word, 1);
            word_wake(&p->done);
        }
        keep_apart(w);
    }
}

void pool_run(struct pool *p, pool_job *job, void *arg, size_t n, size_t grain) {
    pool_run_pieces(p, job, arg, n, grain, grain);
}

void pool_run_pieces(struct pool *p, pool_job *job, void *arg, size_t n, size_t grain,
                     size_t least) {
    if (grain == 0)
        grain = 1;
    if (least == 0 || least > grain)
        least = grain;
    if (n <= grain || p->n_threads == 1) {
        for (size_t begin = 0; begin < n; begin += n - begin < grain ? n - begin : grain)
            job(arg, begin, n - begin < grain ? n : begin + grain, 0);
        rest();
        return;
    }
    p->job = job;
    p->arg = arg;
    atomic_store_explicit(&p->caller, thread_number(), memory_order_relaxed);
    atomic_store_explicit(&p->caller_cpu, current_cpu(), memory_order_relaxed);
    deal(p, n, grain, least);
    unsigned done = atomic_load(&p->done.word), gate = atomic_load(&p->gate.word);
    atomic_store(&p->gate.word, ((gate & ~(unsigned)GATE_INSIDE) + GATE_JOB) | GATE_OPEN);
    word_wake(&p->gate);
    take_pieces(p, 0);
    gate = atomic_fetch_and(&p->gate.word, ~(unsigned)GATE_OPEN);
    if (gate & GATE_INSIDE) {
        unsigned spin = POOL_SPIN_NS;
        if (word_spin(&p->done, done, &spin) == done) {
            for (size_t i = 0; i + 1 < p->n_threads; i++)
                if (atomic_load(&p->workers[i].inside))
                    lend_cpu(atomic_load(&p->workers[i].thread));
            rest();
            word_sleep_until(&p->done, done);
        }
    }
    rest();
}

static void pool_end(struct pool *p, size_t started) {
    atomic_store(&p->ending, true);
    atomic_fetch_add(&p->gate.word,
                     GATE_JOB); // another number, not open: all workers see `ending`
    word_wake(&p->gate);
    for (size_t i = 0; i < started; i++)
        pthread_join(p->workers[i].id, NULL);
    word_free(&p->gate);
    word_free(&p->done);
    free(p->workers);
    free(p->stretches);
    free(p->scratch_base);
    free(p);
}

struct pool *pool_new(size_t n_threads, struct err *e) {
    if (n_threads == 0)
        n_threads = physical_cores();
    if (n_threads > MAX_THREADS) {
        err_set(e, EXIT_USAGE, "at most %d threads, not %zu", MAX_THREADS, n_threads);
        return NULL;
    }
    struct pool *p = xaligned(64, sizeof *p);
    p->n_threads = n_threads;
    p->workers = xcalloc(n_threads, sizeof *p->workers);
    p->stretches = xaligned(64, n_threads * sizeof *p->stretches);
    p->scratch_base = xcalloc(n_threads + 1, POOL_SCRATCH); // zero pages until they are used
    p->scratch = p->scratch_base + (4096 - (uintptr_t)p->scratch_base % 4096);
    word_init(&p->gate);
    word_init(&p->done);

    size_t started = 0;
    int failed = 0;
    while (started + 1 < n_threads && failed == 0) {
        struct worker *w = &p->workers[started];
        w->pool = p;
        w->index = started + 1;
        failed = thread_start(&w->id, worker_main, w);
        started += failed == 0;
    }
    if (failed) {
        pool_end(p, started);
        errno = failed;
        err_errno(e, EXIT_SYSTEM, "cannot start thread %zu of %zu", started + 2, n_threads);
        return NULL;
    }
    return p;
}

void pool_free(struct pool *p) {
    if (p)
        pool_end(p, p->n_threads - 1);
}

size_t pool_threads(const struct pool *p) {
    return p->n_threads;
}

void *pool_scratch(struct pool *p, size_t thread) {
    return p->scratch + thread * POOL_SCRATCH;
}

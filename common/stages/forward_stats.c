/* The report of -v: see forward_stats.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/forward_stats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/io.h"
#include "base/num.h"
#include "base/progress.h"

static double per_second(uint64_t n, double seconds) {
    return seconds > 0 ? (double)n / seconds : 0;
}

int forward_stats_open(void) {
    return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
}

/* A line "KEY:  N kB" of /proc/self/status, in bytes; 0 where the system has no such file. */
static uint64_t status_bytes(int fd, const char *key) {
    struct buf text = {0};
    uint64_t kib = 0;
    if (fd >= 0 && read_all(fd, "/proc/self/status", 1 << 16, &text, NULL) == 0) {
        const char *line = strstr(text.p, key);
        const char *digits = line ? line + strcspn(line, "0123456789") : "";
        if (!parse_u64((struct str){digits, strspn(digits, "0123456789")}, 0, UINT64_MAX / 1024,
                       &kib))
            kib = 0;
    }
    buf_free(&text);
    return kib * 1024;
}

static void print_memory(int status_fd) {
    struct rusage u;
    uint64_t own = status_bytes(status_fd, "RssAnon:");
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return;
#if defined(__APPLE__)
    double peak = (double)u.ru_maxrss; // bytes on macOS, KiB elsewhere
#else
    double peak = (double)u.ru_maxrss * 1024;
#endif
    if (own)
        print_note("memory: peak %.0f MB with the weights' mapping, %.1f MB of it our own now",
                   peak / 1e6, (double)own / 1e6);
    else
        print_note("memory: peak %.0f MB with the weights' mapping", peak / 1e6);
}

/* Where the time went: a line for each part that took some, and the rest. */
static void print_times(const struct forward_stats *st, const struct model *m, double total) {
    const double *model = model_times(m);
    const struct {
        const char *name;
        double seconds;
    } parts[] = {
        {"opening the model", st->opened - st->started},
        {"matmul", model[PART_MATMUL]},
        {"attention", model[PART_ATTENTION]},
        {"storing keys and values", model[PART_STORE]},
        {"norms", model[PART_NORMS]},
        {"other row operations", model[PART_ROWS]},
        {"head", model[PART_HEAD]},
        {"wire", st->writing},
        {"waiting for the sampler", st->for_sampler},
        {"waiting for input", st->for_input},
    };
    double rest = total;
    print_note("time: %.3f s in all, %.1f MB written", total, (double)st->written / 1e6);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        rest -= parts[i].seconds;
        if (parts[i].seconds > 0)
            print_note("time: %8.3f s %5.1f %%  %s", parts[i].seconds,
                       100 * parts[i].seconds / total, parts[i].name);
    }
    print_note("time: %8.3f s %5.1f %%  else", rest, 100 * rest / total);
}

static void print_rates(const struct engine_counters *n, const struct model *m) {
    if (n->prefill_rows)
        print_note("prefill: %" PRIu64 " tokens in %.3f s (%.1f tokens/s), %" PRIu64
                   " steps, %" PRIu64 " other tokens in them",
                   n->prefill_rows, n->prefill, per_second(n->prefill_rows, n->prefill),
                   n->prefill_steps, n->mixed_rows);
    if (n->paused)
        print_note("memory: sequences were paused %" PRIu64 " times (--kv)", n->paused);
    if (n->reused)
        print_note("reused: %" PRIu64 " tokens of prompts, kept from earlier sequences", n->reused);
    if (model_kv_restored(m))
        print_note("restored: %" PRIu64 " tokens of prompts, from kv files", model_kv_restored(m));
    if (n->decode_rows) {
        print_note("decode: %" PRIu64 " tokens in %.3f s (%.1f tokens/s), %" PRIu64
                   " steps of up to %zu, weights read at %.2f GB/s",
                   n->decode_rows, n->decode, per_second(n->decode_rows, n->decode),
                   n->decode_steps, n->most_together,
                   per_second(n->decode_steps * model_step_bytes(m), n->decode) / 1e9);
        print_note("decode with pipe and sampler: %.1f tokens/s",
                   per_second(n->decode_rows, n->decode_whole));
    }
}

void forward_stats_print(const struct forward_stats *st, const struct engine_counters *n,
                         const struct model *m) {
    double total = seconds_now() - st->started;
    char device[200];
    model_device_text(m, device, sizeof device);
    print_note("%s, %.1f MB of KV", device, (double)model_kv_bytes(m) / 1e6);
    print_note("sequences: %" PRIu64 ", of which %" PRIu64 " failed; %.3f s in all", st->sequences,
               st->failed, total);
    if (n->first_rows > 0)
        print_note("first logits after %.1f ms", (n->first_rows - st->started) * 1e3);
    print_rates(n, m);
    print_times(st, m, total);
    print_memory(st->status_fd);
}

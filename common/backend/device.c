/* A device by its name: see device.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/device.h"

#include <string.h>

#include "backend/ops.h"
#include "base/mem.h"
#include "base/num.h"

enum { MAX_GPUS = 1024 };

struct named {
    bool cuda;
    unsigned index;
};

static int parse(struct named *n, const char *name, struct err *e) {
    uint64_t index = 0;
    *n = (struct named){0};
    if (!name || strcmp(name, "cpu") == 0)
        return 0;
    n->cuda = strncmp(name, "cuda", 4) == 0;
    bool numbered = n->cuda && name[4] == ':';
    if (!n->cuda || (!numbered && name[4]) ||
        (numbered && !parse_u64(str_of(name + 5), 0, MAX_GPUS - 1, &index)))
        return err_set(e, EXIT_USAGE, "no device '%s' (cpu, cuda, cuda:N)", name);
    n->index = (unsigned)index;
    return 0;
}

int device_check(const char *name, struct err *e) {
    struct named n;
    return parse(&n, name, e);
}

int device_open(struct device **d, const char *name, const struct device_shape *s, size_t n_threads,
                struct err *e) {
    struct named n;
    *d = NULL;
    if (parse(&n, name, e) != 0)
        return -1;
    return n.cuda ? cuda_open(d, s, n.index, e) : cpu_open(d, s, n_threads, e);
}

size_t device_prompt_rows(const char *name) {
    struct named n;
    return parse(&n, name, NULL) == 0 && n.cuda ? CUDA_PROMPT_ROWS : CPU_PROMPT_ROWS;
}

void device_list(FILE *out) {
    struct err e = {0};
    fprintf(out, "cpu     %s kernels\n", kernels_isa());
    fflush(out);
    if (cuda_list(out, &e) != 0)
        warn_err(&e);
}

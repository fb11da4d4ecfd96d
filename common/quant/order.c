/* GPTQ's act-order: which inputs belong to which group. See panels.h.
 *
 * The codes of a row are stored in the order of their groups, so that a group's inputs are side by
 * side, as they are without act-order. Within a group the order of the inputs stays.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdlib.h>

#include "quant/panels.h"

/* The group of each input -> groups [n_in]; -1: e is set. */
static int read_groups(const struct tensor *t, size_t n_in, size_t n_groups, uint32_t *groups,
                       struct err *e) {
    for (size_t k = 0; k < n_in; k++) {
        const int64_t g = (int32_t)quant_word(t->data, k), own = g < 0 ? g + (int64_t)n_groups : g;
        if (own < 0 || own >= (int64_t)n_groups)
            return err_set(e, EXIT_DATA,
                           "tensor '%s': input %zu is in group %" PRId64
                           ", but there are %zu groups",
                           t->name, k, g, n_groups);
        groups[k] = (uint32_t)own;
    }
    return 0;
}

/* order [n_in] from the groups of the inputs, by counting. */
static int sort_inputs(const struct tensor *t, const uint32_t *groups, size_t n_in, size_t group,
                       uint32_t *order, struct err *e) {
    const size_t n_groups = quant_groups(n_in, group);
    size_t *next = xcalloc(n_groups, sizeof *next), full = 0;
    for (size_t k = 0; k < n_in; k++)
        next[groups[k]]++;
    for (size_t g = 0; g < n_groups; g++) {
        const size_t wanted = n_in - g * group < group ? n_in - g * group : group;
        if (next[g] != wanted) {
            err_set(e, EXIT_DATA, "tensor '%s': group %zu has %zu inputs, expected %zu", t->name, g,
                    next[g], wanted);
            free(next);
            return -1;
        }
        next[g] = full;
        full += wanted;
    }
    for (size_t k = 0; k < n_in; k++)
        order[next[groups[k]]++] = (uint32_t)k;
    free(next);
    return 0;
}

int quant_order(const struct quant_module *w, const struct tensor *t, size_t group, size_t n_groups,
                const uint32_t **order, struct err *e) {
    const size_t n_in = w->n_in;
    uint32_t *groups = xcalloc(2 * n_in, sizeof *groups), *sorted = groups + n_in;
    int rc = read_groups(t, n_in, n_groups, groups, e);
    bool moved = false;
    if (rc == 0)
        rc = sort_inputs(t, groups, n_in, group, sorted, e);
    for (size_t k = 0; k < n_in && rc == 0; k++)
        moved |= sorted[k] != k;
    uint32_t *to = moved ? quant_take(w->s, n_in * sizeof *to) : NULL;
    if (to)
        memcpy(to, sorted, n_in * sizeof *to);
    *order = to;
    free(groups);
    return rc;
}

/* Lists of layers: see hidden.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/hidden.h"

#include <stdbool.h>

#include "base/num.h"
#include "spec/spec.h"

_Static_assert((int)HIDDEN_MAX_LAYERS == (int)SPEC_MAX_LAYERS, "a list has all layers of a model");

/* One item, "7", "2-5" or "8-". */
static int read_item(struct str item, size_t n_layers, bool *wanted, struct err *e) {
    const char *dash = item.n ? memchr(item.p, '-', item.n) : NULL;
    struct str first = {item.p, dash ? (size_t)(dash - item.p) : item.n}, last = first;
    uint64_t from, to = n_layers;
    if (dash)
        last = (struct str){dash + 1, item.n - first.n - 1};
    if (!parse_u64(first, 0, UINT64_MAX, &from) ||
        (!(dash && last.n == 0) && !parse_u64(last, from, UINT64_MAX, &to)))
        return err_set(e, EXIT_USAGE, "expected layers such as 0,4,12 or 2-5 or all, found '%.*s'",
                       str_shown(item), item.p);
    if (from > n_layers || to > n_layers)
        return err_set(e, EXIT_USAGE, "expected layers from 0 to %zu, found '%.*s'", n_layers,
                       str_shown(item), item.p);
    for (uint64_t l = from; l <= to; l++)
        wanted[l] = true;
    return 0;
}

int hidden_parse(struct hidden_layers *h, const char *list, size_t n_layers, struct err *e) {
    bool wanted[HIDDEN_MAX_LAYERS + 1] = {false};
    struct str rest = str_of(strcmp(list, "all") == 0 ? "0-" : list);
    for (bool more = true; more;) {
        const char *comma = rest.n ? memchr(rest.p, ',', rest.n) : NULL;
        size_t n = comma ? (size_t)(comma - rest.p) : rest.n;
        if (read_item((struct str){rest.p, n}, n_layers, wanted, e) != 0)
            return -1;
        more = comma != NULL;
        rest = more ? (struct str){comma + 1, rest.n - n - 1} : rest;
    }
    h->n = 0;
    for (uint32_t l = 0; l <= n_layers; l++)
        if (wanted[l])
            h->layers[h->n++] = l;
    return 0;
}

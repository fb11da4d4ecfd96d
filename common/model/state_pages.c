/* The rules of pages: bytes for each position, such as keys and values. See state.h.
 *
 * A row at position len reads positions [len - window + 1, len]. So a sequence can go back to any
 * length whose row finds all of its pages.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/state_blocks.h"

static size_t pages_first(const struct state_group *g, size_t len) {
    return g->window > 0 && len >= g->window ? (len - g->window + 1) / KV_PAGE : 0;
}

static size_t pages_reach(const struct state_group *g, size_t first, size_t seq_len, size_t len) {
    (void)seq_len;
    return pages_first(g, len) >= first ? len : 0;
}

/* Of a window: its own pages, one more because it may begin within a page, and one to go back. */
static size_t pages_held(size_t window, size_t len) {
    size_t all = state_blocks_for(len, KV_PAGE);
    size_t seen = state_blocks_for(window, KV_PAGE) + 2;
    return window > 0 && seen < all ? seen : all;
}

const struct state_rules state_pages_rules = {KV_PAGE, pages_first, pages_reach, pages_held};

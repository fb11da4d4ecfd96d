/* The rules of slots: a fixed number of bytes a sequence, such as recurrent state. See state.h.
 *
 * The row at position len reads the state after position len - 1, and nothing before it. A sequence
 * can go back only to a snapshot: the end of a complete span whose block it still has.
 *
 *     positions  |   span 0   |   span 1   |  span 2 ..len
 *     blocks     | snapshot 1 | snapshot 2 | the state at len
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/state_blocks.h"

static size_t slots_first(const struct state_group *g, size_t len) {
    (void)g;
    return len > 0 ? (len - 1) / STATE_SNAPSHOT : 0;
}

static size_t slots_reach(const struct state_group *g, size_t first, size_t seq_len, size_t len) {
    (void)g;
    if (len == seq_len)
        return len;
    size_t snapshot = len / STATE_SNAPSHOT;
    return snapshot > first ? snapshot * STATE_SNAPSHOT : 0;
}

/* The state, and one snapshot to go back to. */
static size_t slots_held(size_t window, size_t len) {
    size_t all = state_blocks_for(len, STATE_SNAPSHOT);
    (void)window;
    return all < 2 ? all : 2;
}

const struct state_rules state_slots_rules = {STATE_SNAPSHOT, slots_first, slots_reach, slots_held};

/* The i8 layout, and what all layouts of panels share. See panel_i8.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/panel_i8.h"

#include <string.h>

#include "base/mem.h"

enum { STEP = 4 }; // inputs of a row side by side

/* ---- All layouts of panels ---- */

size_t panel_inputs(size_t n_in) {
    return n_in <= SIZE_MAX - PANEL_K ? round_up_size(n_in, PANEL_K) : SIZE_MAX;
}

size_t panel_descriptor_bytes(size_t n, size_t block) {
    return round_up_size(n / block * PANEL_ROWS, PANEL_LINE);
}

static size_t super_bytes(size_t n, size_t block, size_t line_bytes) {
    return panel_descriptor_bytes(n, block) + n / STEP * line_bytes;
}

struct panel_super panel_super_of(size_t k, size_t n_in, size_t block, size_t line_bytes) {
    const size_t i = k / PANEL_SUPER, left = panel_inputs(n_in) - i * PANEL_SUPER;
    struct panel_super s = {.at = PANEL_LINE + i * super_bytes(PANEL_SUPER, block, line_bytes),
                            .n = left < PANEL_SUPER ? left : PANEL_SUPER};
    s.codes = s.at + panel_descriptor_bytes(s.n, block);
    return s;
}

size_t panel_bytes(size_t n_in, size_t block, size_t line_bytes) {
    const size_t n = panel_inputs(n_in);
    if (n > SIZE_MAX / (2 * PANEL_ROWS) - PANEL_SUPER)
        return SIZE_MAX;
    return PANEL_LINE + n / PANEL_SUPER * super_bytes(PANEL_SUPER, block, line_bytes) +
           super_bytes(n % PANEL_SUPER, block, line_bytes);
}

/* ---- i8 ---- */

static struct panel_super super_of(size_t k, size_t n_in) {
    return panel_super_of(k, n_in, PANEL_I8_BLOCK, PANEL_LINE);
}

/* Where in a superblock's codes the byte of row r and its input k is. */
static size_t code_at(size_t r, size_t k) {
    return k / STEP * PANEL_LINE + r * STEP + k % STEP;
}

size_t panel_i8_bytes(size_t n_in) {
    return panel_bytes(n_in, PANEL_I8_BLOCK, PANEL_LINE);
}

void panel_i8_pack(unsigned char *to, const struct panel_i8_rows *rows) {
    const size_t n_in = rows->n_in;
    memset(to, 0, panel_i8_bytes(n_in));
    memcpy(to, rows->scales, rows->n_rows * sizeof *rows->scales);
    for (size_t k = 0; k < panel_inputs(n_in); k += PANEL_SUPER) {
        const struct panel_super s = super_of(k, n_in);
        const size_t n = n_in - k < s.n ? n_in - k : s.n;
        memset(to + s.codes, PANEL_I8_OFFSET, s.n * PANEL_ROWS);
        for (size_t r = 0; r < rows->n_rows; r++) {
            for (size_t i = 0; i < n; i++)
                to[s.codes + code_at(r, i)] =
                    (unsigned char)(rows->codes[r * rows->ld_codes + k + i] + PANEL_I8_OFFSET);
            for (size_t i = 0; i < n; i += PANEL_I8_BLOCK)
                to[s.at + i / PANEL_I8_BLOCK * PANEL_ROWS + r] =
                    rows->m[r * rows->ld_m + (k + i) / PANEL_I8_BLOCK];
        }
    }
}

void panel_i8_row(const unsigned char *panel, size_t r, size_t n_in, float *out) {
    float scale;
    memcpy(&scale, panel + r * sizeof scale, sizeof scale);
    for (size_t k = 0; k < n_in; k += PANEL_SUPER) {
        const struct panel_super s = super_of(k, n_in);
        for (size_t i = 0; i < s.n && k + i < n_in; i++) {
            const int m = panel[s.at + i / PANEL_I8_BLOCK * PANEL_ROWS + r],
                      w = panel[s.codes + code_at(r, i)] - PANEL_I8_OFFSET;
            out[k + i] = scale * (float)(m * w);
        }
    }
}

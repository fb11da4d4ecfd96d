/* Permission to use AMX, and the shape of a thread's tiles. See amx.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // syscall
#include "kernels/amx.h"

#include "kernels/x86.h"

#if KERNELS_AMX && defined(__linux__)
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/tile.h"

// Of Linux's asm/prctl.h, which older systems lack.
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

/* ---- The shape ---- */

static _Thread_local size_t now_rows, now_cols; // 0: none

AMX void amx_shape(size_t rows, size_t cols) {
    if (rows == now_rows && cols == now_cols)
        return;
    const struct tile_config c = tile_config_of(rows, cols);
    TILE_ASM("ldtilecfg (%0)", "r"(&c));
    now_rows = rows;
    now_cols = cols;
}

AMX void amx_release(void) {
    if (now_rows > 0)
        __asm__ volatile("tilerelease" ::: "memory");
    now_rows = now_cols = 0;
}

/* ---- Permission ---- */

static sigjmp_buf back;

static void jump_back(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

bool amx_survives(void (*attempt)(void)) {
    static const int signals[] = {SIGILL, SIGSEGV, SIGBUS};
    enum { N = sizeof signals / sizeof *signals };
    struct sigaction was[N], jump = {.sa_handler = jump_back};
    for (size_t i = 0; i < N; i++)
        sigaction(signals[i], &jump, &was[i]);
    volatile bool done = false;
    if (sigsetjmp(back, 1) == 0) {
        attempt();
        done = true;
    }
    for (size_t i = 0; i < N; i++)
        sigaction(signals[i], &was[i], NULL);
    return done;
}

/* By tiles, as bf16 and as int8: sums of 16 pairs of 1 * 1 and 1 * 2, and of 64 products 3 * -2. */
static float tried[TILE_ROWS][TILE_COLS];
static int32_t tried_int8[TILE_ROWS][TILE_COLS];
AMX static void attempt_tiles(void) {
    uint16_t a[TILE_ROWS][TILE_K], b[TILE_PAIRS][TILE_K];
    for (size_t i = 0; i < TILE_ROWS; i++)
        for (size_t k = 0; k < TILE_K; k++) {
            a[i][k] = 0x3F80;                  // 1
            b[i][k] = k % 2 ? 0x4000 : 0x3F80; // 2 and 1
        }
    amx_shape(TILE_ROWS, TILE_COLS);
    TILE_ZERO(0);
    TILE_LOAD(4, a, TILE_BYTES);
    TILE_LOAD(6, b, TILE_BYTES);
    TILE_DP_BF16(0, 4, 6);
    TILE_STORE(0, tried, TILE_BYTES);
    memset(a, 3, sizeof a);
    memset(b, -2, sizeof b);
    TILE_ZERO(1);
    TILE_LOAD(5, a, TILE_BYTES);
    TILE_LOAD(7, b, TILE_BYTES);
    TILE_DP_SS(1, 5, 7);
    TILE_STORE(1, tried_int8, TILE_BYTES);
    amx_release();
}

const char *amx_ask(void) {
    static char why[128];
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0) {
        snprintf(why, sizeof why, "arch_prctl: %s", strerror(errno));
        return why;
    }
    memset(tried, 0, sizeof tried);
    memset(tried_int8, 0, sizeof tried_int8);
    if (!amx_survives(attempt_tiles)) {
        now_rows = now_cols = 0;
        return "its instructions end in a signal";
    }
    return tried[15][15] == 16 * 1 + 16 * 2 && tried_int8[15][15] == 64 * 3 * -2
               ? NULL
               : "its instructions give wrong results";
}

const char *amx_refused(void) {
    static bool asked;
    static const char *refused;
    if (!asked)
        refused = amx_ask();
    asked = true;
    return refused;
}
#else
const char *amx_ask(void) {
    return "this system is not known to allow it";
}
const char *amx_refused(void) {
    return amx_ask();
}
bool amx_survives(void (*attempt)(void)) {
    attempt();
    return true;
}
void amx_shape(size_t rows, size_t cols) {
    (void)rows;
    (void)cols;
}
void amx_release(void) {
}
#endif

/* Signals that end a program: see ending.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/ending.h"

#include <signal.h>
#include <stddef.h>

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { N_ENDING = sizeof ending / sizeof *ending };

static void change_mask(int how) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < N_ENDING; i++)
        sigaddset(&set, ending[i]);
    sigprocmask(how, &set, NULL);
}

void ending_hold(void) {
    change_mask(SIG_BLOCK);
}

void ending_release(void) {
    change_mask(SIG_UNBLOCK);
}

int ending_pending(void) {
    sigset_t pending;
    sigpending(&pending);
    for (size_t i = 0; i < N_ENDING; i++)
        if (sigismember(&pending, ending[i]) == 1)
            return 1;
    return 0;
}

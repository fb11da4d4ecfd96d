/* The sandbox: after its inputs are open, a program gives up what it no longer needs.
 *
 * Two layers of Linux. seccomp (through libseccomp) lets through the system calls that reading,
 * computing and writing need; every other one fails with EPERM. Memory cannot become executable.
 * Landlock denies files, TCP, and signals to other processes, where the kernel has it. Code that a
 * hostile file managed to run could then only write what the program writes anyway.
 *
 * Where the system has neither, or under a sanitizer, which needs more, sandbox_enter does nothing.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>

#include "base/err.h"

enum sandbox_may {
    SANDBOX_THREADS = 1, // start threads
    SANDBOX_FILES = 2,   // open, make, rename and remove files where `read` and `write` say
    SANDBOX_ACCEPT = 4,  // accept connections, learn who connected, and use what they pass
    SANDBOX_CONNECT = 8, // connect to Unix sockets, and watch many connections
};

struct sandbox {
    unsigned may;         // of enum sandbox_may
    const char *read[3];  // folders below which files may be read; NULL: none
    const char *write[3]; // folders below which files may be read and changed; NULL: none
};

/* Enters the sandbox for the rest of the process, threads that already run included: seccomp holds
 * for them, Landlock for the calling thread and those that it starts. What a program opens by a
 * path that `read` and `write` do not have must be open before. 0, or -1: EXIT_SYSTEM, the kernel
 * has the sandbox and refused this one. Does nothing after --no-sandbox. -v says what holds. */
int sandbox_enter(const struct sandbox *s, struct err *e);

/* Whether this build has a sandbox. */
bool sandbox_built(void);

/* Whether executable memory was made read-only: then compiled patterns can be run, not freed. */
bool sandbox_sealed(void);

/* What --no-sandbox calls, before any thread starts. */
void sandbox_off(void);

#endif

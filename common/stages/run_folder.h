/* $LLM_RUN: a folder of resident engines by name. NAME.sock is the socket of an engine, and NAME is
 * its model's folder, or a link to it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_RUN_FOLDER_H
#define STAGES_RUN_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct run_engine {
    char *name, *socket, *model; // owned by the list
};

struct run_folder {
    struct run_engine *engines; // [n] by name
    size_t n;
};

/* The engines of a folder. -1: EXIT_NO_INPUT, it cannot be read; EXIT_DATA, a name has a control
 * character. run_folder_free is needed after 0 only. */
int run_folder_list(struct run_folder *r, const char *folder, struct err *e);
void run_folder_free(struct run_folder *r);

/* The socket that --engine or $LLM_ENGINE names: a path, or where LLM_RUN is set and there is no
 * '/' in it, the socket of that name there. Owned by the caller. */
char *run_folder_socket(const char *name);

/* Whether the path is in the folder $LLM_RUN, where an engine may be about to start. */
bool run_folder_has(const char *path);

#endif

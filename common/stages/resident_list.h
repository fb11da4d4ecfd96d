/* The hash by which a client and a resident engine compare lists of --verify: the client's list is
 * one that the engine has compared its weights with.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_RESIDENT_LIST_H
#define STAGES_RESIDENT_LIST_H

#include <stdint.h>

#include "base/err.h"
#include "wire/control.h"

/* BLAKE2b-256 of the file at path. -1: as read_file says. */
int resident_list_hash(uint8_t hash[CONTROL_LIST_HASH], const char *path, struct err *e);

#endif

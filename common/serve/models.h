/* The models that a server offers: those of its options, and the engines of a folder.
 *
 * The folder is read when somebody asks, so engines may come and go: see models_list and
 * models_find. A model is opened when its socket NAME.sock is first seen, again when NAME has
 * become another folder, and closed when nobody uses it any more. A socket that has been missing
 * for a moment counts as there, because an engine that ends and listens again removes it for that
 * time. A model that cannot be opened is left out, with a warning; it is tried again when its
 * socket is another one. All functions may be called from any thread.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_MODELS_H
#define SERVE_MODELS_H

#include "serve/served.h"

enum { MODELS_MAX = 64 }; // of a folder: the first by name

struct models;

/* folder: of engines, see stages/run_folder.h; NULL: none. It outlives the result. */
struct models *models_new(const char *folder);
void models_free(struct models *m);

/* Adds a model for good, and takes it. -1 with e set (EXIT_USAGE): its name is taken. */
int models_add(struct models *m, struct served *s, struct err *e);

/* Reads the folder. -1 with e set: it cannot be read. */
int models_scan(struct models *m, struct err *e);

/* The first model that can one of `can` (enum served_can), of this name where it is not NULL.
 * NULL: none. Release what is returned. */
const struct served *models_find(struct models *m, const char *name, unsigned can);
void models_release(struct models *m, const struct served *s);

/* Appends the answer to /v1/models. */
void models_list(struct models *m, struct buf *out);

#endif

/* A resident embedding model: llm-embed --listen, and its clients.
 *
 * A client connects to a Unix socket of bytes, writes tokens(5), shuts down its side, and reads
 * vectors(5), as from llm-embed's stdin and stdout. The lines of all clients that are there run in
 * the same batches, which changes no bit.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_EMBED_LISTEN_H
#define STAGES_EMBED_LISTEN_H

#include "stages/embed_batch.h"
#include "stages/embed_out.h"
#include "stages/listen_socket.h"

enum { EMBED_LISTEN_CLIENTS = 256 };

/* Serves clients until a signal ends the program. A client that does not read its vectors is not
 * read from, and costs others no time. Returns -1 with e set: EXIT_DATA, EXIT_SYSTEM. */
int stage_embed_listen(const struct embed_job *job, const struct listen_socket *socket,
                       struct err *e);

/* Connects to the engine at path. -1: EXIT_NO_INPUT, no engine listens there; EXIT_SYSTEM. */
int embed_connect(const char *path, struct err *e);

/* Sends fd's bytes to the engine, and writes what comes back. *code: as stage_embed's. */
int stage_embed_client(int engine, bool json, int fd, FILE *out, int *code, struct err *e);

#endif

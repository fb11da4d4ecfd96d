/* The return path: requests from a sampler back to llm-forward, over a Unix socket that the stream
 * header names.
 *
 * The server listens in a fresh 0700 folder ($XDG_RUNTIME_DIR, else $TMPDIR, else /tmp), accepts
 * one peer of the same user that knows the nonce, and removes socket and folder at once; a small
 * child process removes them too if the server is killed before that. A peer says hello as one who
 * takes the path, or as one who declines it. A decline counts at once where it comes from the
 * reader of the server's own stdout pipe (the hello carries the device and inode of the peer's
 * stdin), otherwise after one second without a taker (tee with two readers).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_RETURN_H
#define WIRE_RETURN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/logits.h"

enum {
    RETURN_MAX_IDS = 1 << 24,    // most ids of one request
    RETURN_FIRST_FORK = 1 << 30, // lines of the input have lower numbers, forks this or higher ones
};

enum request_type {
    REQUEST_EXTEND =
        1, // forget what seq has past pos, append ids, send logits of the last `want` of them
    REQUEST_FORK = 2,  // seq becomes a copy of from (up to pos ids of it); seq must not be open
    REQUEST_CLOSE = 3, // seq is done with
};

struct request {
    enum request_type type;
    uint32_t seq, pos, want, from;
    const uint32_t *ids; // [n_ids], good until the next call
    uint32_t n_ids;
};

/* Server */
enum return_state { RETURN_WAITING, RETURN_TAKEN, RETURN_DECLINED, RETURN_GONE };
struct return_server;

/* Listens, and fills h->address and h->nonce. Call before any thread is started (it forks the
 * cleaner). */
struct return_server *return_listen(struct logits_header *h, struct err *e);
int return_poll_fd(
    const struct return_server *s); // readable where return_serve has something to do; -1: none
int return_timeout_ms(
    const struct return_server *s); // when to call return_serve at the latest; -1: never
/* Does what is due without waiting: accepts, checks hellos, reads what has come. -1 on a malformed
 * message. */
int return_serve(struct return_server *s, struct err *e);
enum return_state return_state(const struct return_server *s);
bool return_request(struct return_server *s,
                    struct request *r); // the next whole request read by return_serve
void return_server_free(struct return_server *s);

/* Client */
struct return_client;
/* NULL with e set where nobody answers (EXIT_NO_INPUT for a dead or empty address: a replayed
 * stream). */
struct return_client *return_connect(const struct logits_header *h, int stdin_fd, struct err *e);
void return_decline(const struct logits_header *h, int stdin_fd); // a dead address is no error
/* Sends, waiting for room only while stdin_fd has nothing to read: the server does not read
 * requests while it writes logits. What is left then goes with the next return_send, or with
 * return_flush, which is called before each logits_next. */
int return_send(struct return_client *c, const struct request *r, struct err *e);
int return_flush(struct return_client *c, struct err *e);
int return_client_fd(
    const struct return_client *c); // becomes readable (end) when the server is gone
void return_client_free(struct return_client *c);

#endif

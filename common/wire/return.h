/* The return path: requests from a sampler back to llm-forward, over a Unix socket that the stream
 * header names.
 *
 * The server listens in a new 0700 folder ($XDG_RUNTIME_DIR, else $TMPDIR, else /tmp). It accepts
 * one peer of the same user that knows the nonce, and then removes socket and folder. If the server
 * is killed before that, a small child process removes them. A peer's hello says that it takes the
 * path or that it declines it. The hello carries the device and inode of the peer's stdin: a
 * decline by the reader of the server's own stdout pipe counts at once. Any other decline counts
 * after one second in which nobody took the path (tee with two readers).
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
    // Forget what seq has past pos, append ids, send logits of the last `want` of them.
    REQUEST_EXTEND = 1,
    REQUEST_FORK = 2,  // seq becomes a copy of the first pos ids of `from`; seq must not be open
    REQUEST_CLOSE = 3, // nothing more will be requested of seq
};

struct request {
    enum request_type type;
    uint32_t seq, pos, want, from;
    const uint32_t *ids; // [n_ids], valid until the next call
    uint32_t n_ids;
};

/* Server */
enum return_state { RETURN_WAITING, RETURN_TAKEN, RETURN_DECLINED, RETURN_GONE };
struct return_server;

/* Listens, and fills h->address and h->nonce. Forks the cleaner: call it before any thread is
 * started. */
struct return_server *return_listen(struct logits_header *h, struct err *e);

/* For poll loops: the descriptor that is readable when return_serve has work, or -1 for none; and
 * after how many milliseconds return_serve must be called at the latest, or -1 for never. */
int return_poll_fd(const struct return_server *s);
int return_timeout_ms(const struct return_server *s);

/* For a server in another process, which this one listens for: does what is due until the path is
 * taken or declined, but reads no request. */
int return_meet(struct return_server *s, struct err *e);
/* Once the path is taken: the connected peer, which is the caller's from now on. */
int return_give_peer(struct return_server *s);
/* The other process's server. It is RETURN_WAITING until it has a peer, or is told that there is
 * none. */
struct return_server *return_adopt(void);
void return_adopt_peer(struct return_server *s, int peer); // owned by s
void return_adopt_none(struct return_server *s);

/* Does what is due, without waiting: accepts callers, checks hellos, reads requests. -1 on a
 * malformed message, or if the system refuses. */
int return_serve(struct return_server *s, struct err *e);
enum return_state return_state(const struct return_server *s);

/* The next complete request that return_serve has read; false if there is none. */
bool return_request(struct return_server *s, struct request *r);
void return_server_free(struct return_server *s);

/* Client */
struct return_client;

/* NULL with e set if nobody answers (EXIT_NO_INPUT for a dead or empty address, as in a recorded
 * stream). stdin_fd is the descriptor that the stream is read from. */
struct return_client *return_connect(const struct logits_header *h, int stdin_fd, struct err *e);
/* The client of a path whose two ends were connected without an address. peer, a connected socket,
 * is then the client's. */
struct return_client *return_client_of(int peer, int stdin_fd);
void return_decline(const struct logits_header *h, int stdin_fd); // a dead address is no error

/* Sends a request. Waits for room only while stdin_fd has nothing to read, because the server does
 * not read requests while it writes logits. The rest is sent by the next return_send, or by
 * return_flush, which is to be called before each logits_next. */
int return_send(struct return_client *c, const struct request *r, struct err *e);
int return_flush(struct return_client *c, struct err *e);
void return_client_free(struct return_client *c);

#endif

/* The client's side of a resident llm-forward: see resident_client.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // struct ucred
#endif
#include "stages/resident_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "stages/resident_list.h"
#include "stages/run_folder.h"
#include "wire/passing.h"
#include "wire/peer.h"

/* ---- Connecting ---- */

int resident_connect(const char *path, bool group, struct err *e) {
    struct sockaddr_un sa;
    uid_t who;
    if (peer_address(&sa, path) != 0)
        return err_set(e, EXIT_USAGE, "the socket's path has more than %zu bytes: %s",
                       sizeof sa.sun_path - 1, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (fd < 0 || peer_set_flags(fd, false) != 0) {
        err_errno(e, EXIT_SYSTEM, "cannot make a socket");
    } else if (peer_connect(fd, &sa, run_folder_has(path)) != 0) { // --idle may have ended it
        err_errno(e, errno == ENOENT || errno == ENOTDIR ? EXIT_NO_INPUT : EXIT_SYSTEM,
                  "no engine listens at %s", path);
    } else if (!group && (!peer_user(fd, &who) || (who != geteuid() && who != 0))) {
        err_set(e, EXIT_SYSTEM, "the engine belongs to another user (--group: use it): %s", path);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- Asking ---- */

static int find_model(struct control *c, const char *folder, struct err *e) {
    struct stat st;
    if (stat(folder, &st) != 0)
        return err_errno(e, EXIT_NO_INPUT, "cannot examine %s", folder);
    c->flags |= CONTROL_MODEL;
    c->model_dev = (uint64_t)st.st_dev;
    c->model_ino = (uint64_t)st.st_ino;
    return 0;
}

static int fill(struct control *c, const struct resident_ask *ask, struct err *e) {
    *c = (struct control){.type = CONTROL_ASK, .batch = ask->batch, .context = ask->context};
    c->flags = (ask->all_logits ? CONTROL_ALL : 0u) | (ask->hidden ? CONTROL_HIDDEN : 0u) |
               (ask->layers ? CONTROL_LAYERS : 0u) | (ask->precise ? CONTROL_PRECISE : 0u) |
               (ask->returns ? CONTROL_RETURN : 0u) | (ask->report ? CONTROL_REPORT : 0u);
    c->device = str_of(ask->device ? ask->device : "");
    c->layers = str_of(ask->layers ? ask->layers : "");
    c->in_name = str_of(ask->in_name ? ask->in_name : "stdin");
    if (ask->path) {
        memcpy(c->address, ask->path->address, sizeof c->address);
        memcpy(c->nonce, ask->path->nonce, sizeof c->nonce);
    }
    if (ask->verify)
        c->flags |= CONTROL_VERIFIED;
    if (ask->verify && resident_list_hash(c->list, ask->verify, e) != 0)
        return -1;
    return ask->model ? find_model(c, ask->model, e) : 0;
}

static int lost(struct err *e) {
    return err_set(e, EXIT_IO, "the engine has ended before it had answered");
}

/* Sends a message; waits where the engine has not read earlier ones. */
static int send_message(int fd, const struct control *c, const int *fds, size_t n_fds,
                        struct err *e) {
    struct buf bytes = {0};
    int rc = control_put(&bytes, c, e);
    while (rc == 0 && !passing_send(fd, bytes.p, bytes.n, fds, n_fds)) {
        if (errno == EPIPE || errno == ECONNRESET)
            rc = lost(e);
        else if (errno != EAGAIN && errno != EWOULDBLOCK)
            rc = err_errno(e, EXIT_SYSTEM, "cannot send to the engine");
        else
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
    }
    buf_free(&bytes);
    return rc;
}

int resident_ask(int fd, const struct resident_ask *ask, int in_fd, int out_fd, struct err *e) {
    const int fds[2] = {in_fd, out_fd};
    struct control c;
    return fill(&c, ask, e) != 0 ? -1 : send_message(fd, &c, fds, 2, e);
}

int resident_take(int fd, int peer, struct err *e) {
    struct control c = {.type = peer >= 0 ? CONTROL_TAKEN : CONTROL_DECLINED};
    return send_message(fd, &c, &peer, peer >= 0 ? 1 : 0, e);
}

/* ---- Answers ---- */

int resident_hear(int fd, struct resident_answer *a, struct err *e) {
    uint8_t bytes[CONTROL_MAX_BYTES];
    int fds[PASSING_MAX];
    size_t n_fds;
    struct control c;
    a->event = RESIDENT_NOTHING;
    ssize_t n = passing_receive(fd, bytes, sizeof bytes, fds, &n_fds);
    while (n_fds > 0)
        close(fds[--n_fds]);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n <= 0)
        return lost(e);
    if (control_get(&c, bytes, (size_t)n, e) != 0)
        return -1;
    a->event = c.type == CONTROL_WARN             ? RESIDENT_WARNED
               : c.type == CONTROL_NOTE           ? RESIDENT_NOTED
               : c.type == CONTROL_END && !c.left ? RESIDENT_ENDED
               : c.type == CONTROL_END && c.left  ? RESIDENT_LEFT
                                                  : RESIDENT_NOTHING;
    a->code = (int)(c.code & 0xff);
    memcpy(a->text, c.text.p ? c.text.p : "", c.text.n);
    a->text[c.text.n] = '\0';
    return 0;
}

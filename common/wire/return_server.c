/* The return path's server, in llm-forward: see return.h; the messages' bytes are in logits(5).
 *
 * The server reads from one peer at a time, until that peer has sent its hello or a second has
 * passed. The others wait in the kernel's queue, so there is always one descriptor to poll.
 * Requests are collected in a buffer and given out when they are complete and checked.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/return.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/leftover.h"
#include "base/mem.h"
#include "base/progress.h"
#include "wire/bytes.h"
#include "wire/return_private.h"

static const double hello_seconds = 1.0, decline_seconds = 1.0;

struct return_server {
    enum return_state state;
    bool adopted;        // another process listens
    char *folder, *path; // NULL once removed
    int listener, peer;  // -1: none; peer has said hello only when state is RETURN_TAKEN
    struct cleaner cleaner;
    uint8_t nonce[LOGITS_NONCE_BYTES];
    double peer_until;    // when the peer must have said hello
    double decline_until; // when a decline counts; 0: nobody has declined
    uint8_t hello[HELLO_BYTES];
    size_t hello_n; // bytes of hello that have come
    struct buf in;  // requests that have come
    size_t taken;   // in.p[0 .. taken) has been given out
    size_t whole;   // in.p[taken .. whole) is complete and checked
};

/* Removes socket and folder, or lets the cleaner do it where a sandbox forbids it, and ends the
 * cleaner. From then on connections are refused. */
static void remove_socket(struct return_server *s) {
    if (s->listener >= 0)
        close(s->listener);
    s->listener = -1;
    if (s->path) {
        leftover_drop(s->path);
        unlink(s->path);
    }
    if (s->folder) {
        leftover_drop(s->folder);
        rmdir(s->folder);
    }
    free(s->path);
    free(s->folder);
    s->path = s->folder = NULL;
    cleaner_stop(&s->cleaner);
}

static int tell_cleaner(const struct cleaner *c, const char *folder, struct err *e) {
    char *path = path_join(folder, RETURN_SOCKET_NAME);
    int rc = cleaner_watch(c, folder, path, e);
    free(path);
    return rc;
}

/* Replaces the XXXXXX at the end of name, as mkdtemp does, and makes that folder with mode 0700.
 * The cleaner hears of each name before it is used. -1 with errno set, or with e set as well if the
 * cleaner does not hear. */
static int make_named(const struct cleaner *c, char *name, struct err *e) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (int tries = 0; tries < 100; tries++) {
        for (char *p = name + strlen(name) - 6; *p; p++)
            *p = letters[randombytes_uniform(sizeof letters - 1)];
        if (tell_cleaner(c, name, e) != 0)
            return -1;
        if (mkdir(name, 0700) == 0)
            return 0;
        int failed = errno;
        if (cleaner_watch(c, "", "", e) != 0) // it may be another's
            return -1;
        errno = failed;
        if (failed != EEXIST)
            break;
    }
    return -1;
}

/* Makes a folder whose socket's path fits into an address. Owned by the caller. */
static char *make_folder(const struct cleaner *c, struct err *e) {
    const char *places[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    struct err lost = {0};
    for (size_t i = 0; i < sizeof places / sizeof *places && !lost.code; i++) {
        if (!places[i] || places[i][0] != '/')
            continue;
        char *folder = xasprintf("%s/" RETURN_FOLDER_PREFIX "XXXXXX", places[i]);
        leftover_hold();
        bool made = strlen(folder) + sizeof "/" RETURN_SOCKET_NAME <= LOGITS_ADDRESS_BYTES &&
                    make_named(c, folder, &lost) == 0;
        int failed = errno;
        if (made)
            leftover_add(folder);
        leftover_release();
        if (made)
            return folder;
        free(folder);
        errno = failed;
    }
    if (lost.code)
        err_set(e, lost.code, "%s", lost.msg);
    else
        err_errno(e, EXIT_SYSTEM,
                  "return path: cannot make a folder in $XDG_RUNTIME_DIR, $TMPDIR or /tmp");
    return NULL;
}

static int start_listening(struct return_server *s, struct err *e) {
    struct sockaddr_un sa;
    if (cleaner_start(&s->cleaner, e) != 0)
        return -1;
    s->folder = make_folder(&s->cleaner, e);
    if (!s->folder)
        return -1;
    s->path = path_join(s->folder, RETURN_SOCKET_NAME);
    leftover_add(s->path);
    s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (s->listener < 0 || peer_set_flags(s->listener, true) != 0 ||
        peer_address(&sa, s->path) != 0 ||
        bind(s->listener, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(s->listener, 16) != 0)
        return err_errno(e, EXIT_SYSTEM, "return path: cannot listen on %s", s->path);
    return 0;
}

struct return_server *return_listen(struct logits_header *h, struct err *e) {
    struct return_server *s = xcalloc(1, sizeof *s);
    s->listener = s->peer = -1;
    s->cleaner = (struct cleaner){-1, -1};
    if (sodium_init() < 0) {
        err_set(e, EXIT_SYSTEM, "libsodium cannot start");
        free(s);
        return NULL;
    }
    if (start_listening(s, e) != 0) {
        return_server_free(s);
        return NULL;
    }
    randombytes_buf(s->nonce, sizeof s->nonce);
    memcpy(h->nonce, s->nonce, sizeof h->nonce);
    memset(h->address, 0, sizeof h->address);
    memcpy(h->address, s->path, strlen(s->path));
    return s;
}

struct return_server *return_adopt(void) {
    struct return_server *s = xcalloc(1, sizeof *s);
    s->listener = s->peer = -1;
    s->cleaner = (struct cleaner){-1, -1};
    s->adopted = true;
    return s;
}

void return_adopt_peer(struct return_server *s, int peer) {
    s->peer = peer;
    s->state = RETURN_TAKEN;
}

void return_adopt_none(struct return_server *s) {
    s->state = RETURN_DECLINED;
}

static void drop_peer(struct return_server *s) {
    if (s->peer >= 0)
        close(s->peer);
    s->peer = -1;
}

void return_server_free(struct return_server *s) {
    if (!s)
        return;
    remove_socket(s);
    drop_peer(s);
    buf_free(&s->in);
    free(s);
}

int return_poll_fd(const struct return_server *s) {
    return s->peer >= 0 ? s->peer : s->listener;
}

enum return_state return_state(const struct return_server *s) {
    return s->state;
}

int return_timeout_ms(const struct return_server *s) {
    if (s->state != RETURN_WAITING)
        return -1;
    double until = s->decline_until;
    if (s->peer >= 0 && (until == 0 || s->peer_until < until))
        until = s->peer_until;
    if (until == 0)
        return -1;
    double left = until - seconds_now();
    return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

/* Whether the hello's stdin is the other end of our own stdout pipe. */
static bool reads_our_stdout(const uint8_t *hello) {
    struct stat st;
    return fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode) &&
           (uint64_t)st.st_dev == get_u64(hello + HELLO_DEV) &&
           (uint64_t)st.st_ino == get_u64(hello + HELLO_INO);
}

/* The hello is complete: the peer takes the path, declines it, or is dropped as a stranger. */
static void judge_hello(struct return_server *s) {
    uint32_t takes = get_u32(s->hello + HELLO_TAKES);
    bool known = memcmp(s->hello, RETURN_HELLO_MAGIC, HELLO_NONCE) == 0 &&
                 sodium_memcmp(s->hello + HELLO_NONCE, s->nonce, sizeof s->nonce) == 0;
    if (known && takes == 1) {
        s->state = RETURN_TAKEN;
        remove_socket(s);
        return;
    }
    if (known && takes == 0 && reads_our_stdout(s->hello))
        s->state = RETURN_DECLINED;
    else if (known && takes == 0 && s->decline_until == 0)
        s->decline_until = seconds_now() + decline_seconds;
    drop_peer(s);
}

static bool would_wait(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

/* Accepts the next caller unless there is a peer. 0 if nobody calls. -1 with e set if the system
 * refuses: a caller that is dropped then would wait for us. */
static int next_caller(struct return_server *s, struct err *e) {
    while (s->peer < 0) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return would_wait() ? 0 : err_errno(e, EXIT_SYSTEM, "return path: cannot accept");
        if (peer_set_flags(fd, true) != 0) {
            err_errno(e, EXIT_SYSTEM, "return path: cannot accept");
            close(fd);
            return -1;
        }
        if (!peer_is_own_user(fd)) {
            close(fd);
            continue;
        }
        s->peer = fd;
        s->hello_n = 0;
        s->peer_until = seconds_now() + hello_seconds;
    }
    return 1;
}

static int hear_callers(struct return_server *s, struct err *e) {
    int rc = 1;
    while (s->state == RETURN_WAITING && (rc = next_caller(s, e)) == 1) {
        ssize_t got = read(s->peer, s->hello + s->hello_n, sizeof s->hello - s->hello_n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && would_wait()) {
            if (seconds_now() < s->peer_until)
                break;
            drop_peer(s);
        } else if (got < 0 && errno != ECONNRESET) {
            return err_errno(e, EXIT_IO, "return path: cannot read");
        } else if (got <= 0) {
            drop_peer(s);
        } else if ((s->hello_n += (size_t)got) == sizeof s->hello) {
            judge_hello(s);
        }
    }
    if (s->state == RETURN_WAITING && s->decline_until != 0 && seconds_now() >= s->decline_until)
        s->state = RETURN_DECLINED;
    if (s->state == RETURN_DECLINED) {
        drop_peer(s);
        remove_socket(s);
    }
    return rc < 0 ? -1 : 0;
}

/* Moves s->whole past the last complete request. */
static int check_requests(struct return_server *s, struct err *e) {
    size_t size = 0;
    while (s->in.n - s->whole >= RETURN_MESSAGE_HEADER) {
        if (return_message_check((const uint8_t *)s->in.p + s->whole, &size, e) != 0)
            return -1;
        if (s->in.n - s->whole < size)
            break;
        s->whole += size;
    }
    return 0;
}

/* Reads what has come, but stops once a MiB of complete requests waits to be given out. */
static int hear_requests(struct return_server *s, struct err *e) {
    if (s->taken > 0) { // only here, so that a request's ids stay valid until the next call
        memmove(s->in.p, s->in.p + s->taken, s->in.n - s->taken);
        s->in.n -= s->taken;
        s->whole -= s->taken;
        s->taken = 0;
    }
    while (s->whole < 1u << 20) {
        buf_reserve(&s->in, 1u << 16);
        // Another process may hold the socket, too, and make it wait.
        ssize_t got = recv(s->peer, s->in.p + s->in.n, s->in.cap - s->in.n - 1, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && would_wait())
            return 0;
        if (got < 0 && errno != ECONNRESET)
            return err_errno(e, EXIT_IO, "return path: cannot read");
        if (got <= 0) {
            s->state = RETURN_GONE;
            drop_peer(s);
            return 0;
        }
        s->in.n += (size_t)got;
        if (check_requests(s, e) != 0)
            return -1;
    }
    return 0;
}

int return_meet(struct return_server *s, struct err *e) {
    return s->state == RETURN_WAITING ? hear_callers(s, e) : 0;
}

int return_give_peer(struct return_server *s) {
    int peer = s->peer;
    s->peer = -1;
    return peer;
}

int return_serve(struct return_server *s, struct err *e) {
    if (!s->adopted && return_meet(s, e) != 0)
        return -1;
    return s->state == RETURN_TAKEN ? hear_requests(s, e) : 0;
}

bool return_request(struct return_server *s, struct request *r) {
    if (s->taken == s->whole)
        return false;
    s->taken += return_message_get((const uint8_t *)s->in.p + s->taken, r);
    return true;
}

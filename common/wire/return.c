/* The return path: see return.h; the messages' bytes are described in logits(5).
 *
 * Server: one peer at a time is heard until it has said hello, or a second has passed; the others
 * wait in the kernel's queue. So there is always one descriptor to poll. The cleaner is a forked
 * child that holds nothing but the read end of a pipe: its end means that the server is gone, a
 * byte that there is nothing to do. It runs in its own session, so that a signal for the whole
 * pipeline does not reach it first.
 *
 * Client: the server writes logits while it does not read requests, so a client that waited for
 * room in the socket while the stream is full would wait for ever. Requests are therefore queued
 * here, and return_send stops waiting as soon as there is something to read.
 *
 * A stream header can come from a stranger: the client connects only to a socket of the name and in
 * a folder of the kind that return_listen makes, of its own user.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // struct ucred
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE // getpeereid
#endif
#include "wire/return.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/progress.h"
#include "wire/bytes.h"

static const char hello_magic[8] = {'L', 'L', 'M', '-', 'R', 'E', 'T', '1'};

enum { HELLO_NONCE = 8, HELLO_TAKES = 24, HELLO_DEV = 32, HELLO_INO = 40, HELLO_BYTES = 48 };

enum {
    R_TYPE = 0,
    R_SEQ = 4,
    R_POS = 8,
    R_WANT = 12,
    R_FROM = 16,
    R_IDS = 20,
    R_RESERVED = 24,
    REQUEST_BYTES = 32
};

static const char request_tag[][5] = {"", "EXTD", "FORK", "CLOS"};

#define FOLDER_PREFIX "tokpipe-"
#define SOCKET_NAME   "return"
static const double hello_seconds = 1.0, decline_seconds = 1.0;

struct return_server {
    enum return_state state;
    char *folder, *path; // NULL once removed
    int listener, peer;  // -1: none; peer has said hello only when state is RETURN_TAKEN
    int cleaner_pipe;
    pid_t cleaner;
    uint8_t nonce[LOGITS_NONCE_BYTES];
    double peer_until;    // when the peer must have said hello
    double decline_until; // when a decline counts; 0: nobody has declined
    uint8_t hello[HELLO_BYTES];
    size_t hello_n;
    struct buf in; // requests that have come
    size_t taken,
        whole; // in.p[0 .. taken) are given out, in.p[taken .. whole) are whole and checked
};

struct return_client {
    int fd, stdin_fd;
    struct buf out; // out.p[sent .. out.n) are still to be sent
    size_t sent;
};

static int set_flags(int fd, bool nonblocking) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return fcntl(fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/* Whether the other end of a connected socket belongs to our own user. */
static bool same_user(int fd) {
#if defined(SO_PEERCRED) && defined(__linux__)
    struct ucred who;
    socklen_t n = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && n == sizeof who &&
           who.uid == geteuid();
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || \
    defined(__DragonFly__)
    uid_t uid;
    gid_t gid;
    return getpeereid(fd, &uid, &gid) == 0 && uid == geteuid();
#else
    (void)fd; // the 0700 folder and the nonce must do
    return true;
#endif
}

/* ---- The cleaner ---- */

/* Every descriptor but `keep`: a cleaner that held the end of a pipe would keep its reader waiting.
 */
static void close_all_but(int keep) {
    DIR *d = opendir("/dev/fd");
    if (d) {
        struct dirent *entry;
        while ((entry = readdir(d))) {
            uint64_t fd;
            if (parse_u64(str_of(entry->d_name), 0, INT32_MAX, &fd) && (int)fd != keep &&
                (int)fd != dirfd(d))
                close((int)fd);
        }
        closedir(d);
        return;
    }
    for (int fd = 0; fd < 1024; fd++)
        if (fd != keep)
            close(fd);
}

static NORETURN void run_cleaner(int pipe_end, const char *folder, const char *path) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    setsid();
    close_all_but(pipe_end);
    char byte;
    ssize_t got;
    do
        got = read(pipe_end, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        unlink(path);
        rmdir(folder);
    }
    _exit(0);
}

static int start_cleaner(struct return_server *s, struct err *e) {
    int ends[2];
    if (pipe(ends) != 0)
        return err_errno(e, EXIT_SYSTEM, "return path: no pipe");
    set_flags(ends[1], false);
    s->cleaner = fork();
    if (s->cleaner == 0)
        run_cleaner(ends[0], s->folder, s->path);
    close(ends[0]);
    s->cleaner_pipe = ends[1];
    return s->cleaner < 0 ? err_errno(e, EXIT_SYSTEM, "return path: cannot fork") : 0;
}

/* Socket and folder go, and the cleaner with them: after this, connections are refused. */
static void remove_socket(struct return_server *s) {
    if (s->listener >= 0)
        close(s->listener);
    s->listener = -1;
    if (s->path)
        unlink(s->path);
    if (s->folder)
        rmdir(s->folder);
    free(s->path);
    free(s->folder);
    s->path = s->folder = NULL;
    if (s->cleaner_pipe >= 0) {
        ssize_t ignored =
            write(s->cleaner_pipe, "", 1); // without it the cleaner would find nothing to remove
        (void)ignored;
        close(s->cleaner_pipe);
        s->cleaner_pipe = -1;
    }
    if (s->cleaner > 0)
        while (waitpid(s->cleaner, NULL, 0) < 0 && errno == EINTR)
            ;
    s->cleaner = -1;
}

/* ---- Server ---- */

/* A fresh folder whose socket's path fits into an address. */
static char *make_folder(struct err *e) {
    const char *places[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!places[i] || places[i][0] != '/')
            continue;
        char *folder = xasprintf("%s/" FOLDER_PREFIX "XXXXXX", places[i]);
        if (strlen(folder) + sizeof "/" SOCKET_NAME <= LOGITS_ADDRESS_BYTES &&
            mkdtemp(folder)) // mode 0700
            return folder;
        free(folder);
    }
    err_errno(e, EXIT_SYSTEM,
              "return path: cannot make a folder in $XDG_RUNTIME_DIR, $TMPDIR or /tmp");
    return NULL;
}

static int socket_address(struct sockaddr_un *sa, const char *path) {
    memset(sa, 0, sizeof *sa);
    sa->sun_family = AF_UNIX;
    size_t n = strlen(path);
    if (n >= sizeof sa->sun_path)
        return -1;
    memcpy(sa->sun_path, path, n);
    return 0;
}

static int start_listening(struct return_server *s, struct err *e) {
    struct sockaddr_un sa;
    s->folder = make_folder(e);
    if (!s->folder)
        return -1;
    s->path = path_join(s->folder, SOCKET_NAME);
    s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (s->listener < 0 || set_flags(s->listener, true) != 0 || socket_address(&sa, s->path) != 0 ||
        bind(s->listener, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(s->listener, 16) != 0)
        return err_errno(e, EXIT_SYSTEM, "return path: cannot listen on %s", s->path);
    return start_cleaner(s, e);
}

struct return_server *return_listen(struct logits_header *h, struct err *e) {
    struct return_server *s = xcalloc(1, sizeof *s);
    s->listener = s->peer = s->cleaner_pipe = -1;
    s->cleaner = -1;
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

/* A whole hello: the peer takes the path, declines it, or is nobody we know. */
static void judge_hello(struct return_server *s) {
    uint32_t takes = get_u32(s->hello + HELLO_TAKES);
    bool known = memcmp(s->hello, hello_magic, sizeof hello_magic) == 0 &&
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

/* Takes the next caller if nobody is being heard. False where there is none. */
static bool next_caller(struct return_server *s) {
    while (s->peer < 0) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return false;
        if (set_flags(fd, true) != 0 || !same_user(fd)) {
            close(fd);
            continue;
        }
        s->peer = fd;
        s->hello_n = 0;
        s->peer_until = seconds_now() + hello_seconds;
    }
    return true;
}

static void hear_callers(struct return_server *s) {
    while (s->state == RETURN_WAITING && next_caller(s)) {
        ssize_t got = read(s->peer, s->hello + s->hello_n, sizeof s->hello - s->hello_n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (seconds_now() < s->peer_until)
                break;
            drop_peer(s);
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
}

/* The length of the request whose header is at p, or -1 where it is none. */
static int request_size(const uint8_t *p, size_t *size, struct err *e) {
    bool extend = memcmp(p, request_tag[REQUEST_EXTEND], 4) == 0;
    if (!extend && memcmp(p, request_tag[REQUEST_FORK], 4) != 0 &&
        memcmp(p, request_tag[REQUEST_CLOSE], 4) != 0)
        return err_set(e, EXIT_DATA, "return path: a request is of no known type");
    uint32_t n_ids = get_u32(p + R_IDS), want = get_u32(p + R_WANT);
    if (n_ids > (extend ? RETURN_MAX_IDS : 0))
        return err_set(e, EXIT_DATA, "return path: a request has %" PRIu32 " ids", n_ids);
    if (want > n_ids)
        return err_set(e, EXIT_DATA, "return path: a request wants %" PRIu32 " of %" PRIu32 " rows",
                       want, n_ids);
    if (get_u64(p + R_RESERVED) != 0)
        return err_set(e, EXIT_DATA, "return path: a request's reserved bytes are not zero");
    *size = REQUEST_BYTES + n_ids * sizeof(uint32_t);
    return 0;
}

/* Moves s->whole behind the last request that has come whole. */
static int check_requests(struct return_server *s, struct err *e) {
    size_t size = 0;
    while (s->in.n - s->whole >= REQUEST_BYTES) {
        if (request_size((const uint8_t *)s->in.p + s->whole, &size, e) != 0)
            return -1;
        if (s->in.n - s->whole < size)
            break;
        s->whole += size;
    }
    return 0;
}

/* Reads what has come; once a MiB of whole requests waits to be fetched, no more. */
static int hear_requests(struct return_server *s, struct err *e) {
    if (s->taken > 0) { // moved only here, so that a request's ids stay until the next call
        memmove(s->in.p, s->in.p + s->taken, s->in.n - s->taken);
        s->in.n -= s->taken;
        s->whole -= s->taken;
        s->taken = 0;
    }
    while (s->whole < 1u << 20) {
        buf_reserve(&s->in, 1u << 16);
        ssize_t got = read(s->peer, s->in.p + s->in.n, s->in.cap - s->in.n - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
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

int return_serve(struct return_server *s, struct err *e) {
    if (s->state == RETURN_WAITING)
        hear_callers(s);
    return s->state == RETURN_TAKEN ? hear_requests(s, e) : 0;
}

bool return_request(struct return_server *s, struct request *r) {
    if (s->taken == s->whole)
        return false;
    const uint8_t *p = (const uint8_t *)s->in.p + s->taken;
    *r = (struct request){.type = REQUEST_EXTEND};
    while (memcmp(p, request_tag[r->type], 4) != 0) // one of them fits: check_requests has seen it
        r->type++;
    r->seq = get_u32(p + R_SEQ);
    r->pos = get_u32(p + R_POS);
    r->want = get_u32(p + R_WANT);
    r->from = get_u32(p + R_FROM);
    r->n_ids = get_u32(p + R_IDS);
    r->ids = (const uint32_t
                  *)(const void *)(p + REQUEST_BYTES); // aligned: requests are multiples of 4 bytes
    s->taken += REQUEST_BYTES + r->n_ids * sizeof *r->ids;
    return true;
}

/* ---- Client ---- */

/* Only what return_listen could have made: PLACE/tokpipe-XXXXXX/return in a folder of our own that
 * is closed to others. A recorded stream must not be able to name another program's socket. */
static bool trusted_address(const char *path) {
    const char *name = strrchr(path, '/');
    if (path[0] != '/' || !name || strcmp(name, "/" SOCKET_NAME) != 0)
        return false;
    char *folder = xstrndup(path, (size_t)(name - path));
    const char *base = strrchr(folder, '/');
    struct stat st;
    bool ok = base && strncmp(base + 1, FOLDER_PREFIX, strlen(FOLDER_PREFIX)) == 0 &&
              lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
              (st.st_mode & 077) == 0;
    free(folder);
    return ok;
}

/* Connects and says hello. Returns the descriptor, or -1. */
static int call(const struct logits_header *h, int stdin_fd, bool takes, struct err *e) {
    struct sockaddr_un sa;
    struct stat st = {0};
    uint8_t hello[HELLO_BYTES] = {0};
    if (!h->address[0])
        return err_set(e, EXIT_NO_INPUT, "the stream has no return path");
    if (!trusted_address(h->address) || socket_address(&sa, h->address) != 0)
        return err_set(e, EXIT_NO_INPUT, "the return path is gone: %s", h->address);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || set_flags(fd, false) != 0) {
        err_errno(e, EXIT_SYSTEM, "no socket for the return path");
        goto fail;
    }
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        err_errno(e, EXIT_NO_INPUT, "the return path is gone: %s", h->address);
        goto fail;
    }
    if (!same_user(fd)) {
        err_set(e, EXIT_NO_INPUT, "the return path belongs to another user: %s", h->address);
        goto fail;
    }
    memcpy(hello, hello_magic, sizeof hello_magic);
    memcpy(hello + HELLO_NONCE, h->nonce, sizeof h->nonce);
    put_u32(hello + HELLO_TAKES, takes);
    if (fstat(stdin_fd, &st) == 0) {
        put_u64(hello + HELLO_DEV, (uint64_t)st.st_dev);
        put_u64(hello + HELLO_INO, (uint64_t)st.st_ino);
    }
    if (send(fd, hello, sizeof hello, MSG_NOSIGNAL) !=
        (ssize_t)sizeof hello) { // a fresh socket has room
        err_errno(e, EXIT_NO_INPUT, "the return path is gone: %s", h->address);
        goto fail;
    }
    return fd;
fail:
    if (fd >= 0)
        close(fd);
    return -1;
}

struct return_client *return_connect(const struct logits_header *h, int stdin_fd, struct err *e) {
    int fd = call(h, stdin_fd, true, e);
    if (fd < 0)
        return NULL;
    struct return_client *c = xcalloc(1, sizeof *c);
    c->fd = fd;
    c->stdin_fd = stdin_fd;
    return c;
}

void return_decline(const struct logits_header *h, int stdin_fd) {
    int fd = call(h, stdin_fd, false, NULL);
    if (fd >= 0)
        close(fd);
}

void return_client_free(struct return_client *c) {
    if (!c)
        return;
    close(c->fd);
    buf_free(&c->out);
    free(c);
}

int return_client_fd(const struct return_client *c) {
    return c->fd;
}

/* Sends what goes without waiting. */
static int send_some(struct return_client *c, struct err *e) {
    while (c->sent < c->out.n) {
        ssize_t n =
            send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            c->sent += (size_t)n;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        else if (errno != EINTR)
            return err_errno(e, EXIT_IO, "llm-forward is gone: return path");
    }
    buf_clear(&c->out);
    c->sent = 0;
    return 0;
}

int return_flush(struct return_client *c, struct err *e) {
    for (;;) {
        if (send_some(c, e) != 0)
            return -1;
        if (c->out.n == 0)
            return 0;
        struct pollfd p[2] = {{.fd = c->fd, .events = POLLOUT},
                              {.fd = c->stdin_fd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return err_errno(e, EXIT_SYSTEM, "cannot poll the return path");
        if (p[1].revents)
            return 0;
    }
}

int return_send(struct return_client *c, const struct request *r, struct err *e) {
    uint8_t head[REQUEST_BYTES] = {0};
    if (r->type < REQUEST_EXTEND || r->type > REQUEST_CLOSE || r->n_ids > RETURN_MAX_IDS)
        return err_set(e, EXIT_BUG, "return path: a request of type %d with %" PRIu32 " ids",
                       (int)r->type, r->n_ids);
    memcpy(head + R_TYPE, request_tag[r->type], 4);
    put_u32(head + R_SEQ, r->seq);
    put_u32(head + R_POS, r->pos);
    put_u32(head + R_WANT, r->want);
    put_u32(head + R_FROM, r->from);
    put_u32(head + R_IDS, r->n_ids);
    buf_add(&c->out, head, sizeof head);
    buf_add(&c->out, r->ids, r->n_ids * sizeof *r->ids);
    return return_flush(c, e);
}

/* The return path: which peers are accepted, which requests are read, and that nothing stays on the
 * disk, however the server ends.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/return.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/io.h"
#include "base/progress.h"
#include "wire/bytes.h"
#include "wire/return_private.h"

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static char *folder_of(const struct logits_header *h) {
    return xstrndup(h->address, (size_t)(strrchr(h->address, '/') - h->address));
}

/* Serves until the state is another than `from`, for at most `seconds`. */
static enum return_state serve_while(struct return_server *s, enum return_state from,
                                     double seconds) {
    double until = seconds_now() + seconds;
    while (return_state(s) == from && seconds_now() < until) {
        struct pollfd p = {.fd = return_poll_fd(s), .events = POLLIN};
        int wait_ms = return_timeout_ms(s);
        poll(&p, 1, wait_ms >= 0 && wait_ms < 100 ? wait_ms : 100);
        if (return_serve(s, NULL) != 0)
            break;
    }
    return return_state(s);
}

static int no_children(void) {
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

/* A client that takes the path and whose descriptor the test can use. */
static int raw_client(const struct logits_header *h) {
    struct sockaddr_un sa;
    uint8_t hello[HELLO_BYTES] = RETURN_HELLO_MAGIC;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(hello + HELLO_NONCE, h->nonce, sizeof h->nonce);
    put_u32(hello + HELLO_TAKES, 1);
    CHECK(peer_address(&sa, h->address) == 0);
    CHECK(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0);
    CHECK(write_full(fd, hello, sizeof hello, NULL) == 0);
    return fd;
}

static void taken(void) {
    struct logits_header h = {0};
    struct stat st;
    struct return_server *s = return_listen(&h, NULL);
    char *folder = folder_of(&h);
    CHECK(stat(folder, &st) == 0 && (st.st_mode & 0777) == 0700);
    CHECK(exists(h.address));
    CHECK_INT(return_timeout_ms(s), -1);
    struct return_client *c = return_connect(&h, STDIN_FILENO, NULL);
    CHECK(c != NULL);
    CHECK_INT(serve_while(s, RETURN_WAITING, 5), RETURN_TAKEN);
    CHECK(!exists(h.address) && !exists(folder));
    CHECK(no_children());

    static const uint32_t ids[] = {5, 6, 7};
    struct request r;
    CHECK(!return_request(s, &r));
    CHECK(return_send(c, &(struct request){REQUEST_EXTEND, 1, 10, 2, 0, ids, 3}, NULL) == 0);
    CHECK(return_send(c, &(struct request){.type = REQUEST_FORK, .seq = 9, .from = 1, .pos = 4},
                      NULL) == 0);
    CHECK(return_send(c, &(struct request){.type = REQUEST_CLOSE, .seq = 1}, NULL) == 0);
    CHECK(return_serve(s, NULL) == 0);
    CHECK(return_request(s, &r) && r.type == REQUEST_EXTEND && r.seq == 1 && r.pos == 10 &&
          r.want == 2);
    CHECK(r.n_ids == 3 && r.ids[0] == 5 && r.ids[2] == 7);
    CHECK(return_request(s, &r) && r.type == REQUEST_FORK && r.seq == 9 && r.from == 1 &&
          r.pos == 4);
    CHECK(return_request(s, &r) && r.type == REQUEST_CLOSE && r.seq == 1 && r.n_ids == 0);
    CHECK(!return_request(s, &r));

    CHECK(return_send(c, &(struct request){.type = REQUEST_CLOSE, .seq = 2}, NULL) == 0);
    return_client_free(c);
    CHECK_INT(serve_while(s, RETURN_TAKEN, 5), RETURN_GONE);
    CHECK(return_request(s, &r) && r.seq == 2); // a request before the end counts
    CHECK_INT(return_poll_fd(s), -1);
    return_server_free(s);
    free(folder);
}

static void nobody_came(void) {
    struct logits_header h = {0};
    struct return_server *s = return_listen(&h, NULL);
    char *folder = folder_of(&h);
    CHECK_INT(serve_while(s, RETURN_WAITING, 0.2), RETURN_WAITING);
    return_server_free(s);
    CHECK(!exists(folder));
    CHECK(no_children());
    struct err e = {0};
    CHECK(return_connect(&h, STDIN_FILENO, &e) == NULL && e.code == EXIT_NO_INPUT);
    return_decline(&h, STDIN_FILENO); // a dead address is no error
    free(folder);
}

static void wrong_nonce(void) {
    struct logits_header h = {0}, wrong;
    struct return_server *s = return_listen(&h, NULL);
    wrong = h;
    wrong.nonce[15] ^= 1;
    int liar = raw_client(&wrong);
    CHECK_INT(serve_while(s, RETURN_WAITING, 0.3), RETURN_WAITING);
    struct pollfd p = {.fd = liar, .events = POLLIN};
    CHECK(poll(&p, 1, 1000) == 1 && (p.revents & POLLHUP)); // it was dropped
    struct return_client *c = return_connect(&h, STDIN_FILENO, NULL);
    CHECK_INT(serve_while(s, RETURN_WAITING, 5), RETURN_TAKEN);
    close(liar);
    return_client_free(c);
    return_server_free(s);
}

/* A silent caller is dropped after a second; then the next one is accepted. */
static void silent_caller(void) {
    struct logits_header h = {0};
    struct return_server *s = return_listen(&h, NULL);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, h.address, sizeof sa.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && write(fd, "LLM-", 4) == 4);
    struct return_client *c = return_connect(&h, STDIN_FILENO, NULL);
    double began = seconds_now();
    CHECK_INT(serve_while(s, RETURN_WAITING, 10), RETURN_TAKEN);
    CHECK(seconds_now() - began > 0.9);
    close(fd);
    return_client_free(c);
    return_server_free(s);
}

/* A decline by the reader of our stdout counts at once; by another process, after a second in which
 * nobody takes the path. */
static void declined(void) {
    int ends[2], saved = dup(STDOUT_FILENO);
    struct logits_header h = {0};
    CHECK(saved >= 0 && pipe(ends) == 0);
    fflush(stdout);
    dup2(ends[1], STDOUT_FILENO);
    struct return_server *s = return_listen(&h, NULL);
    return_decline(&h, ends[0]);
    double began = seconds_now();
    enum return_state reader = serve_while(s, RETURN_WAITING, 5);
    double reader_took = seconds_now() - began;
    bool gone = !exists(h.address);
    return_server_free(s);

    s = return_listen(&h, NULL);
    return_decline(&h, STDIN_FILENO);
    began = seconds_now();
    enum return_state other = serve_while(s, RETURN_WAITING, 5);
    double other_took = seconds_now() - began;
    return_server_free(s);

    s = return_listen(&h, NULL); // a client that takes the path in time overrides a decline
    return_decline(&h, STDIN_FILENO);
    serve_while(s, RETURN_WAITING, 0.1);
    struct return_client *c = return_connect(&h, STDIN_FILENO, NULL);
    enum return_state both = serve_while(s, RETURN_WAITING, 5);
    return_client_free(c);
    return_server_free(s);

    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(ends[0]);
    close(ends[1]);
    CHECK_INT(reader, RETURN_DECLINED);
    CHECK(gone);
    CHECK(reader_took < 0.9);
    CHECK_INT(other, RETURN_DECLINED);
    CHECK(other_took > 0.9);
    CHECK_INT(both, RETURN_TAKEN);
}

/* A killed server leaves no folder; the cleaner holds none of its descriptors and ends with it. */
static void killed(void) {
    int out[2], held[2];
    struct logits_header h = {0};
    CHECK(pipe(out) == 0 && pipe(held) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(held[0]);
        if (!return_listen(&h, NULL) || write_full(out[1], &h, sizeof h, NULL) != 0)
            _exit(1);
        pause();
        _exit(0);
    }
    close(held[1]);
    size_t got;
    CHECK(read_full(out[0], &h, sizeof h, &got, NULL) == 0 && got == sizeof h);
    char *folder = folder_of(&h);
    CHECK(exists(folder));
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
    struct pollfd p = {.fd = held[0], .events = POLLIN};
    CHECK(poll(&p, 1, 2000) == 1 && (p.revents & POLLHUP));
    for (double until = seconds_now() + 2; exists(folder) && seconds_now() < until;)
        poll(NULL, 0, 10);
    CHECK(!exists(folder));
    free(folder);
    close(out[0]);
    close(out[1]);
    close(held[0]);
}

static void malformed(void) {
    static const uint32_t ids[] = {1};
    static const struct request good = {REQUEST_EXTEND, 0, 0, 1, 0, ids, 1};
    struct buf bytes = {0};
    CHECK(return_message_put(&bytes, &good, NULL) == 0);
    static const struct {
        size_t at;
        uint32_t value;
        const char *want;
    } changes[] = {
        {0, 0, "return path: unknown request type"},
        {12, 2, "return path: a request wants 2 of 1 rows"},
        {20, 0x7fffffff, "return path: a request has 2147483647 ids"},
        {24, 1, "return path: a request's reserved bytes are not zero"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct logits_header h = {0};
        struct return_server *s = return_listen(&h, NULL);
        int fd = raw_client(&h);
        CHECK_INT(serve_while(s, RETURN_WAITING, 5), RETURN_TAKEN);
        CHECK(write_full(fd, bytes.p, bytes.n, NULL) == 0);
        uint32_t bad[8] = {0x44545845, 0, 0, 1, 0, 1, 0, 0}; // "EXTD"
        bad[changes[i].at / 4] = changes[i].value;
        CHECK(write_full(fd, bad, sizeof bad, NULL) == 0);
        struct err e = {0};
        struct request r;
        CHECK(return_serve(s, &e) == -1 && e.code == EXIT_DATA);
        CHECK_STR(e.msg, changes[i].want);
        CHECK(return_request(s, &r) && !return_request(s, &r)); // the good one before it
        close(fd);
        return_server_free(s);
    }
    buf_free(&bytes);
}

/* A request in pieces, and one that is larger than the socket's buffer: nothing waits for ever
 * while the stream has bytes. */
static void long_requests(void) {
    struct logits_header h = {0};
    int stream[2];
    CHECK(pipe(stream) == 0);
    struct return_server *s = return_listen(&h, NULL);
    struct return_client *c = return_connect(&h, stream[0], NULL);
    CHECK_INT(serve_while(s, RETURN_WAITING, 5), RETURN_TAKEN);
    uint32_t n = 1 << 20, *ids = xcalloc(n, sizeof *ids);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = i;
    CHECK(write(stream[1], "x", 1) ==
          1); // the server writes and does not read: the client must come back
    CHECK(return_send(c, &(struct request){REQUEST_EXTEND, 3, 0, 1, 0, ids, n}, NULL) == 0);
    struct request r = {0};
    for (int i = 0; i < 1000 && !return_request(s, &r); i++) {
        CHECK(return_flush(c, NULL) == 0);
        CHECK(return_serve(s, NULL) == 0);
    }
    CHECK(r.n_ids == n && memcmp(r.ids, ids, n * sizeof *ids) == 0);
    free(ids);
    return_server_free(s);
    struct err e = {0};
    CHECK(return_send(c, &(struct request){.type = REQUEST_CLOSE}, &e) == -1 && e.code == EXIT_IO);
    return_client_free(c);
    close(stream[0]);
    close(stream[1]);
}

/* A stream that names a socket that is not a return path is not followed. */
static void strange_addresses(void) {
    static const char *const addresses[] = {"", "return", "/tmp/return", "/run/docker.sock",
                                            "/tmp/tokpipe-x/other"};
    char folder[] = "/tmp/tokpipe-XXXXXX";
    struct err e = {0};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        struct logits_header h = {0};
        strcpy(h.address, addresses[i]);
        CHECK(return_connect(&h, STDIN_FILENO, &e) == NULL && e.code == EXIT_NO_INPUT);
    }
    CHECK(mkdtemp(folder) != NULL);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/return", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, 1) == 0);
    CHECK(chmod(folder, 0755) == 0); // not closed to others
    struct logits_header h = {0};
    memcpy(h.address, sa.sun_path, sizeof h.address);
    CHECK(return_connect(&h, STDIN_FILENO, &e) == NULL && e.code == EXIT_NO_INPUT);
    close(fd);
    unlink(sa.sun_path);
    rmdir(folder);
}

/* A connection of another user is refused. Only root can test it. */
static void other_user(void) {
    struct logits_header h = {0};
    struct return_server *s = return_listen(&h, NULL);
    char *folder = folder_of(&h);
    chmod(folder, 0711);
    chmod(h.address, 0666);
    pid_t child = fork();
    if (child == 0) {
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        memcpy(sa.sun_path, h.address, sizeof sa.sun_path);
        if (setuid(65534) != 0)
            _exit(1);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        char byte;
        if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0)
            _exit(2);
        ssize_t got = read(fd, &byte, 1);
        _exit(got <= 0 ? 0 : 3);
    }
    int status = -1;
    for (int i = 0; i < 50 && waitpid(child, &status, WNOHANG) == 0; i++)
        serve_while(s, RETURN_WAITING, 0.1);
    CHECK_INT(status, 0);
    CHECK_INT(return_state(s), RETURN_WAITING);
    return_server_free(s);
    free(folder);
}

int main(void) {
    unsetenv("XDG_RUNTIME_DIR"); // folders of one user, which another could not reach at all
    unsetenv("TMPDIR");
    RUN(taken);
    RUN(nobody_came);
    RUN(wrong_nonce);
    RUN(silent_caller);
    RUN(declined);
    RUN(killed);
    RUN(malformed);
    RUN(long_requests);
    RUN(strange_addresses);
    if (geteuid() == 0)
        RUN(other_user);
    else
        SKIP(other_user, "only root can become another user");
    return check_done();
}

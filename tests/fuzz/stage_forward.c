/* Fuzz entry: llm-forward's loop with prompts, a peer's hello and its requests, on a model that
 * only remembers (fake_model.h). What is written must be a whole logits(5) stream in which each row
 * of logits belongs to the ids that the stream itself has given to its sequence.
 *
 * The input: a byte of options; 4 bytes that say how much the peer sends between two polls; the
 * length of the prompts; the prompts as tokens(5); then requests, as put_request reads them.
 *
 * poll and the clock are replaced, so that a run depends on the input alone and never waits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "../lib/fake_model.h"
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"

static int fuzz_poll(struct pollfd *fds, nfds_t n, int timeout);

static double fuzz_now(void);

/* Nobody else calls. */
static int fuzz_accept(int fd, void *address, void *size) {
    (void)fd;
    (void)address;
    (void)size;
    errno = EAGAIN;
    return -1;
}

#define accept      fuzz_accept
#define poll        fuzz_poll
#define seconds_now fuzz_now
#include "engine/engine.c"
#include "engine/engine_pause.c"
#include "engine/engine_share.c"
#include "engine/engine_step.c"
#include "stages/forward.c"
#include "stages/forward_client.c"
#include "wire/return_server.c"
#undef accept
#undef poll
#undef seconds_now

static double now = 1; // in seconds

static double fuzz_now(void) {
    return now;
}

/* ---- The peer ---- */

static struct {
    int fd; // -1: it has left
    struct buf bytes;
    size_t sent;
    const uint8_t *pace; // [4]
    size_t n_polls;
    struct return_server *server;
    int stream; // whose header it must have seen
} peer;

static void peer_send(void) {
    size_t left = peer.bytes.n - peer.sent, k = peer.pace[peer.n_polls++ % 4] * (size_t)4 + 1;
    if (peer.fd < 0 || lseek(peer.stream, 0, SEEK_CUR) < LOGITS_HEADER_BYTES)
        return;
    if (left == 0) {
        close(peer.fd);
        peer.fd = -1;
        return;
    }
    k = k < left ? k : left;
    ssize_t n = send(peer.fd, peer.bytes.p + peer.sent, k, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        peer.sent += (size_t)n;
    else if (errno != EAGAIN)
        peer.sent = peer.bytes.n; // the server has dropped it
}

static int fuzz_poll(struct pollfd *fds, nfds_t n, int timeout) {
    peer_send();
    int ready = poll(fds, n, 0);
    if (ready == 0 && timeout > 0)
        now += timeout * 1e-3;
    // A server that was left before the hello would wait for another caller.
    if (ready == 0 && timeout < 0 && peer.fd < 0 && peer.server->state == RETURN_WAITING)
        peer.server->state = RETURN_DECLINED;
    return ready;
}

static uint32_t number(uint8_t b) {
    return b & 0x80 ? RETURN_FIRST_FORK + (b & 0x7fu) : b;
}

/* A request from 6 bytes (type, seq, pos, want, from, number of ids) and an id a byte; or raw
 * bytes. Returns how many bytes it has used. */
static size_t put_request(struct buf *out, const uint8_t *p, size_t size) {
    static const enum request_type types[] = {REQUEST_EXTEND, REQUEST_FORK, REQUEST_CLOSE,
                                              REQUEST_EXTEND};
    if ((p[0] & 7) == 7) {
        size_t n = p[1] < size - 2 ? p[1] : size - 2;
        buf_add(out, p + 2, n);
        return 2 + n;
    }
    uint32_t ids[64], n = 0;
    struct err e;
    for (n = 0; types[p[0] & 3] == REQUEST_EXTEND && n < (p[5] & 0x3fu) && 6 + n < size; n++)
        ids[n] = p[6 + n] == 255 ? 70000 : p[6 + n];
    struct request r = {.type = types[p[0] & 3],
                        .seq = number(p[1]),
                        .pos = p[2],
                        .want = types[p[0] & 3] == REQUEST_EXTEND ? p[3] & 0x3f : 0,
                        .from = number(p[4]),
                        .ids = ids,
                        .n_ids = n};
    if (return_message_put(out, &r, &e) != 0)
        abort();
    return 6 + n;
}

static void put_peer_bytes(const uint8_t *p, size_t size, bool good_hello) {
    uint8_t hello[HELLO_BYTES] = RETURN_HELLO_MAGIC;
    buf_clear(&peer.bytes);
    peer.sent = peer.n_polls = 0;
    put_u32(hello + HELLO_TAKES, 1);
    if (good_hello)
        buf_add(&peer.bytes, hello, sizeof hello);
    for (size_t used; size >= 6; p += used, size -= used)
        used = put_request(&peer.bytes, p, size);
}

/* A server whose caller has connected. Its nonce is zero. */
static struct return_server *server_of_peer(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || peer_set_flags(pair[0], true) != 0)
        abort();
    struct return_server *s = xcalloc(1, sizeof *s);
    s->listener = -1;
    s->cleaner = (struct cleaner){-1, -1};
    s->peer = pair[0];
    s->peer_until = now + 1e6;
    peer.fd = pair[1];
    peer.server = s;
    return s;
}

/* ---- What was written ---- */

enum { MOST_TRACKED = 600 };

struct tracked {
    uint32_t number, n_ids;
    uint32_t ids[CONTEXT];
};

static struct tracked *track(struct tracked *all, size_t *n, uint32_t number) {
    for (size_t i = 0; i < *n; i++)
        if (all[i].number == number)
            return &all[i];
    assert(*n < MOST_TRACKED);
    all[*n].number = number;
    return &all[(*n)++];
}

static void take_frame(struct tracked *all, size_t *n, const struct frame *f) {
    struct tracked *t = f->type == FRAME_END ? NULL : track(all, n, f->seq);
    unsigned from, pos;
    if (f->type == FRAME_OPEN && f->seq >= RETURN_FIRST_FORK) {
        char *text = str_dup(f->text);
        assert(sscanf(text, "from=%u pos=%u", &from, &pos) == 2 && pos <= CONTEXT);
        memcpy(t->ids, track(all, n, from)->ids, sizeof t->ids);
        free(text);
    } else if (f->type == FRAME_OPEN || f->type == FRAME_IDS) {
        uint32_t at = f->type == FRAME_IDS ? f->pos : 0;
        for (uint32_t i = 0; i < f->n_ids && at + i < CONTEXT; i++)
            t->ids[at + i] = f->ids[i];
    }
    for (uint32_t i = 0; f->type == FRAME_LOGITS && i < f->rows; i++) {
        assert(f->pos + i < CONTEXT);
        assert(f->values[i * COLUMNS] == digest(t->ids, f->pos + i + 1));
    }
}

static void check_output(int fd, bool whole) {
    static struct tracked all[MOST_TRACKED];
    size_t n = 0;
    struct logits_header h;
    struct frame f;
    struct err e = {0};
    off_t size = lseek(fd, 0, SEEK_END);
    if (lseek(fd, 0, SEEK_SET) != 0)
        abort();
    struct logits_reader *r = size ? logits_reader_new(fd, "output", &h, &e) : NULL;
    assert(r || !whole);
    int rc = -1;
    while (r && (rc = logits_next(r, &f, &e)) == 1)
        take_frame(all, &n, &f);
    assert((rc == 0) == whole);
    logits_reader_free(r);
}

static int empty_output(void) {
    static FILE *f;
    if (!f && !(f = tmpfile()))
        abort();
    if (ftruncate(fileno(f), 0) != 0 || lseek(fileno(f), 0, SEEK_SET) != 0)
        abort();
    return fileno(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 8)
        return 0;
    unsigned bits = data[0];
    size_t n_prompts = data[5] < size - 6 ? data[5] : size - 6;
    peer.pace = data + 1;
    put_peer_bytes(data + 6 + n_prompts, size - 6 - n_prompts, data[1] != 255);
    signal(SIGPIPE, SIG_IGN);
    warn_quiet(1);
    struct model *m = xcalloc(1, sizeof *m);
    m->keeps = bits >> 6 & 1;
    m->refuse_past = bits >> 7 ? 40 : 0;
    struct logits_header h = {
        .vocab_size = VOCAB, .hidden_dim = bits >> 5 & 1, .context = CONTEXT, .bos = -1};
    struct forward_job job = {.engine = {.max_in_flight = 1 + (bits & 3),
                                         .chunk = 1 + 3 * (bits >> 2 & 3),
                                         .hidden = bits >> 5 & 1},
                              .all_logits = bits >> 4 & 1,
                              .model = m,
                              .header = &h,
                              .ret = server_of_peer(),
                              .in_fd = fuzz_fd(data + 6, n_prompts),
                              .out_fd = empty_output(),
                              .in_name = "fuzz"};
    peer.stream = job.out_fd;
    struct err e = {0};
    int code = 0, rc = stage_forward(&job, &code, &e);
    if (rc == -1)
        fuzz_check_refusal(&e);
    check_output(job.out_fd, rc == 0);
    assert(check_here == 0); // the model's own checks
    return_server_free(job.ret);
    if (peer.fd >= 0)
        close(peer.fd);
    free(m);
    return 0;
}

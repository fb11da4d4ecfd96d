/* serve_load: a load generator for servers of OpenAI's API, on one thread with poll(2).
 *
 *     serve_load PORT STREAMS REQUESTS WORDS TOKENS [RATE]
 *
 * Sends REQUESTS streamed completions, each with a prompt of its own of WORDS words and TOKENS new
 * tokens. STREAMS of them run at a time; with RATE they begin at random times instead, RATE a
 * second (Poisson arrivals), STREAMS at most. Prints one line: seconds, tokens (the server's own
 * count), tokens a second, milliseconds to the first event and between events at the median and at
 * 99 %, and failures. Chunked bodies are decoded; an event is a line "data: {".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/opt.h"

enum { MAX_STREAMS = 4096, MAX_LINE = 1 << 20 };

struct stream {
    int fd; // -1: none
    struct buf out, control,
        line; // the request; a line of the head or a chunk's size; one of events
    size_t sent;
    bool body, chunked, ended; // past the head; the last event has come
    size_t chunk;              // bytes that are left of a chunk; 0: its size is read
    double begun, last;
    uint64_t tokens;
    size_t n_events;
};

struct samples {
    double *ms; // [n] of cap
    size_t n, cap;
};

struct load {
    uint16_t port;
    size_t n_words, n_tokens, n_streams, n_begun, n_requests, n_failed;
    double rate, next; // requests a second; when the next one begins
    uint64_t tokens, random;
    struct stream *streams; // [n_streams]
    struct samples first, between;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add_sample(struct samples *s, double ms) {
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        s->ms = xreallocarray(s->ms, s->cap, sizeof *s->ms);
    }
    s->ms[s->n++] = ms;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(struct samples *s, double q) {
    if (s->n == 0)
        return 0;
    qsort(s->ms, s->n, sizeof *s->ms, by_value);
    return s->ms[(size_t)(q * (double)(s->n - 1))];
}

/* ---- Requests ---- */

static void write_request(const struct load *l, struct buf *out) {
    struct buf body = {0};
    buf_fmt(
        &body,
        "{\"stream\": true, \"stream_options\": {\"include_usage\": true}, \"max_tokens\": %zu, "
        "\"ignore_eos\": true, \"temperature\": 1, \"seed\": %zu, \"prompt\": \"%zu",
        l->n_tokens, l->n_begun, l->n_begun);
    for (size_t i = 1; i < l->n_words; i++)
        buf_fmt(&body, " word");
    buf_str(&body, "\"}");
    buf_fmt(out,
            "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: application/json"
            "\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
            (unsigned)l->port, body.n);
    buf_add(out, body.p, body.n);
    buf_free(&body);
}

static void begin(struct load *l, struct stream *s) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(l->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    buf_clear(&s->out);
    buf_clear(&s->control);
    buf_clear(&s->line);
    struct buf out = s->out, control = s->control, line = s->line;
    *s = (struct stream){.out = out, .control = control, .line = line, .begun = now()};
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die(EXIT_SYSTEM, "cannot connect to port %u: %s", (unsigned)l->port, strerror(errno));
    write_request(l, &s->out);
    l->n_begun++;
}

static void end(struct load *l, struct stream *s) {
    close(s->fd);
    s->fd = -1;
    l->n_failed += !s->ended;
    l->tokens += s->tokens;
}

/* ---- Answers ---- */

static void take_event(struct load *l, struct stream *s) {
    double t = now();
    const char *count = strstr(s->line.p, "\"completion_tokens\":");
    if (count)
        s->tokens = strtoull(count + strlen("\"completion_tokens\":"), NULL, 10);
    else if (s->n_events++ == 0)
        add_sample(&l->first, 1000 * (t - s->begun));
    else
        add_sample(&l->between, 1000 * (t - s->last));
    s->last = t;
}

/* A line of the head, or the size of a chunk. */
static void take_control(struct stream *s) {
    const char *p = s->control.n ? s->control.p : "";
    if (s->body)
        s->chunk = (size_t)strtoull(p, NULL, 16); // 0 of the empty line after a chunk
    else if (*p == '\0')
        s->body = true;
    else if (strncasecmp(p, "transfer-encoding: chunked", 26) == 0)
        s->chunked = true;
    buf_clear(&s->control);
}

static void take_line(struct load *l, struct stream *s) {
    const char *p = s->line.n ? s->line.p : "";
    if (strncmp(p, "data: {", 7) == 0)
        take_event(l, s);
    else if (strcmp(p, "data: [DONE]") == 0)
        s->ended = true;
    buf_clear(&s->line);
}

static void take_byte(struct load *l, struct stream *s, char c) {
    bool control = !s->body || (s->chunked && s->chunk == 0);
    struct buf *line = control ? &s->control : &s->line;
    if (!control && s->chunked)
        s->chunk--;
    if (c == '\n' && control)
        take_control(s);
    else if (c == '\n')
        take_line(l, s);
    else if (c != '\r' && line->n < MAX_LINE)
        buf_byte(line, c);
}

static void read_more(struct load *l, struct stream *s) {
    char bytes[16384];
    ssize_t n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    for (ssize_t i = 0; i < n; i++)
        take_byte(l, s, bytes[i]);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || s->ended)
        end(l, s);
}

static void write_more(struct stream *s) {
    ssize_t n = send(s->fd, s->out.p + s->sent, s->out.n - s->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        s->sent += (size_t)n;
}

/* ---- The loop ---- */

/* A number from 0 to 1, below 1: an LCG of 64 bits, whose upper ones are used. */
static double fraction(struct load *l) {
    l->random = l->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (double)(l->random >> 11) / 9007199254740992.0;
}

/* Begins what is due; the seconds until the next is. */
static double begin_due(struct load *l) {
    double t = now();
    for (size_t i = 0; i < l->n_streams && l->n_begun < l->n_requests; i++) {
        if (l->streams[i].fd >= 0)
            continue;
        if (l->rate > 0 && l->next > t)
            return l->next - t;
        begin(l, &l->streams[i]);
        if (l->rate > 0)
            l->next += -log(1 - fraction(l)) / l->rate;
    }
    return 1;
}

static void run(struct load *l) {
    struct pollfd *p = xcalloc(l->n_streams, sizeof *p);
    for (;;) {
        double wait = begin_due(l);
        size_t n_open = 0;
        for (size_t i = 0; i < l->n_streams; i++) {
            const struct stream *s = &l->streams[i];
            short out = s->fd >= 0 && s->sent < s->out.n ? POLLOUT : 0;
            p[i] = (struct pollfd){.fd = s->fd, .events = (short)(POLLIN | out)};
            n_open += s->fd >= 0;
        }
        if (n_open == 0 && l->n_begun == l->n_requests)
            break;
        poll(p, l->n_streams, (int)(1000 * wait) + 1);
        for (size_t i = 0; i < l->n_streams; i++) {
            struct stream *s = &l->streams[i];
            if (s->fd >= 0 && p[i].revents & POLLOUT)
                write_more(s);
            if (s->fd >= 0 && p[i].revents & (POLLIN | POLLHUP | POLLERR))
                read_more(l, s);
        }
    }
    free(p);
}

int main(int argc, char **argv) {
    struct load l = {0};
    program_init(argv[0]);
    if (argc < 6 || argc > 7)
        die_usage("serve_load PORT STREAMS REQUESTS WORDS TOKENS [RATE]");
    l.port = (uint16_t)opt_u64("PORT", argv[1], 1, 65535);
    l.n_streams = opt_u64("STREAMS", argv[2], 1, MAX_STREAMS);
    l.n_requests = opt_u64("REQUESTS", argv[3], 1, 1 << 30);
    l.n_words = opt_u64("WORDS", argv[4], 1, 1 << 20);
    l.n_tokens = opt_u64("TOKENS", argv[5], 1, 1 << 20);
    l.rate = argc == 7 ? opt_f64("RATE", argv[6], 1e-3, 1e6) : 0;
    l.streams = xcalloc(l.n_streams, sizeof *l.streams);
    for (size_t i = 0; i < l.n_streams; i++)
        l.streams[i].fd = -1;
    double begun = l.next = now();
    run(&l);
    double seconds = now() - begun;
    printf("seconds=%.3f tokens=%" PRIu64 " tokens_s=%.1f first_p50=%.1f first_p99=%.1f "
           "between_p50=%.2f between_p99=%.2f failed=%zu\n",
           seconds, l.tokens, (double)l.tokens / seconds, quantile(&l.first, 0.5),
           quantile(&l.first, 0.99), quantile(&l.between, 0.5), quantile(&l.between, 0.99),
           l.n_failed);
    for (size_t i = 0; i < l.n_streams; i++) {
        buf_free(&l.streams[i].out);
        buf_free(&l.streams[i].control);
        buf_free(&l.streams[i].line);
    }
    free(l.streams);
    free(l.first.ms);
    free(l.between.ms);
    close_stdout();
    return l.n_failed > 0 ? EXIT_SOME_FAILED : EXIT_DONE;
}

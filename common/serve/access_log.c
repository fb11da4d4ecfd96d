/* A line for each request: see access_log.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/utf8.h"

enum { MAX_PATH_SHOWN = 200 };

struct access_log {
    int fd;
    bool bodies;
    atomic_bool failed;
};

struct access_log *access_log_open(const char *path, bool bodies, struct err *e) {
    bool is_stdout = strcmp(path, "-") == 0;
    int fd = is_stdout ? STDOUT_FILENO
                       : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        err_errno(e, EXIT_IO, "cannot write %s", path);
        return NULL;
    }
    struct access_log *l = xcalloc(1, sizeof *l);
    l->fd = fd;
    l->bodies = bodies;
    return l;
}

void access_log_close(struct access_log *l) {
    if (!l)
        return;
    if (l->fd != STDOUT_FILENO)
        close(l->fd);
    free(l);
}

/* What a stranger sent, as a JSON string. */
static void add_text(struct buf *out, const char *name, struct str text) {
    struct buf good = {0};
    utf8_repair(&good, text.p ? text.p : "", text.n);
    buf_fmt(out, ", \"%s\": ", name);
    json_write_str(out, good.p ? buf_view(&good) : str_of(""));
    buf_free(&good);
}

static void add_known(struct buf *out, const char *name, const char *text) {
    if (text && *text)
        add_text(out, name, str_of(text));
}

static void add_time(struct buf *out) {
    struct timespec now;
    struct tm tm;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_fmt(out, "{\"time\": \"%s.%03ldZ\"", text, now.tv_nsec / 1000000);
}

void access_log_write(struct access_log *l, const struct access_entry *entry) {
    struct buf line = {0};
    struct str path = str_of(entry->path);
    if (path.n > MAX_PATH_SHOWN)
        path.n = MAX_PATH_SHOWN;
    add_time(&line);
    add_known(&line, "method", entry->method);
    add_text(&line, "path", path);
    buf_fmt(&line, ", \"status\": %u, \"seconds\": %.6f", entry->status, entry->seconds);
    add_known(&line, "key", entry->key);
    add_known(&line, "id", entry->id);
    add_known(&line, "model", entry->model);
    if (entry->prompt_tokens > 0)
        buf_fmt(&line, ", \"prompt_tokens\": %" PRIu64 ", \"completion_tokens\": %" PRIu64,
                entry->prompt_tokens, entry->completion_tokens);
    if (entry->cached_tokens >= 0)
        buf_fmt(&line, ", \"cached_tokens\": %" PRId64, entry->cached_tokens);
    add_known(&line, "finish", entry->finish);
    if (entry->left)
        buf_str(&line, ", \"left\": true");
    if (l->bodies && entry->body.n)
        add_text(&line, "body", entry->body);
    buf_str(&line, "}\n");
    ssize_t n;
    do
        n = write(l->fd, line.p, line.n);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)line.n && !atomic_exchange(&l->failed, true))
        warn("the log of requests is not whole: %s", n < 0 ? strerror(errno) : "a line was cut");
    buf_free(&line);
}

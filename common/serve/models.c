/* See models.h.
 *
 * Each name of the folder has an entry, also one that could not be opened. `place` and `socket` are
 * what the entry was made of: an entry of other ones is replaced.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/models.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/opt.h"
#include "base/progress.h"
#include "serve/reply.h"
#include "stages/run_folder.h"

/* Seconds for which a socket may be missing, and between two looks at the folder. */
static const double MISSING = 2, PAUSE = 0.1;

struct identity {
    uint64_t dev, ino, seconds, nanoseconds; // of a file; the times are those of its last change
};

struct entry {
    struct served s; // first, for models_release
    struct entry *next;
    bool fixed;  // of the options
    bool opened; // else it was tried
    bool stale;  // another one has its name, or its socket is gone: freed when nobody uses it
    unsigned users;
    struct identity place, socket; // of the model's folder, of the engine's socket
    unsigned long scan;            // that saw the socket
    double missing;                // when the socket was first missing; 0: it is there
};

struct models {
    pthread_mutex_t lock;
    const char *folder;
    struct entry *first; // those of the options, then those of the folder by name
    unsigned long n_scans;
    double scanned; // when
    bool warned;
};

struct models *models_new(const char *folder) {
    struct models *m = xcalloc(1, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    m->folder = folder;
    m->scanned = -1e9;
    return m;
}

static void insert(struct models *m, struct entry *en) {
    struct entry **at = &m->first;
    while (*at && ((*at)->fixed || (!en->fixed && strcmp((*at)->s.name, en->s.name) <= 0)))
        at = &(*at)->next;
    en->next = *at;
    *at = en;
}

static void free_entry(struct entry *en) {
    served_close(&en->s);
    free(en);
}

void models_free(struct models *m) {
    if (!m)
        return;
    for (struct entry *en = m->first, *next; en; en = next) {
        next = en->next;
        free_entry(en);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static struct entry *entry_of(const struct models *m, const char *name) {
    for (struct entry *en = m->first; en; en = en->next)
        if (!en->stale && strcmp(en->s.name, name) == 0)
            return en;
    return NULL;
}

int models_add(struct models *m, struct served *s, struct err *e) {
    if (entry_of(m, s->name)) {
        err_set(e, EXIT_USAGE, "two models are called %s: give --name", s->name);
        served_close(s);
        return -1;
    }
    struct entry *en = xcalloc(1, sizeof *en);
    en->s = *s;
    en->fixed = en->opened = true;
    insert(m, en);
    return 0;
}

/* ---- The folder ---- */

static bool identify(const char *path, bool changes, struct identity *id) {
    struct stat st;
    *id = (struct identity){0};
    if (stat(path, &st) != 0)
        return false;
    id->dev = (uint64_t)st.st_dev;
    id->ino = (uint64_t)st.st_ino;
    if (changes) {
        id->seconds = (uint64_t)st.st_ctim.tv_sec;
        id->nanoseconds = (uint64_t)st.st_ctim.tv_nsec;
    }
    return true;
}

static bool same(const struct identity *a, const struct identity *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

static void open_entry(struct models *m, const struct run_engine *r, const struct identity *place,
                       const struct identity *socket) {
    struct entry *en = xcalloc(1, sizeof *en);
    struct err e = {0};
    en->opened = served_open(&en->s, r->name, r->model, r->socket, &e) == 0;
    if (!en->opened) {
        warn("model %s is left out: %s", r->name, e.msg);
        served_close(&en->s);
        en->s.name = xstrdup(r->name);
    }
    en->place = *place;
    en->socket = *socket;
    en->scan = m->n_scans;
    insert(m, en);
}

/* One engine of the folder, whose socket is there. */
static void take_engine(struct models *m, const struct run_engine *r) {
    struct identity place, socket;
    struct entry *en = entry_of(m, r->name);
    if ((en && en->fixed) || !identify(r->socket, true, &socket))
        return;
    identify(r->model, false, &place);
    if (en && same(&en->place, &place) && (en->opened || same(&en->socket, &socket))) {
        en->scan = m->n_scans;
        return;
    }
    if (en)
        en->stale = true;
    open_entry(m, r, &place, &socket);
}

/* Frees the entries that have ended, and that nobody uses. */
static void sweep(struct models *m, double now) {
    for (struct entry **at = &m->first, *en; (en = *at);) {
        bool there = en->fixed || en->scan == m->n_scans;
        en->missing = there ? 0 : en->missing > 0 ? en->missing : now;
        en->stale |= !there && now - en->missing > MISSING;
        if (!en->stale || en->users > 0) {
            at = &en->next;
            continue;
        }
        *at = en->next;
        free_entry(en);
    }
}

/* With the lock. */
static int scan(struct models *m, struct err *e) {
    struct run_folder r = {0};
    double now = seconds_now();
    if (!m->folder || now - m->scanned < PAUSE)
        return 0;
    m->n_scans++;
    int rc = run_folder_list(&r, m->folder, e);
    if (rc == 0 && r.n > MODELS_MAX && !m->warned) {
        warn("only the first %d engines are offered: %s", MODELS_MAX, m->folder);
        m->warned = true;
    }
    for (size_t i = 0; rc == 0 && i < r.n && i < MODELS_MAX; i++)
        take_engine(m, &r.engines[i]);
    if (rc == 0)
        run_folder_free(&r);
    if (rc == 0 || e->code == EXIT_NO_INPUT) // else a name that cannot be shown is there
        sweep(m, now);
    m->scanned = seconds_now();
    return rc;
}

int models_scan(struct models *m, struct err *e) {
    pthread_mutex_lock(&m->lock);
    int rc = scan(m, e);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

/* ---- Use ---- */

static bool is_offered(const struct entry *en) {
    return en->opened && !en->stale;
}

const struct served *models_find(struct models *m, const char *name, unsigned can) {
    struct err ignored = {0};
    pthread_mutex_lock(&m->lock);
    scan(m, &ignored);
    struct entry *en = m->first;
    while (en && (!is_offered(en) || !(en->s.can & can) || (name && strcmp(en->s.name, name) != 0)))
        en = en->next;
    if (en)
        en->users++;
    pthread_mutex_unlock(&m->lock);
    return en ? &en->s : NULL;
}

void models_release(struct models *m, const struct served *s) {
    if (!s)
        return;
    pthread_mutex_lock(&m->lock);
    for (struct entry *en = m->first; en; en = en->next)
        if (&en->s == s)
            en->users--;
    pthread_mutex_unlock(&m->lock);
}

void models_list(struct models *m, struct buf *out) {
    struct err ignored = {0};
    const char *comma = "";
    pthread_mutex_lock(&m->lock);
    scan(m, &ignored);
    buf_str(out, "{\"object\": \"list\", \"data\": [");
    for (struct entry *en = m->first; en; en = en->next)
        if (is_offered(en)) {
            buf_str(out, comma);
            reply_model(&en->s, out);
            comma = ", ";
        }
    buf_str(out, "]}");
    pthread_mutex_unlock(&m->lock);
}

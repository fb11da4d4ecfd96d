/* Keys of clients: see api_keys.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/api_keys.h"

#include <math.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/num.h"

enum { HASH_BYTES = 32 };

struct api_key {
    char name[API_KEYS_MAX_NAME + 1];
    unsigned char hash[HASH_BYTES];
    uint64_t max_requests, tokens_minute; // UINT64_MAX: no limit
    uint64_t running;
    double left, at; // tokens that are left, as of a time
    bool begun;
    atomic_bool own_cache;
    unsigned refs; // of requests, and one of the list
};

struct api_keys {
    pthread_mutex_t lock; // of the list, and of what changes in a key
    struct api_key **k;   // [n]
    size_t n;
};

/* ---- The file ---- */

static int bad(struct err *e, const char *name, size_t line, const char *what) {
    return err_set(e, EXIT_DATA, "%s: %s: line %zu", what, name, line);
}

static bool is_name(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] > '~' || s.p[i] == '"' ||
            s.p[i] == '\\')
            return false;
    return s.n > 0 && s.n <= API_KEYS_MAX_NAME;
}

static bool read_limit(struct api_key *k, struct str word) {
    if (str_eq(word, "cache=own") && !k->own_cache) {
        atomic_store(&k->own_cache, true);
        return true;
    }
    uint64_t *to = str_begins_with(word, "requests=") ? &k->max_requests
                   : str_begins_with(word, "tokens=") ? &k->tokens_minute
                                                      : NULL;
    if (!to || *to != UINT64_MAX)
        return false;
    const char *equals = memchr(word.p, '=', word.n);
    struct str value = {equals + 1, word.n - (size_t)(equals + 1 - word.p)};
    return parse_u64(value, 1, UINT32_MAX, to);
}

static int read_line(struct api_keys *k, struct str rest, const char *name, size_t line,
                     struct err *e) {
    struct api_key key = {.max_requests = UINT64_MAX, .tokens_minute = UINT64_MAX, .refs = 1};
    struct str word = str_word(&rest), hash = str_word(&rest);
    size_t n;
    if (!is_name(word))
        return bad(e, name, line, "expected a name of up to 64 visible ASCII characters");
    memcpy(key.name, word.p, word.n);
    if (hash.n != 2 * HASH_BYTES ||
        sodium_hex2bin(key.hash, HASH_BYTES, hash.p, hash.n, NULL, &n, NULL) != 0 ||
        n != HASH_BYTES)
        return bad(e, name, line, "expected a hash of 64 hexadecimal digits after the name");
    while ((word = str_word(&rest)).n > 0)
        if (!read_limit(&key, word))
            return bad(e, name, line, "expected requests=N, tokens=N or cache=own, each once");
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->k[i]->name, key.name) == 0 ||
            memcmp(k->k[i]->hash, key.hash, HASH_BYTES) == 0)
            return bad(e, name, line, "the name or the hash comes twice");
    if (k->n == API_KEYS_MAX)
        return bad(e, name, line, "more than 10000 keys");
    if ((k->n & (k->n - 1)) == 0)
        k->k = xreallocarray(k->k, k->n ? 2 * k->n : 1, sizeof *k->k);
    k->k[k->n] = xcalloc(1, sizeof key);
    *k->k[k->n++] = key;
    return 0;
}

struct api_keys *api_keys_read(struct str text, const char *name, struct err *e) {
    struct api_keys *k = xcalloc(1, sizeof *k);
    int rc = 0;
    pthread_mutex_init(&k->lock, NULL);
    for (size_t line = 1, at = 0; at < text.n && rc == 0; line++) {
        const char *p = text.p + at, *newline = memchr(p, '\n', text.n - at);
        struct str s = {p, newline ? (size_t)(newline - p) : text.n - at}, rest = s;
        struct str first = str_word(&rest);
        at += s.n + 1;
        if (first.n > 0 && first.p[0] != '#')
            rc = read_line(k, s, name, line, e);
    }
    if (rc == 0 && k->n == 0)
        rc = err_set(e, EXIT_DATA, "the file has no key: %s", name);
    if (rc == 0)
        return k;
    api_keys_free(k);
    return NULL;
}

struct api_keys *api_keys_open(const char *path, struct err *e) {
    struct buf text = {0};
    struct api_keys *k = NULL;
    if (read_file(path, API_KEYS_MAX_FILE, &text, e) == 0)
        k = api_keys_read(text.n ? buf_view(&text) : str_of(""), path, e);
    buf_free(&text);
    return k;
}

static void drop(struct api_key *key) {
    if (--key->refs == 0)
        free(key);
}

void api_keys_free(struct api_keys *k) {
    if (!k)
        return;
    for (size_t i = 0; i < k->n; i++)
        drop(k->k[i]);
    pthread_mutex_destroy(&k->lock);
    free(k->k);
    free(k);
}

/* Puts the keys of k that `read` has, too, in their places there, with the limits that are new. */
static void keep_known(struct api_keys *read, const struct api_keys *k) {
    for (size_t i = 0; i < read->n; i++) {
        struct api_key *new = read->k[i];
        for (size_t o = 0; o < k->n; o++) {
            struct api_key *old = k->k[o];
            if (strcmp(old->name, new->name) != 0 || memcmp(old->hash, new->hash, HASH_BYTES) != 0)
                continue;
            old->max_requests = new->max_requests;
            old->tokens_minute = new->tokens_minute;
            atomic_store(&old->own_cache, atomic_load(&new->own_cache));
            old->refs++;
            drop(new);
            read->k[i] = old;
            break;
        }
    }
}

int api_keys_reload(struct api_keys *k, const char *path, struct err *e) {
    struct api_keys *read = api_keys_open(path, e);
    if (!read)
        return -1;
    pthread_mutex_lock(&k->lock);
    keep_known(read, k);
    struct api_key **keys = k->k;
    size_t n = k->n;
    k->k = read->k;
    k->n = read->n;
    read->k = keys;
    read->n = n;
    api_keys_free(read); // of those that are gone, requests may still have some
    pthread_mutex_unlock(&k->lock);
    return 0;
}

size_t api_keys_count(const struct api_keys *k) {
    return k->n;
}

/* ---- Requests ---- */

struct api_key *api_keys_find(struct api_keys *k, struct str presented) {
    unsigned char hash[HASH_BYTES];
    struct api_key *found = NULL;
    crypto_generichash(hash, sizeof hash, (const unsigned char *)presented.p, presented.n, NULL, 0);
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->n; i++)
        if (sodium_memcmp(hash, k->k[i]->hash, HASH_BYTES) == 0)
            found = k->k[i];
    if (found)
        found->refs++;
    pthread_mutex_unlock(&k->lock);
    return found;
}

void api_keys_release(struct api_keys *k, struct api_key *key) {
    if (!key)
        return;
    pthread_mutex_lock(&k->lock);
    drop(key);
    pthread_mutex_unlock(&k->lock);
}

const char *api_keys_name(const struct api_key *k) {
    return k->name;
}

void api_keys_salt(const struct api_key *k, char salt[33]) {
    static const unsigned char purpose[] = "llm-serve prefix cache";
    unsigned char hash[16];
    salt[0] = '\0';
    if (!atomic_load(&k->own_cache))
        return;
    crypto_generichash(hash, sizeof hash, k->hash, sizeof k->hash, purpose, sizeof purpose - 1);
    sodium_bin2hex(salt, 33, hash, sizeof hash);
}

/* With the lock. The count comes back at a constant rate, up to a minute's. */
static void refill(struct api_key *k, double now) {
    double all = (double)k->tokens_minute;
    if (!k->begun)
        k->left = all;
    else if (now > k->at)
        k->left = fmin(all, k->left + all / 60 * (now - k->at));
    k->begun = true;
    k->at = now;
}

unsigned api_keys_begin(struct api_keys *keys, struct api_key *k, double now, const char **why) {
    unsigned wait = 0;
    pthread_mutex_lock(&keys->lock);
    if (k->tokens_minute != UINT64_MAX) {
        refill(k, now);
        *why = "the key has used its tokens of this minute";
        if (k->left <= 0)
            wait = (unsigned)fmin(3600, ceil(1 - k->left * 60 / (double)k->tokens_minute));
    }
    if (wait == 0 && k->running >= k->max_requests) {
        *why = "the key has no more requests at the same time";
        wait = 1;
    }
    if (wait == 0)
        k->running++;
    pthread_mutex_unlock(&keys->lock);
    return wait;
}

void api_keys_end(struct api_keys *keys, struct api_key *k, double now, uint64_t tokens) {
    pthread_mutex_lock(&keys->lock);
    k->running--;
    if (k->tokens_minute != UINT64_MAX) {
        refill(k, now);
        k->left -= (double)tokens;
    }
    pthread_mutex_unlock(&keys->lock);
}

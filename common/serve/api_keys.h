/* The keys of clients, from a file that has their hashes, and what each may ask for.
 *
 *     # name   BLAKE2b-256 of the key (printf %s "$key" | b2sum -l 256), limits
 *     alice    3fc9b689459d738f8c88a3a48aa9e33542016b7a4052e001aaa536fca74813cb requests=4
 * tokens=60000
 *
 * `requests` is the most at the same time, `tokens` the most of prompts and answers a minute. A
 * limit that is not there does not limit. `cache=own` gives the key a prefix cache of its own, so
 * that the time of an answer says nothing of other keys' prompts. Tokens are counted when an answer
 * ends: a key whose count is used up waits until enough of it has come back, at a constant rate.
 *
 * Refused: a line with anything else, a name or a hash that comes twice, an empty file.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_API_KEYS_H
#define SERVE_API_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum { API_KEYS_MAX = 10000, API_KEYS_MAX_FILE = 4 << 20, API_KEYS_MAX_NAME = 64 };

struct api_key;
struct api_keys;

/* NULL with e set: EXIT_NO_INPUT, or EXIT_DATA with the line. */
struct api_keys *api_keys_open(const char *path, struct err *e);
/* The same, of the file's text. */
struct api_keys *api_keys_read(struct str text, const char *name, struct err *e);
void api_keys_free(struct api_keys *k);
size_t api_keys_count(const struct api_keys *k);

/* Reads the file again. A key with a name and a hash as before goes on, with its new limits. -1
 * with e set: nothing has changed. */
int api_keys_reload(struct api_keys *k, const char *path, struct err *e);

/* The key that was presented; NULL: there is none of it. Takes the same time for every key. Release
 * it at the end of the request. */
struct api_key *api_keys_find(struct api_keys *k, struct str presented);
void api_keys_release(struct api_keys *k, struct api_key *key); // key NULL: does nothing
const char *api_keys_name(const struct api_key *k);
/* The salt of the key's prefix cache, of 32 digits, or "" where it shares that of all. It does not
 * give the key away. */
void api_keys_salt(const struct api_key *k, char salt[33]);

/* A request begins. 0, or the seconds after which it may be tried again, where a limit of the key
 * holds; then the request does not count. now: seconds on any steady clock. */
unsigned api_keys_begin(struct api_keys *keys, struct api_key *k, double now, const char **why);
/* The request ends. tokens: those that it used. */
void api_keys_end(struct api_keys *keys, struct api_key *k, double now, uint64_t tokens);

#endif

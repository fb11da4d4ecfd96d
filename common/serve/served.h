/* A model that a server offers: its tokenizer and chat template, and the socket of its engine.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_SERVED_H
#define SERVE_SERVED_H

#include "base/err.h"
#include "chat/chat.h"
#include "sample/stop_texts.h"
#include "tokens/tokenizer.h"

enum served_can { SERVED_GENERATES = 1, SERVED_EMBEDS = 2 };

struct served {
    enum served_can can;
    struct embedder *embed; // of a model that embeds: see serve/embeddings.h
    char *name;             // as requests call it
    char *dir;              // the model folder
    char *socket;           // of the engine, see llm-forward --listen; NULL of a model that embeds
    struct tokenizer *tokenizer;
    struct chat *chat; // NULL: no_chat says why
    struct err no_chat;
    int64_t end_id;          // ends answers to chats, or -1
    double temp;             // of requests that give none
    struct buf info;         // the answer to /tokenizer_info
    struct buf defaults;     // members of "params" that requests begin with: `"top_p": 0.9`
    struct stop_texts stops; // likewise
    int64_t started;         // seconds since 1970, for /v1/models
};

/* Opens the folder `dir`, which is also a name in the Hugging Face cache. name NULL: the folder's
 * last part. -1 with e set. Threads may share the result. Close with served_close, also after -1.
 */
int served_open(struct served *s, const char *name, const char *dir, const char *socket,
                struct err *e);
/* The same of a model that makes embeddings, which this process runs on n_threads (0: one a core).
 */
int served_open_embed(struct served *s, const char *name, const char *dir, size_t n_threads,
                      struct err *e);
void served_close(struct served *s);

#endif

/* Models that a server offers: see served.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/served.h"

#include <stdlib.h>
#include <time.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/opt.h"
#include "sample/generation.h"
#include "sample/params.h"
#include "serve/embeddings.h"
#include "serve/tokenizer_info.h"
#include "stages/encode.h"

/* The last part of a path, without '/' at its end. */
static char *last_part(const char *path) {
    size_t end = strlen(path), begin;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/';)
        begin--;
    return str_dup((struct str){path + begin, end - begin});
}

/* The value of a parameter that `said`, an attribute text, gives last. */
static void add_default(struct served *s, const char *said, const char *name) {
    struct buf value = {0};
    if (attrs_get(str_of(said), name, &value) && value.n)
        buf_fmt(&s->defaults, "%s\"%s\": %s", s->defaults.n ? ", " : "", name, value.p);
    buf_free(&value);
}

/* What the model's author suggests. Without a suggestion the temperature is 1, as in OpenAI's API.
 */
static int read_defaults(struct served *s, struct err *e) {
    struct sample_params params = sample_defaults;
    struct buf said = {0};
    char *path = path_join(s->dir, "generation_config.json");
    int rc = 0;
    params.temp = 1;
    if (is_there(path))
        rc = sample_generation(&params, &s->stops, path, &said, e);
    s->temp = params.temp;
    for (size_t i = 0; sample_param_name(i) && said.n; i++)
        if (strcmp(sample_param_name(i), "stop") != 0 && strcmp(sample_param_name(i), "temp") != 0)
            add_default(s, said.p, sample_param_name(i));
    buf_free(&said);
    free(path);
    return rc;
}

/* What every model has. */
static int open_any(struct served *s, enum served_can can, const char *name, const char *dir,
                    struct err *e) {
    *s = (struct served){.can = can, .end_id = -1, .started = (int64_t)time(NULL)};
    s->dir = model_dir(dir, e);
    if (!s->dir)
        return -1;
    s->name = name ? xstrdup(name) : last_part(dir ? dir : getenv("LLM_MODEL")); // as model_dir
    s->tokenizer = tokenizer_open_hashed(s->dir, e);
    return s->tokenizer ? tokenizer_info_write(s->tokenizer, s->dir, &s->info, e) : -1;
}

int served_open_embed(struct served *s, const char *name, const char *dir, size_t n_threads,
                      struct err *e) {
    if (open_any(s, SERVED_EMBEDS, name, dir, e) != 0)
        return -1;
    s->embed = embeddings_open(s->dir, n_threads, e);
    return s->embed ? 0 : -1;
}

int served_open(struct served *s, const char *name, const char *dir, const char *socket,
                struct err *e) {
    if (open_any(s, SERVED_GENERATES, name, dir, e) != 0 || read_defaults(s, e) != 0)
        return -1;
    s->socket = xstrdup(socket);
    s->chat = chat_open(s->dir, &(struct chat_options){0}, &s->no_chat);
    if (s->chat) {
        tokenizer_find_plain(s->tokenizer, chat_literals(s->chat));
        s->end_id = encode_turn_end(s->chat, s->tokenizer, s->dir);
    }
    return 0;
}

void served_close(struct served *s) {
    embedder_close(s->embed);
    chat_free(s->chat);
    tokenizer_free(s->tokenizer);
    stop_texts_free(&s->stops);
    buf_free(&s->info);
    buf_free(&s->defaults);
    free(s->name);
    free(s->dir);
    free(s->socket);
    *s = (struct served){0};
}

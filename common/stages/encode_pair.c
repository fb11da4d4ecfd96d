/* Pairs of texts to ids: see encode_pair.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/encode_pair.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "jinja/text.h"
#include "tokens/special.h"

/* The only id of a text; -1 if it has another number of ids. */
static int64_t id_of(const struct tokenizer *t, struct str text) {
    struct token_ids ids = tokenizer_ids(t, text, false);
    int64_t id = ids.n == 1 ? (int64_t)ids.ids[0] : -1;
    token_ids_free(&ids);
    return id;
}

/* The special id that the tokenizer puts before a text; -1: none. */
static int64_t id_before_text(const struct tokenizer *t) {
    struct token_ids ids = tokenizer_ids(t, str_of("a"), true);
    int64_t id = ids.n > 1 && tokenizer_is_special(t, ids.ids[0]) ? (int64_t)ids.ids[0] : -1;
    token_ids_free(&ids);
    return id;
}

int64_t encode_pair_prefix(const struct tokenizer *t, const char *dir) {
    static const char *const names[] = {"bos_token", "eos_token"};
    struct special_tokens special = {0};
    struct err ignored = {0}; // the tokenizer's opening has read and checked the same files
    int64_t id = -1;
    if (special_tokens_read(&special, dir, &ignored) == 0)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            for (size_t n = 0; n < special.n_names && id < 0; n++)
                if (str_eq(special.names[n].name, names[i]))
                    id = id_of(t, special.names[n].token.content);
    special_tokens_free(&special);
    return id >= 0 ? id : id_before_text(t);
}

/* The length of text without the white space at its end, as Python's str.rstrip() sees it. */
static size_t stripped(struct str text) {
    size_t n = text.n;
    while (n > 0) {
        size_t at = n - 1;
        uint32_t cp = 0;
        while (at > 0 && ((unsigned char)text.p[at] & 0xC0) == 0x80)
            at--;
        if (utf8_decode(text.p + at, n - at, &cp) == 0 || !jt_is_space(cp))
            break;
        n = at;
    }
    return n;
}

static void append(struct token_ids *to, const uint32_t *ids, size_t n) {
    if (to->n + n > to->cap) {
        to->cap = to->n + n;
        to->ids = xreallocarray(to->ids, to->cap, sizeof *to->ids);
    }
    if (n)
        memcpy(to->ids + to->n, ids, n * sizeof *ids);
    to->n += n;
}

/* The prefix is the context. A continuation that begins with it is not given a second one. */
static int encode_alone(struct encoder *en, struct str continuation, const struct encode_options *o,
                        int64_t prefix, struct token_ids *ids, struct err *e) {
    struct encode_options plain = *o;
    struct token_ids whole = {0};
    plain.no_special = true;
    if (prefix < 0)
        return err_set(e, EXIT_DATA,
                       "the context is empty, and the model has no bos_token or eos_token");
    if (tokenizer_encode(en, continuation, &plain, &whole, e) < 0)
        return -1;
    uint32_t first = (uint32_t)prefix;
    ids->n = 0;
    if (whole.n == 0 || whole.ids[0] != first)
        append(ids, &first, 1);
    append(ids, whole.ids, whole.n);
    token_ids_free(&whole);
    return 0;
}

/* Whether the tokenizer's BOS came before a text that begins with the same token. */
static bool begins_twice(const struct tokenizer *t, const struct token_ids *ids) {
    return ids->n > 1 && ids->ids[0] == ids->ids[1] && tokenizer_is_special(t, ids->ids[0]);
}

int encode_pair(struct encoder *en, const struct tokenizer *t, struct str context,
                struct str continuation, const struct encode_options *o, int64_t prefix,
                struct token_ids *ids, size_t *from, struct err *e) {
    struct buf text = {0};
    struct token_ids whole = {0};
    struct encode_options options = *o;
    size_t n = stripped(context);
    buf_add(&text, context.p, context.n);
    buf_add(&text, continuation.p, continuation.n);
    int rc = tokenizer_encode(en, buf_view(&text), &options, &whole, e);
    if (rc == 0 && !options.no_special && begins_twice(t, &whole)) {
        options.no_special = true;
        rc = tokenizer_encode(en, buf_view(&text), &options, &whole, e);
    }
    ids->n = 0;
    if (rc == 0 && context.n > 0)
        rc = tokenizer_encode(en, (struct str){text.p, n}, &options, ids, e);
    *from = ids->n;
    if (rc == 0 && *from == 0) {
        *from = 1;
        rc = encode_alone(en, buf_view(&text), o, prefix, ids, e);
    } else if (rc == 0 && whole.n > *from) {
        append(ids, whole.ids + *from, whole.n - *from);
    }
    if (rc == 0 && ids->n <= *from)
        rc = err_set(e, EXIT_DATA, "the continuation has no token of its own");
    buf_free(&text);
    token_ids_free(&whole);
    return rc;
}

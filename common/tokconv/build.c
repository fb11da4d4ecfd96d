/* Collects what a tokenizer.json has: see build.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/build.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/utf8.h"

void tokbuild_init(struct tokbuild *b, const char *name, size_t max_tokens, size_t max_added,
                   const struct tokconv_config *c) {
    *b = (struct tokbuild){.name = name, .json.unk = -1};
    b->max_tokens = max_tokens;
    b->max_added = max_added + c->added.n + N_ROLES + c->extra.n;
    b->tokens = xcalloc(larger(max_tokens, 1), sizeof *b->tokens);
    b->added = xcalloc(b->max_added, sizeof *b->added);
    b->used = xcalloc(TOKJSON_MAX_TOKENS / 8 + 1, 1);
    strmap_init(&b->ids, max_tokens);
    strmap_init(&b->added_ids, b->max_added);
}

void tokbuild_free(struct tokbuild *b) {
    tokjson_free(&b->json);
    free(b->tokens);
    free(b->merges);
    free(b->added);
    free(b->used);
    strmap_free(&b->ids);
    strmap_free(&b->added_ids);
    arena_free(&b->arena);
    *b = (struct tokbuild){0};
}

static bool is_used(const struct tokbuild *b, uint32_t id) {
    return b->used[id / 8] >> id % 8 & 1;
}

static void use(struct tokbuild *b, uint32_t id) {
    b->used[id / 8] |= (unsigned char)(1u << id % 8);
    if (id >= b->next_id)
        b->next_id = id + 1;
}

int tokbuild_token(struct tokbuild *b, struct str text, uint32_t id, double score, struct err *e) {
    if (id >= TOKJSON_MAX_TOKENS)
        return err_set(e, EXIT_DATA, "token '%.*s' has the id %" PRIu32 ", more than %u: %s",
                       str_shown(text), text.p, id, TOKJSON_MAX_TOKENS - 1, b->name);
    if (text.n == 0)
        return err_set(e, EXIT_DATA, "token %" PRIu32 " is empty: %s", id, b->name);
    if (is_used(b, id))
        return err_set(e, EXIT_DATA, "the id %" PRIu32 " of token '%.*s' is there twice: %s", id,
                       str_shown(text), text.p, b->name);
    if (!strmap_add(&b->ids, text, (uint32_t)b->json.n_tokens))
        return err_set(e, EXIT_DATA, "token '%.*s' is there twice: %s", str_shown(text), text.p,
                       b->name);
    use(b, id);
    b->tokens[b->json.n_tokens++] = (struct tokjson_token){text, id, score};
    b->json.tokens = b->tokens;
    return 0;
}

/* Finds or adds the added token t. want: the id for a text that is new, or NOT_GIVEN. */
static int add(struct tokbuild *b, struct tokjson_added t, int64_t want, struct err *e) {
    uint32_t at;
    if (strmap_find(&b->added_ids, t.text, &at)) {
        if (t.special && !b->added[at].special) {
            b->added[at].special = true;
            b->added[at].normalized = t.normalized;
        }
        return 0;
    }
    if (strmap_find(&b->ids, t.text, &at))
        t.id = b->tokens[at].id;
    else if (want >= 0 && want < TOKJSON_MAX_TOKENS && !is_used(b, (uint32_t)want))
        t.id = (uint32_t)want;
    else
        t.id = b->next_id;
    if (t.id >= TOKJSON_MAX_TOKENS)
        return err_set(e, EXIT_DATA, "more than %u tokens: %s", TOKJSON_MAX_TOKENS, b->name);
    if (want >= 0 && t.id != want)
        warn("the added token '%.*s' gets the id %" PRIu32 ", not %" PRId64 ": %s",
             str_shown(t.text), t.text.p, t.id, want, b->name);
    use(b, t.id);
    strmap_add(&b->added_ids, t.text, (uint32_t)b->json.n_added);
    b->added[b->json.n_added++] = t;
    b->json.added = b->added;
    return 0;
}

void tokbuild_special(struct tokbuild *b, struct str text, bool special) {
    add(b, (struct tokjson_added){.text = text, .special = special}, NOT_GIVEN, NULL);
}

static struct tokjson_added as_added(const struct tokconv_token *t, bool special) {
    struct tokjson_added a = {.text = t->text, .special = special || t->special};
    if (t->has_flags) {
        a.single_word = t->single_word;
        a.lstrip = t->lstrip;
        a.rstrip = t->rstrip;
        a.normalized = t->normalized;
    }
    return a;
}

static int add_role(struct tokbuild *b, const struct tokconv_config *c,
                    const struct tokconv_class *k, int role, struct err *e) {
    struct tokconv_token t = c->named[role];
    if (!t.given && k->defaults[role])
        t.text = str_of(k->defaults[role]);
    if (t.text.n == 0)
        return 0;
    if (add(b, as_added(&t, true), NOT_GIVEN, e) != 0)
        return -1;
    uint32_t at;
    strmap_find(&b->added_ids, t.text, &at);
    b->has_role[role] = true;
    b->roles[role] = (struct tokjson_special){b->added[at].text, b->added[at].id};
    return 0;
}

static int by_id(const void *a, const void *b) {
    const struct tokjson_added *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

int tokbuild_config(struct tokbuild *b, const struct tokconv_config *c,
                    const struct tokconv_class *k, struct err *e) {
    for (size_t i = 0; i < c->added.n; i++)
        if (add(b, as_added(&c->added.items[i], false), c->added.items[i].id, e) != 0)
            return -1;
    for (int r = 0; r < N_ROLES; r++)
        if (add_role(b, c, k, r, e) != 0)
            return -1;
    for (size_t i = 0; i < c->extra.n; i++)
        if (c->extra.items[i].text.n &&
            add(b, as_added(&c->extra.items[i], true), NOT_GIVEN, e) != 0)
            return -1;
    if (b->json.n_added)
        qsort(b->added, b->json.n_added, sizeof *b->added, by_id);
    bool bos = c->add_bos == NOT_GIVEN ? k->add_bos : c->add_bos;
    b->add_bos = bos && b->has_role[ROLE_BOS];
    b->add_eos = c->add_eos == 1 && b->has_role[ROLE_EOS];
    return 0;
}

void tokbuild_template(struct tokbuild *b) {
    tokjson_bos_eos(b->add_bos, b->add_eos, b->roles[ROLE_BOS], b->roles[ROLE_EOS],
                    &b->json.post_processor);
}

void tokbuild_config_json(const struct tokbuild *b, struct buf *out) {
    buf_fmt(out, "{\n  \"add_bos_token\": %s,\n  \"add_eos_token\": %s",
            b->add_bos ? "true" : "false", b->add_eos ? "true" : "false");
    for (int r = 0; r < N_ROLES; r++)
        if (b->has_role[r])
            tokjson_member(tokconv_role_keys[r], b->roles[r].text, out);
    buf_str(out, ",\n  \"clean_up_tokenization_spaces\": false"
                 ",\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
}

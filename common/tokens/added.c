/* Searching for added tokens: see added.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/added.h"

#include <stdlib.h>

#include "unicode/unicode.h"

#define NONE UINT32_MAX

static int by_pattern(const void *a, const void *b) {
    const struct added_token *x = *(const struct added_token *const *)a,
                             *y = *(const struct added_token *const *)b;
    size_t n = x->pattern.n < y->pattern.n ? x->pattern.n : y->pattern.n;
    int c = n ? memcmp(x->pattern.p, y->pattern.p, n) : 0;
    if (c == 0 && x->pattern.n == y->pattern.n)
        return x < y ? -1 : x > y;
    return c ? c : x->pattern.n < y->pattern.n ? -1 : 1;
}

/* A range of the sorted patterns that share their first `depth` bytes, and their node. */
struct trie_range {
    size_t from, to, depth;
    uint32_t node;
};

/* Builds the trie breadth first, so that the children of a node are adjacent. sorted [n]. */
static void grow_trie(struct added_set *set, const struct added_token **sorted, size_t n,
                      const struct added_token *base) {
    size_t bytes = 1;
    for (size_t i = 0; i < n; i++)
        bytes += sorted[i]->pattern.n;
    set->nodes = xcalloc(bytes, sizeof *set->nodes);
    struct trie_range *queue = xcalloc(bytes, sizeof *queue);
    size_t head = 0, tail = 0;
    set->nodes[0].token = NONE;
    set->n_nodes = 1;
    queue[tail++] = (struct trie_range){0, n, 0, 0};
    while (head < tail) {
        struct trie_range s = queue[head++];
        if (s.from < s.to && sorted[s.from]->pattern.n == s.depth) {
            set->nodes[s.node].token = (uint32_t)(sorted[s.from] - base);
            s.from++;
        }
        set->nodes[s.node].first = set->n_nodes;
        while (s.from < s.to) {
            unsigned char byte = (unsigned char)sorted[s.from]->pattern.p[s.depth];
            size_t to = s.from;
            while (to < s.to && (unsigned char)sorted[to]->pattern.p[s.depth] == byte)
                to++;
            set->nodes[s.node].n_children++;
            set->nodes[set->n_nodes] = (struct added_node){.token = NONE, .byte = byte};
            queue[tail++] = (struct trie_range){s.from, to, s.depth + 1, set->n_nodes++};
            s.from = to;
        }
    }
    free(queue);
}

static void build_set(struct added_set *set, const struct added *a, bool normalized) {
    const struct added_token **sorted = xcalloc(a->n, sizeof *sorted);
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++)
        if (a->tokens[i].normalized == normalized && !a->tokens[i].gone)
            sorted[n++] = &a->tokens[i];
    if (n > 1)
        qsort(sorted, n, sizeof *sorted, by_pattern);
    // A pattern that is empty after normalization is not in the trie. Of equal patterns the
    // first counts.
    set->empty = n && sorted[0]->pattern.n == 0 ? (uint32_t)(sorted[0] - a->tokens) : NONE;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (sorted[i]->pattern.n &&
            (kept == 0 || !str_same(sorted[kept - 1]->pattern, sorted[i]->pattern)))
            sorted[kept++] = sorted[i];
    n = kept;
    set->only_start = -1;
    if (n) {
        grow_trie(set, sorted, n, a->tokens);
        for (unsigned i = 0; i < set->nodes[0].n_children; i++)
            set->starts[set->nodes[1 + i].byte] = true;
        if (set->nodes[0].n_children == 1)
            set->only_start = set->nodes[1].byte;
    }
    free(sorted);
}

void added_build(struct added *a) {
    build_set(&a->plain, a, false);
    build_set(&a->normalized, a, true);
}

void added_free(struct added *a) {
    free(a->tokens);
    free(a->plain.nodes);
    free(a->normalized.nodes);
}

static uint32_t child(const struct added_set *set, uint32_t node, unsigned char byte) {
    uint32_t low = set->nodes[node].first, high = low + set->nodes[node].n_children;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (set->nodes[mid].byte < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return low < set->nodes[node].first + set->nodes[node].n_children &&
                   set->nodes[low].byte == byte
               ? low
               : NONE;
}

/* White space that some models have as added tokens, such as Gemma's newlines. It controls nothing,
 * so it matches in untrusted text too. */
static bool is_blank(const struct added_token *t) {
    for (size_t i = 0; i < t->content.n; i++)
        if (!strchr(" \t\n\r", t->content.p[i]) || !t->content.p[i])
            return false;
    return !t->special;
}

bool added_is_control(const struct added_token *t) {
    return !t->plain && !is_blank(t);
}

static bool is_plain(const struct added_iter *it, const struct added_token *t) {
    return t->plain || (it->split_special && !t->special);
}

/* Returns the token of the longest pattern that begins at i, or NONE. */
static uint32_t longest_at(struct added_iter *it, size_t i, size_t *end) {
    uint32_t node = 0, token = NONE;
    size_t from = i;
    bool allowed = true, foreign = it->allowed != NULL;
    for (; i < it->text.n; i++) {
        allowed = allowed && (!it->allowed || it->allowed[i]);
        foreign = foreign && !it->allowed[i];
        node = child(it->set, node, (unsigned char)it->text.p[i]);
        if (node == NONE)
            break;
        uint32_t here = it->set->nodes[node].token;
        if (here != NONE && (allowed || (foreign && is_plain(it, &it->a->tokens[here])) ||
                             is_blank(&it->a->tokens[here]))) {
            token = here;
            *end = i + 1;
        }
    }
    it->steps += token == NONE ? i - from : 0;
    it->too_slow |= it->steps > (uint64_t)it->text.n * ADDED_STEPS;
    return token;
}

static size_t next_char(struct str text, size_t i) {
    return i + (i < text.n ? uni_len(text.p[i]) : 1);
}

/* An empty pattern matches everywhere, also at the text's end. The longest pattern at `at` goes
 * first. Directly after another match the empty pattern does not match. */
static uint32_t find_or_nothing(struct added_iter *it, size_t *start, size_t *end) {
    for (size_t i = it->at; i <= it->text.n && it->text.n && !it->too_slow;
         i = next_char(it->text, i)) {
        *start = *end = i;
        uint32_t token = it->set->nodes ? longest_at(it, i, end) : NONE;
        if (token != NONE || i > it->at || !it->after_match)
            return token != NONE ? token : it->set->empty;
    }
    return NONE;
}

/* Returns the leftmost match at or after `at`, and of several there the longest. */
static uint32_t find(struct added_iter *it, size_t *start, size_t *end) {
    if (it->set->empty != NONE)
        return find_or_nothing(it, start, end);
    for (size_t i = it->at; i < it->text.n && !it->too_slow; i++) {
        if (it->set->only_start >= 0) {
            const char *p = memchr(it->text.p + i, it->set->only_start, it->text.n - i);
            if (!p)
                return NONE;
            i = (size_t)(p - it->text.p);
        } else if (!it->set->starts[(unsigned char)it->text.p[i]]) {
            continue;
        }
        uint32_t token = longest_at(it, i, end);
        if (token != NONE) {
            *start = i;
            return token;
        }
    }
    return NONE;
}

static bool word_at(struct str text, size_t i) {
    size_t len;
    return i < text.n && uni_bits(uni_next(text.p + i, &len)) & UNI_RUST_WORD;
}

static bool space_at(struct str text, size_t i) {
    size_t len;
    return uni_bits(uni_next(text.p + i, &len)) & UNI_SPACE;
}

struct added_iter added_begin(const struct added *a, bool normalized, struct str text,
                              const uint8_t *allowed) {
    return (struct added_iter){
        .a = a, .set = normalized ? &a->normalized : &a->plain, .text = text, .allowed = allowed};
}

static bool all_allowed(const struct added_iter *it, size_t start, size_t end) {
    while (it->allowed && start < end)
        if (!it->allowed[start++])
            return false;
    return true;
}

bool added_next(struct added_iter *it, struct added_match *m) {
    size_t start, end;
    uint32_t token;
    if (!it->set->nodes && it->set->empty == NONE)
        return false;
    while ((token = find(it, &start, &end)) != NONE) {
        const struct added_token *t = &it->a->tokens[token];
        size_t at = start;
        it->after_match = start < end;
        it->at = it->after_match ? end : next_char(it->text, end);
        if (t->single_word && (word_at(it->text, end) ||
                               (start > 0 && word_at(it->text, uni_before(it->text.p, start)))))
            continue;
        if (t->lstrip) {
            size_t left = start;
            while (left > 0 && space_at(it->text, uni_before(it->text.p, left)))
                left = uni_before(it->text.p, left);
            // White space that the previous match took stays with that match.
            start = left > it->covered ? left : it->covered;
        }
        if (t->rstrip)
            while (end < it->text.n && space_at(it->text, end))
                end += uni_len(it->text.p[end]);
        if (token == it->set->empty && !all_allowed(it, start, end))
            start = end = at;
        *m = (struct added_match){t, start, end, it->covered};
        it->covered = end;
        // A match can be empty here because the previous one took its text: skip it then.
        if (start < end || m->from < start)
            return true;
    }
    return false;
}

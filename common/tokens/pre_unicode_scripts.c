/* UnicodeScripts: a word ends where the script changes. "日本abc" is split into "日本", "abc".
 *
 * Hiragana, Katakana and the long vowel mark count as Han. Spaces and characters without a script
 * join the word before them. At the beginning of a text they are lost, as in the reference.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/pre.h"
#include "unicode/scripts.h"
#include "unicode/unicode.h"

static int script_of(uint32_t cp) {
    size_t low = 0, high = script_ranges_n;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (script_ranges[mid].start <= cp)
            low = mid;
        else
            high = mid;
    }
    return script_ranges[low].script;
}

static int split(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p) {
    int last = SCRIPT_ANY;
    size_t from = p->n, len;
    (void)data;
    for (size_t i = 0; i < p->n; i += len) {
        int script = script_of(uni_next(p->p + i, &len));
        if (script == SCRIPT_ANY || script == last)
            continue;
        if (from < i) {
            struct tok_piece word = tok_piece_cut(p, from, i);
            if (pre_next(run, step, &word) != 0)
                return -1;
        }
        from = i;
        last = script;
    }
    struct tok_piece word = tok_piece_cut(p, from, p->n);
    return pre_next(run, step, &word);
}

const struct pre_kind pre_unicode_scripts = {"UnicodeScripts", NULL, NULL, split};

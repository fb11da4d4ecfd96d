/* Digits: separates numbers from other text. Numbers are Rust's is_numeric: Nd, Nl and No. With
 * individual_digits each is a word, otherwise a run of them is one word.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/pre.h"
#include "unicode/unicode.h"

static void *load(struct json *j) {
    enum pre_behavior *b = xcalloc(1, sizeof *b);
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "individual_digits")) {
            *b = json_bool(j) ? BEHAVIOR_ISOLATED : BEHAVIOR_CONTIGUOUS;
            found = true;
        } else {
            json_skip(j);
        }
    component_need(j, found, "Digits", "individual_digits");
    return b;
}

static int split(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p) {
    const enum pre_behavior *b = data;
    return pre_split_chars(run, step, p, UNI_NUMERIC, *b);
}

const struct pre_kind pre_digits = {"Digits", load, free, split};

/* generation_config.json: see generation.h. The keys are those of transformers' GenerationConfig
 * (generation/configuration_utils.py).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/generation.h"

#include <math.h>

#include "base/io.h"
#include "base/json.h"

enum { MAX_BYTES = 4 << 20 };

/* Keys that set a parameter. */
static const struct {
    const char *key, *ours;
    bool draws; // it has an effect only on a draw
} taken[] = {
    {"temperature", "temp", false},
    {"top_k", "top_k", true},
    {"top_p", "top_p", true},
    {"min_p", "min_p", true},
    {"repetition_penalty", "repetition_penalty", false},
    {"max_new_tokens", "max", false},
};

/* Keys that would change results, and the number that changes nothing. Nor do null, false and what
 * is empty. */
static const struct {
    const char *key;
    double nothing;
} refused[] = {
    {"num_beams", 1},
    {"num_beam_groups", 1},
    {"num_return_sequences", 1},
    {"typical_p", 1},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"penalty_alpha", 0},
    {"top_h", 1},
    {"guidance_scale", 1},
    {"encoder_repetition_penalty", 1},
    {"no_repeat_ngram_size", 0},
    {"encoder_no_repeat_ngram_size", 0},
    {"diversity_penalty", 0},
    {"min_length", 0},
    {"min_new_tokens", 0},
    {"bad_words_ids", 0},
    {"force_words_ids", 0},
    {"constraints", 0},
    {"suppress_tokens", 0},
    {"begin_suppress_tokens", 0},
    {"sequence_bias", 0},
    {"exponential_decay_length_penalty", 0},
    {"watermarking_config", 0},
    {"dola_layers", 0},
};

/* ids that may be 0 */
static const char *const refused_ids[] = {"forced_bos_token_id", "forced_eos_token_id",
                                          "forced_decoder_ids"};

struct generation {
    struct sample_params *p;
    struct stop_texts *stops;
    struct buf *said;
    bool temperature, draws, samples, greedy;
};

static void take_number(struct generation *g, struct json *j, size_t i) {
    struct err bad = {0};
    struct buf text = {0};
    bool number = json_peek(j) == JSON_NUMBER;
    struct json before = *j;
    struct str raw = json_skip(j);
    double v = json_failed(j) || !number ? 0 : json_f64(&before);
    if (!number) {
        json_refuse(j, "%s must be a number", taken[i].key);
    } else if (v >= 0 && v < 1e15 && v <= floor(v)) { // 50.0 for 50
        buf_fmt(&text, "%.0f", v);
    } else {
        buf_add(&text, raw.p, raw.n);
    }
    if (!json_failed(j) && sample_param(g->p, taken[i].ours, buf_view(&text), &bad) < 0)
        json_refuse(j, "%s: %s", taken[i].key, bad.msg);
    buf_fmt(g->said, "%s%s=%s", g->said->n ? " " : "", taken[i].ours, text.p ? text.p : "");
    g->temperature |= i == 0;
    g->draws |= taken[i].draws;
    buf_free(&text);
}

static void add_stop(struct generation *g, struct json *j) {
    struct err bad = {0};
    struct str text = json_str(j);
    if (!json_failed(j) && stop_texts_add(g->stops, text, &bad) != 0)
        json_refuse(j, "stop_strings: %s", bad.msg);
    buf_str(g->said, g->said->n ? " stop=" : "stop=");
    json_write_str(g->said, text.n ? text : str_of(""));
}

static void take_stops(struct generation *g, struct json *j) {
    if (json_peek(j) != JSON_ARRAY) {
        add_stop(g, j);
        return;
    }
    json_enter_array(j);
    while (json_item(j))
        add_stop(g, j);
}

/* Whether a value asks for something: it is not null, false, empty or the number that changes
 * nothing. number: its value, NaN if it is no number. */
static bool asks(struct str raw, double number, double nothing) {
    static const char *const empty[] = {"null", "false", "\"\"", "[]", "{}"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++)
        if (str_eq(raw, empty[i]))
            return false;
    return !(number >= nothing && number <= nothing);
}

static void refuse_if_asked(struct json *j, struct str key) {
    bool is_number = json_peek(j) == JSON_NUMBER;
    struct json before = *j;
    struct str raw = json_skip(j);
    double number = is_number && !json_failed(j) ? json_f64(&before) : (double)NAN;
    bool bad = false;
    for (size_t i = 0; i < sizeof refused / sizeof *refused && !json_failed(j); i++)
        bad |= str_eq(key, refused[i].key) && asks(raw, number, refused[i].nothing);
    for (size_t i = 0; i < sizeof refused_ids / sizeof *refused_ids && !json_failed(j); i++)
        bad |= str_eq(key, refused_ids[i]) && !str_eq(raw, "null");
    if (bad)
        json_refuse(j, "%.*s is %.*s, which is not supported", str_shown(key), key.p,
                    str_shown(raw), raw.p);
}

static void take_member(struct generation *g, struct json *j, struct str key) {
    if (json_null(j))
        return;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (str_eq(key, taken[i].key)) {
            take_number(g, j, i);
            return;
        }
    if (str_eq(key, "do_sample")) {
        g->samples = json_bool(j);
        g->greedy = !g->samples;
    } else if (str_eq(key, "stop_strings")) {
        take_stops(g, j);
    } else {
        refuse_if_asked(j, key);
    }
}

int sample_generation(struct sample_params *p, struct stop_texts *stops, const char *path,
                      struct buf *said, struct err *e) {
    struct generation g = {.p = p, .stops = stops, .said = said};
    struct buf text = {0};
    struct json j;
    struct str key;
    if (read_file(path, MAX_BYTES, &text, e) != 0)
        return -1;
    json_init(&j, path, text.p, text.n, e);
    j.python = true;
    json_enter_object(&j);
    while (json_key(&j, &key))
        take_member(&g, &j, key);
    bool good = json_end(&j);
    json_free(&j);
    buf_free(&text);
    if (g.greedy) {
        p->temp = 0;
        buf_str(said, said->n ? " do_sample=false" : "do_sample=false");
    } else if (!g.temperature && (g.samples || g.draws)) {
        p->temp = 1;
        buf_str(said, said->n ? " temp=1" : "temp=1");
    }
    return good ? 0 : -1;
}

/* The sampling chain against transformers 5.23.0. For logits from a formula, the chain must draw
 * each token as often as the probabilities of its processors say (float32;
 * RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopK, TopP, MinP in this order). The
 * random numbers are a hash of seed, sequence and step, so every run of the test draws the same
 * tokens.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/chain.h"

#include <math.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "base/attrs.h"
#include "sample/step.h"

enum { VOCAB = 64, DRAWS = 20000 };

static const uint32_t seen[] = {3, 9, 9, 20, 41, 3};

static const struct {
    const char *attrs;
    int period; // of the logits: 16 has ties, 64 none
    int n;
    struct {
        uint32_t id;
        double p;
    } want[20];
} cases[] = {
    {"temp=1.0 top_k=5",
     64,
     5,
     {{10, 0.19691}, {29, 0.173772}, {36, 0.252837}, {48, 0.153353}, {55, 0.223128}}},
    {"temp=1.0 top_k=6",
     16,
     8,
     {{4, 0.140544},
      {7, 0.109456},
      {20, 0.140544},
      {23, 0.109456},
      {36, 0.140544},
      {39, 0.109456},
      {52, 0.140544},
      {55, 0.109456}}},
    {"temp=1.3 top_p=0.8",
     64,
     17,
     {{1, 0.0269207},
      {3, 0.0704171},
      {8, 0.0359223},
      {10, 0.0939626},
      {15, 0.0479338},
      {20, 0.0244528},
      {22, 0.0639615},
      {27, 0.0326291},
      {29, 0.0853485},
      {34, 0.0435394},
      {36, 0.113887},
      {41, 0.0580978},
      {46, 0.0296378},
      {48, 0.0775241},
      {53, 0.0395479},
      {55, 0.103446},
      {60, 0.0527716}}},
    {"temp=1.0 top_p=0.01", 64, 1, {{36, 1}}},
    {"temp=1.0 min_p=0.2",
     64,
     13,
     {{3, 0.0783163},
      {8, 0.0326471},
      {10, 0.113949},
      {15, 0.0475012},
      {22, 0.0691139},
      {29, 0.10056},
      {34, 0.0419197},
      {36, 0.146314},
      {41, 0.0609928},
      {48, 0.088744},
      {53, 0.036994},
      {55, 0.129122},
      {60, 0.0538259}}},
    {"temp=0.9 top_k=12 top_p=0.7 min_p=0.3 repetition_penalty=1.5",
     64,
     6,
     {{10, 0.176344},
      {22, 0.101178},
      {29, 0.153477},
      {36, 0.232808},
      {48, 0.133574},
      {55, 0.202619}}},
    {"temp=1.0 repetition_penalty=1.3 top_k=8",
     64,
     8,
     {{10, 0.152109},
      {15, 0.0634085},
      {22, 0.0922588},
      {29, 0.134236},
      {36, 0.195312},
      {48, 0.118463},
      {55, 0.172362},
      {60, 0.0718512}}},
};

static void formula(float *logits, int period) {
    for (int j = 0; j < VOCAB; j++)
        logits[j] =
            (float)((j * 37 + 11) % period) / (period == 64 ? 8 : 4) - (period == 64 ? 4 : 2);
}

static void as_transformers(void) {
    struct sampler *sampler = sampler_new(VOCAB);
    float logits[VOCAB];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sample_params p = sample_defaults;
        int count[VOCAB] = {0};
        CHECK(sample_attributes(&p, str_of(cases[c].attrs), NULL) == 0);
        formula(logits, cases[c].period);
        for (uint64_t i = 0; i < DRAWS; i++) {
            struct sample_history h = {.ids = seen, .n = 6, .n_prompt = 6, .sequence = i};
            uint32_t id = VOCAB;
            CHECK(sampler_choose(sampler, logits, &p, &h, &id, NULL) == 0 && id < VOCAB);
            count[id]++;
        }
        double p_of[VOCAB] = {0};
        for (int i = 0; i < cases[c].n; i++)
            p_of[cases[c].want[i].id] = cases[c].want[i].p;
        for (int id = 0; id < VOCAB;
             id++) { // within 4 standard deviations; excluded tokens are never drawn
            double expect = DRAWS * p_of[id],
                   slack = 4 * sqrt(expect * (1 - p_of[id])) + (p_of[id] > 0);
            CHECK_MSG(fabs(count[id] - expect) <= slack, "%s: token %d drawn %d times, not %.0f",
                      cases[c].attrs, id, count[id], expect);
        }
    }
    sampler_free(sampler);
}

static uint32_t choose(const float *logits, const char *attrs, const uint32_t *ids, size_t n,
                       size_t n_prompt) {
    struct sampler *sampler = sampler_new(4);
    struct sample_params p = sample_defaults;
    struct sample_history h = {.ids = ids, .n = n, .n_prompt = n_prompt};
    uint32_t id = 99;
    CHECK(sample_attributes(&p, str_of(attrs), NULL) == 0);
    CHECK(sampler_choose(sampler, logits, &p, &h, &id, NULL) == 0);
    sampler_free(sampler);
    return id;
}

static void greedy(void) {
    static const float logits[] = {1, 3, 3, -2};
    static const uint32_t ids[] = {1, 2, 1, 0};
    CHECK_INT(choose(logits, "", ids, 0, 0), 1); // the lowest of equals
    CHECK_INT(choose(logits, "logit_bias=3=6", ids, 0, 0), 3);
    CHECK_INT(choose(logits, "logit_bias=1=-1,2=-9", ids, 0, 0), 1);
    CHECK_INT(choose(logits, "repetition_penalty=1.1", ids, 1, 1), 2); // the prompt counts
    CHECK_INT(choose(logits, "repetition_penalty=4", ids, 3, 1), 0);   // 3/4 once, not 3/4/4
    CHECK_INT(choose(logits, "repetition_penalty=2", ids, 3, 3), 1);
    CHECK_INT(choose(logits, "presence_penalty=1", ids, 3, 3), 1); // the prompt does not
    CHECK_INT(choose(logits, "presence_penalty=1", ids, 1, 0), 2);
    CHECK_INT(choose(logits, "frequency_penalty=0.5", ids, 3, 0), 2); // twice against once
    CHECK_INT(choose(logits, "frequency_penalty=3", ids, 3, 0), 0);
    CHECK_INT(choose(logits, "frequency_penalty=3", ids, 4, 0), 2); // 0: -2, 1: -3, 2: 0
}

static void sampling_edges(void) {
    static const float logits[] = {1, 3, 2, -INFINITY}, flat[] = {0, 0, 0, 0};
    CHECK_INT(choose(logits, "temp=1e-300", NULL, 0, 0), 1);
    CHECK_INT(choose(logits, "temp=100 top_k=1", NULL, 0, 0), 1);
    CHECK_INT(choose(logits, "temp=1 top_p=1e-9", NULL, 0, 0), 1);
    CHECK_INT(choose(logits, "temp=1 min_p=1", NULL, 0, 0), 1);
    int seen_ids[4] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        char attrs[64];
        snprintf(attrs, sizeof attrs, "temp=100 seed=%d", (int)seed);
        CHECK(choose(logits, attrs, NULL, 0, 0) != 3); // -Inf is never drawn
        seen_ids[choose(flat, attrs, NULL, 0, 0)]++;
    }
    for (int i = 0; i < 4; i++)
        CHECK(seen_ids[i] > 25);
}

static void bad_logits(void) {
    struct sampler *sampler = sampler_new(4);
    struct sample_history h = {0};
    uint32_t id;
    static const float rows[][4] = {
        {1, NAN, 2, 3}, {1, 2, INFINITY, 3}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}};
    static const char *const want[] = {"the logit of token 1 is NaN",
                                       "the logit of token 2 is +Inf", "every logit is -Inf"};
    for (int i = 0; i < 3; i++) {
        struct err e = {0};
        CHECK(sampler_choose(sampler, rows[i], &sample_defaults, &h, &id, &e) == -1);
        CHECK_STR(e.msg, want[i]);
    }
    sampler_free(sampler);
}

/* These bits were computed by another program (Python's integers); they must never change. */
static void same_everywhere(void) {
    CHECK(sample_uniform(0, 0, 0) == 0x1.1c13ade1c7e5cp-3);
    CHECK(sample_uniform(1, 0, 0) == 0x1.631405e8db1b0p-1);
    CHECK(sample_uniform(0, 1, 0) == 0x1.1396e6040319ep-2);
    CHECK(sample_uniform(0, 0, 1) == 0x1.79953c24b633cp-3);
    CHECK(sample_uniform(UINT64_MAX, 7, 100000) == 0x1.00ec4aa188a86p-2);
}

static void own_exp(void) {
    CHECK(sample_exp(0) == 1);
    CHECK(sample_exp(-709) == 0);
    CHECK(sample_exp(-INFINITY) == 0);
    double worst = 0;
    for (int i = 0; i <= 70000; i++) {
        double x = -i * 0.0101, want = exp(x), ulp = ldexp(1, ilogb(want) - 52);
        if (x < -708)
            break;
        worst = fmax(worst, fabs(sample_exp(x) - want) / ulp);
    }
    CHECK_MSG(worst <= 2, "off by %g ulp", worst);
}

static void parameters(void) {
    struct sample_params p = sample_defaults;
    struct err e = {0};
    CHECK_INT(sample_param(&p, "top-p", str_of("0.5"), &e), 1);
    CHECK_INT(sample_param(&p, "min_p", str_of("0.25"), &e), 1);
    CHECK(p.top_p == 0.5 && p.min_p == 0.25);
    CHECK_INT(sample_param(&p, "id", str_of("7"), &e), 0);
    CHECK_INT(sample_param(&p, "stop-id", str_of("2,7"), &e), 1);
    CHECK_INT(sample_param(&p, "stop-id", str_of("9"), &e), 1);
    CHECK(p.n_stop == 3 && sample_stops(&p, 9) && !sample_stops(&p, 8));
    CHECK_INT(sample_param(&p, "logit-bias", str_of("5=-1.5,6=2"), &e), 1);
    CHECK(p.n_bias == 2 && p.bias[1].id == 6 && p.bias[1].value == 2);
    CHECK(sample_check_ids(&p, 10, &e) == 0);
    CHECK(sample_check_ids(&p, 9, &e) == -1);
    CHECK_STR(e.msg, "stop-id: token id 9 is not in the vocabulary of 9");

    static const char *const impossible[][2] = {
        {"temp", "-1"},
        {"temp", "nan"},
        {"temp", ""},
        {"top-p", "0"},
        {"top-p", "1.1"},
        {"min-p", "-0.1"},
        {"min-p", "2"},
        {"top-k", "-1"},
        {"top-k", "1.5"},
        {"seed", "x"},
        {"max", "-3"},
        {"repetition-penalty", "0"},
        {"stop-id", ""},
        {"stop-id", "1,,2"},
        {"stop-id", "-4"},
        {"logit-bias", "5"},
        {"logit-bias", "5=x"},
        {"logit-bias", "=1"},
        {"logit-bias", "5=1001"},
        {"ignore_eos", "yes"},
    };
    for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++)
        CHECK_MSG(sample_param(&p, impossible[i][0], str_of(impossible[i][1]), &e) == -1 &&
                      e.code == EXIT_USAGE,
                  "%s %s", impossible[i][0], impossible[i][1]);

    for (size_t i = 0; sample_param_name(i); i++) // tok-encode must know all of them
        CHECK_MSG(attrs_is_param(str_of(sample_param_name(i))), "%s", sample_param_name(i));
    CHECK(sample_attributes(&p, str_of("id=7 temp=0.5 stop_id=1 seed=3 max=2 ignore_eos=1"), &e) ==
          0);
    CHECK(p.temp == 0.5 && p.seed == 3 && p.own_seed && p.max == 2 && p.ignore_eos);
    CHECK(p.n_stop == 1 && sample_stops(&p, 1)); // instead of those of the options
    CHECK(sample_attributes(&p, str_of("temp=hot"), &e) == -1);
    CHECK_STR(e.msg, "temp takes a number from 0 to 100: 'hot'");
}

/* A mask with one id; no id; all ids; a mask of more than one word. */
static void allowed(void) {
    enum { N = 130 };
    static const float logits[4] = {1, 3, 2, -INFINITY};
    struct sampler *sampler = sampler_new(4), *large = sampler_new(N);
    struct sample_params p = sample_defaults;
    uint64_t mask[3] = {1 << 2};
    struct sample_history h = {.allowed = mask};
    struct err e = {0};
    uint32_t id, other;
    for (int temp = 0; temp <= 5; temp++) { // 0 is greedy
        p.temp = temp;
        CHECK(sampler_choose(sampler, logits, &p, &h, &id, &e) == 0 && id == 2);
    }
    p.n_bias = 1;
    p.bias[0] = (struct logit_bias){1, 1000}; // no bias brings an excluded id back
    CHECK(sampler_choose(sampler, logits, &p, &h, &id, &e) == 0 && id == 2);
    p.n_bias = 0;
    mask[0] = 0;
    CHECK(sampler_choose(sampler, logits, &p, &h, &id, &e) == -1 && e.code == EXIT_DATA);
    CHECK_STR(e.msg, "no token is allowed");
    mask[0] = ~UINT64_C(15); // bits past the vocabulary have no meaning
    CHECK(sampler_choose(sampler, logits, &p, &h, &id, &e) == -1);
    CHECK_STR(e.msg, "no token is allowed");
    mask[0] = 1 << 3;
    CHECK(sampler_choose(sampler, logits, &p, &h, &id, &e) == -1);
    CHECK_STR(e.msg, "the logit of every allowed token is -Inf");

    float row[N];
    for (uint32_t i = 0; i < N; i++)
        row[i] = (float)(4 * sample_uniform(3, i, 0));
    p.temp = 1;
    p.top_p = 0.9;
    for (uint64_t seed = 0; seed < 500; seed++) {
        p.seed = seed;
        h.allowed = NULL;
        CHECK(sampler_choose(large, row, &p, &h, &id, &e) == 0);
        mask[0] = mask[1] = mask[2] = UINT64_MAX;
        h.allowed = mask;
        CHECK(sampler_choose(large, row, &p, &h, &other, &e) == 0 && other == id);
        mask[0] = 0, mask[1] = UINT64_C(1) << 63, mask[2] = 3;
        CHECK(sampler_choose(large, row, &p, &h, &id, &e) == 0 && id >= 127);
    }
    sampler_free(sampler);
    sampler_free(large);
}

/* The order of the chain is part of the result. */
static void steps(void) {
    static const char *const want[] = {"allowed",
                                       "logit_bias",
                                       "repetition_penalty",
                                       "presence_penalty, frequency_penalty",
                                       "top_k",
                                       "temp",
                                       "top_p",
                                       "min_p"};
    size_t n = 0;
    for (; n < sizeof want / sizeof *want && sample_steps[n].name; n++)
        CHECK_STR(sample_steps[n].name, want[n]);
    CHECK(n == sizeof want / sizeof *want && !sample_steps[n].name);
}

/* Selection over a large vocabulary against a plain sort. */
static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static void large_vocabulary(void) {
    enum { N = 150001 };
    float *logits = malloc(N * sizeof *logits);
    double *sorted = malloc(N * sizeof *sorted), total = 0, mass = 0;
    for (uint32_t i = 0; i < N; i++)
        logits[i] = (float)(8 * sample_uniform(5, i, 0));
    for (uint32_t i = 0; i < N; i++)
        total += sorted[i] = exp((double)logits[i] - 8);
    qsort(sorted, N, sizeof *sorted, descending);
    size_t n = 0;
    while (mass < 0.3 * total)
        mass += sorted[n++];
    struct sampler *sampler = sampler_new(N);
    struct sample_params p = sample_defaults;
    for (uint64_t i = 0; i < 60; i++) {
        struct sample_history h = {.sequence = i};
        uint32_t id;
        p.temp = 1, p.top_p = 0.3, p.top_k = 0;
        CHECK(sampler_choose(sampler, logits, &p, &h, &id, NULL) == 0);
        CHECK(exp((double)logits[id] - 8) >= sorted[n - 1] * (1 - 1e-12));
        p.top_p = 1, p.top_k = 1000;
        CHECK(sampler_choose(sampler, logits, &p, &h, &id, NULL) == 0);
        CHECK(exp((double)logits[id] - 8) >= sorted[999] * (1 - 1e-12));
    }
    sampler_free(sampler);
    free(logits);
    free(sorted);
}

int main(void) {
    RUN(as_transformers);
    RUN(greedy);
    RUN(sampling_edges);
    RUN(bad_logits);
    RUN(same_everywhere);
    RUN(own_exp);
    RUN(parameters);
    RUN(allowed);
    RUN(steps);
    RUN(large_vocabulary);
    return check_done();
}

/* Every model of tests/data/models, models-odd and quant against the reference's outputs.
 *
 * With f32 activations, logits, logits2 and hidden are within 1e-3, and greedy ids are exact. Runs
 * config.json in the v4 and in the v5 form where the folder has both, on every instruction set of
 * this CPU or with --device NAME. Arguments: names of models there, or paths of other folders of
 * that form.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"
#include "../lib/models.h"

#define QUANT_DIR "tests/data/quant"

static const float tolerance = 1e-3f;

static void check_prompt(struct model *m, size_t slot, const struct weights *g,
                         const char *ids_name, const char *logits_name, const char *hidden_name,
                         const char *where) {
    size_t n, n_logits, n_hidden;
    const int64_t *ids = models_golden(g, ids_name, &n);
    const float *want = models_golden(g, logits_name, &n_logits),
                *want_h = models_golden(g, hidden_name, &n_hidden);
    size_t vocab = model_spec(m)->vocab_size, dim = model_spec(m)->hidden_dim;
    CHECK_INT(n_logits, n * vocab);
    float *logits = xcalloc(n * vocab, sizeof *logits), *hidden = xcalloc(n * dim, sizeof *hidden);
    models_feed(m, slot, ids, n, n, logits, hidden);
    float d = models_difference(logits, want, n_logits);
    CHECK_MSG(d <= tolerance, "%s: %s differs by %g", where, logits_name, (double)d);
    if (want_h) {
        CHECK_INT(n_hidden, n * dim);
        d = models_difference(hidden, want_h, n_hidden);
        CHECK_MSG(d <= tolerance, "%s: hidden differs by %g", where, (double)d);
    }
    free(logits);
    free(hidden);
}

static void check_greedy(struct model *m, size_t slot, const struct weights *g,
                         const char *ids_name, const char *name, const char *where) {
    size_t n, n_greedy;
    const int64_t *ids = models_golden(g, ids_name, &n), *want = models_golden(g, name, &n_greedy);
    if (want)
        CHECK_MSG(models_greedy(m, slot, ids, n, want, n_greedy, 7), "%s: %s is not exact", where,
                  name);
}

static void check_folder(const char *dir, const struct weights *g, const char *where) {
    struct model_options o = {.precise = true, .n_threads = 2, .max_sequences = 5, .max_rows = 64};
    struct model *m = models_open(dir, &o);
    check_prompt(m, 0, g, "ids", "logits", "hidden", where);
    check_prompt(m, 1, g, "ids2", "logits2", "none", where);
    check_greedy(m, 2, g, "ids", "greedy", where);
    check_greedy(m, 3, g, "ids_cross", "greedy_cross", where);
    model_close(m);
}

static void check_model(const char *name) {
    char *folder = strchr(name, '/') ? xstrdup(name) : path_join(MODELS_DIR, name),
         *golden = path_join(folder, "golden.safetensors"), where[200];
    struct weights g;
    struct err e = {0};
    if (weights_open(&g, golden, &e) != 0)
        die_err(&e);
    char *v5 = path_join(folder, "config.v5.json"), *v4 = path_join(folder, "config.v4.json");
    char *other = is_file(v5)   ? models_with_config(folder, "config.v5.json")
                  : is_file(v4) ? models_with_config(folder, "config.v4.json")
                                : NULL;
    // A sanitizer sees the model's code on one instruction set; unit kernels has the kernels of
    // each.
    const char *const one[] = {models_device ? models_device : kernels_isa(), NULL};
    for (const char *const *isa = models_device || CHECK_SLOW ? one : kernels_isas(); *isa; isa++) {
        if (!models_device)
            kernels_use(*isa);
        snprintf(where, sizeof where, "%s, config.json, %s", name, *isa);
        check_folder(folder, &g, where);
        snprintf(where, sizeof where, "%s, other form, %s", name, *isa);
        if (other)
            check_folder(other, &g, where);
    }
    if (other)
        models_remove(other);
    weights_close(&g);
    free(v5);
    free(v4);
    free(golden);
    free(folder);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void run(const char *name) {
    check_here = 0;
    check_model(name);
    printf("%s %d %s\n", check_here ? "not ok" : "ok", ++check_count, name);
    check_bad += check_here != 0;
}

/* Every folder in dir, in order; returns how many there were. */
static size_t run_all(const char *dir) {
    char *names[100];
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && n < 100 && (f = readdir(d));)
        if (f->d_name[0] != '.' && !strchr(f->d_name, '.'))
            names[n++] = path_join(dir, f->d_name);
    if (d)
        closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        run(names[i]);
        free(names[i]);
    }
    return n;
}

int main(int argc, char **argv) {
    struct err e = {0};
    program_init(argv[0]);
    models_arguments(&argc, argv);
    if (kernels_init(&e) != 0)
        die_err(&e);
    for (int i = 1; i < argc; i++)
        run(argv[i]);
    if (argc > 1)
        return check_done();
    size_t n = run_all(MODELS_DIR), n_odd = run_all(MODELS_DIR "-odd"),
           n_quant = run_all(QUANT_DIR);
    return check_done() || n < 32 || n_odd < 16 || n_quant < 17;
}

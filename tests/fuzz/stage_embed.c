/* Fuzz entry: the body of llm-embed. The input is a byte, config.json, a byte 0 and tokens(5). The
 * byte chooses the weights of tests/data/embed, the form of the output, and what is done with long
 * sequences. JSON lines must be JSON; vectors(5) must be read by its reader, in order.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "stages/embed.h"

static const char *const folders[] = {"bert",       "xlm-roberta", "modernbert",
                                      "nomic-bert", "qwen3",       "gemma3"};

enum { N_FOLDERS = sizeof folders / sizeof *folders, MAX_IDS = 100, MOST_DIM = 256 };

/* The folder's weights, under the name of the fuzzer's own. */
static void place_weights(const char *folder) {
    char cwd[4096];
    if (!getcwd(cwd, sizeof cwd))
        abort();
    fuzz_unlink("model.safetensors");
    char *to = xasprintf("%s/tests/data/embed/%s/model.safetensors", cwd, folder);
    char *from = path_join(fuzz_folder(), "model.safetensors");
    if (symlink(to, from) != 0)
        abort();
    free(to);
    free(from);
}

static void check_json_lines(const char *p, size_t n) {
    for (size_t at = 0; at < n;) {
        const char *end = memchr(p + at, '\n', n - at);
        assert(end);
        fuzz_check_json((struct str){p + at, (size_t)(end - p) - at});
        at = (size_t)(end - p) + 1;
    }
}

static void check_vectors(const char *p, size_t n) {
    struct vectors_header h;
    struct vectors_record v;
    struct err e = {0};
    FILE *f = tmpfile();
    if (!f || fwrite(p, 1, n, f) != n || fflush(f) != 0)
        abort();
    rewind(f);
    struct vectors_reader *r = vectors_reader_new(fileno(f), "output", &h, &e);
    assert(r);
    uint64_t k = 0;
    int rc;
    for (; (rc = vectors_next(r, &v, &e)) == 1; k++)
        assert(v.id == k);
    assert(rc == 0);
    vectors_reader_free(r);
    fclose(f);
}

static void run(struct model *m, unsigned bits, struct str tokens) {
    static const uint32_t ends[1] = {5};
    struct err e = {0};
    struct sentence_spec none = {0};
    size_t dim = model_spec(m)->hidden_dim;
    const unsigned pools = bits & 8 ? POOL_MEAN | POOL_LAST : POOL_CLS;
    struct embed_job job = {.model = m,
                            .pools = pools,
                            .max_ids = model_context(m),
                            .max_batch = 3,
                            .is_long = (enum embed_long)(bits >> 4 & 3) % 3,
                            .n_end = 1,
                            .begin = ends,
                            .end = ends,
                            .unit = true};
    const struct embed_form form = {.json = bits >> 6 & 1};
    job.header = (struct vectors_header){.dim = (uint32_t)(pooling_count(pools) * dim),
                                         .dtype = VECTORS_BF16,
                                         .metric = VECTORS_DOT};
    job.steps = embed_steps_open(&none, ".", pooling_count(pools) * dim, &e);
    char *out = NULL;
    size_t n_out = 0;
    int code = EXIT_DONE;
    FILE *f = open_memstream(&out, &n_out);
    int rc = stage_embed(&job, &form, fuzz_fd((const uint8_t *)tokens.p, tokens.n), "fuzz", f,
                         &code, &e);
    fclose(f);
    if (rc != 0)
        assert(e.code && e.msg[0]);
    else if (form.json)
        check_json_lines(out, n_out);
    else
        check_vectors(out, n_out);
    free(out);
    embed_steps_free(job.steps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct model_options o = {.n_threads = 1,
                                    .embeds = true,
                                    .limit = MAX_IDS,
                                    .max_sequences = 3,
                                    .max_rows = EMBED_ROWS};
    struct model *m;
    struct err e = {0};
    warn_quiet(1);
    if (size == 0)
        return 0;
    struct fuzz_parts in = fuzz_split(data + 1, size - 1);
    place_weights(folders[(data[0] & 7) % N_FOLDERS]);
    free(fuzz_file("config.json", in.first));
    if (kernels_init(&e) != 0)
        die_err(&e);
    if (model_open(&m, fuzz_folder(), &o, &e) != 0) {
        fuzz_check_refusal(&e);
        return 0;
    }
    if (model_context(m) > 1 && model_spec(m)->hidden_dim <= MOST_DIM)
        run(m, data[0], in.rest);
    model_close(m);
    return 0;
}

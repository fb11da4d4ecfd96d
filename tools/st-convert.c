/* st-convert: converts a GGUF file or a Hugging Face folder to a Hugging Face folder of another
 * dtype, and other libraries' tokenizer files to tokenizer.json. See man/st-convert.1.
 *
 * From GGUF it writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json
 * and model.safetensors, with quantised blocks dequantised to --dtype. From a folder it converts
 * the tensors and copies the small files; it makes tokenizer.json where the folder has none but the
 * files of another library (common/tokconv). The output folder appears under its name when it is
 * complete. An error or a signal leaves nothing on the disk.
 *
 * It refuses unknown architectures, tokenizers and block formats, missing and unused tensors, and
 * an output folder that exists, unless --force is given.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/ending.h"
#include "base/io.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "gguf/convert.h"
#include "gguf/vocab.h"
#include "stages/folder_copy.h"
#include "stages/tokenizer_out.h"
#include "weights/convert.h"

static const char help[] =
    "usage: st-convert [-fqv] [--dtype T] [--keep-quant] [--pre NAME] SOURCE FOLDER\n"
    "Converts a GGUF file to a new Hugging Face folder, or a Hugging Face folder to another type.\n"
    "A tokenizer.model, tekken.json, .tiktoken or vocab.json becomes a tokenizer.json.\n"
    "\n"
    "      --dtype T    f32, f16 or bf16 (default): the type of every float tensor that is "
    "written\n"
    "      --keep-quant keep GGUF's Q4_0, Q4_1, Q8_0, Q4_K and Q6_K blocks, instead of --dtype\n"
    "      --pre NAME   use this pre-tokenizer instead of the one that the file names\n"
    "  -f, --force      replace FOLDER if it is a model folder\n"
    "  -q, --quiet      no warnings\n"
    "      --no-sandbox\n"
    "                   run without the sandbox (debugging)\n"
    "  -v, --verbose    print on stderr what was found\n"
    "  -h, --help       this text\n"
    "  -V, --version    the version\n";

struct options {
    enum dtype dtype;
    const char *pre;
    bool force, keep;
    const char *source, *target;
};

static enum dtype dtype_option(const char *arg) {
    if (strcmp(arg, "f32") == 0)
        return DT_F32;
    if (strcmp(arg, "f16") == 0)
        return DT_F16;
    if (strcmp(arg, "bf16") == 0)
        return DT_BF16;
    die_usage("--dtype '%s' is not f32, f16 or bf16", arg);
}

enum { OPT_DTYPE = OPT_LONG_ONLY, OPT_PRE, OPT_KEEP };

static const struct option longs[] = {
    {"dtype", required_argument, NULL, OPT_DTYPE},
    {"keep-quant", no_argument, NULL, OPT_KEEP},
    {"pre", required_argument, NULL, OPT_PRE},
    {"force", no_argument, NULL, 'f'},
    OPT_COMMON,
};

static void parse_options(int argc, char **argv, struct options *o) {
    o->dtype = DT_BF16;
    for (int c; (c = getopt_long(argc, argv, "f" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case OPT_DTYPE:
            o->dtype = dtype_option(optarg);
            break;
        case OPT_KEEP:
            o->keep = true;
            break;
        case OPT_PRE:
            o->pre = optarg;
            break;
        case 'f':
            o->force = true;
            break;
        default:
            opt_common(c, help);
        }
    if (argc - optind != 2)
        die_usage("a source and a folder are needed");
    o->source = argv[optind];
    o->target = argv[optind + 1];
    if (strcmp(o->source, "-") == 0)
        die_usage("the source is mapped, so it cannot be stdin");
}

static int write_tokenizer(const struct gguf_vocab *v, uint64_t max_pos, const struct outdir *dir,
                           struct err *e) {
    struct buf text = {0};
    int rc = gguf_tokenizer_json(v, &text, e);
    if (rc == 0)
        rc = outdir_file(dir, "tokenizer.json", text.p, text.n, e);
    buf_clear(&text);
    if (rc == 0)
        rc = gguf_tokenizer_config_json(v, max_pos, &text, e);
    if (rc == 0)
        rc = outdir_file(dir, "tokenizer_config.json", text.p, text.n, e);
    buf_free(&text);
    return rc;
}

static int write_configs(const struct gguf_model *m, const struct gguf_vocab *v, enum dtype t,
                         bool kept, const struct outdir *dir, struct err *e) {
    struct gguf_ids ids = {.bos = v->bos, .pad = v->pad};
    if (v->eos >= 0)
        ids.eos[ids.n_eos++] = v->eos;
    if (v->eot >= 0 && v->eot != v->eos)
        ids.eos[ids.n_eos++] = v->eot;
    int64_t turn[GGUF_MAX_EOS - 2];
    size_t n_turn = gguf_turn_ends(v, turn, GGUF_MAX_EOS - 2);
    for (size_t i = 0; i < n_turn; i++)
        if (turn[i] != v->eos && turn[i] != v->eot)
            ids.eos[ids.n_eos++] = turn[i];
    if (ids.n_eos == 0)
        warn("no token is known that ends a text: answers will not end by themselves: %s",
             v->g->path);
    struct buf text = {0};
    gguf_config_json(m, t, kept, &ids, &text);
    int rc = outdir_file(dir, "config.json", text.p, text.n, e);
    buf_clear(&text);
    gguf_generation_config_json(&ids, &text);
    if (rc == 0)
        rc = outdir_file(dir, "generation_config.json", text.p, text.n, e);
    buf_free(&text);
    return rc;
}

static int from_gguf(const struct options *o, const struct gguf_model *m,
                     const struct gguf_vocab *v, struct err *e) {
    if (v->n > m->vocab_size)
        return err_set(e, EXIT_DATA, "%zu tokens, but an embedding of %" PRIu64 ": %s", v->n,
                       m->vocab_size, o->source);
    if (opt_verbose())
        print_note("%s as %s: %" PRIu64 " layers, %zu tensors, %zu tokens%s", m->arch->name,
                   m->arch->model_type, m->n_layers, m->n_tensors, v->n,
                   m->tied ? ", the embedding is the head" : "");
    struct outdir dir;
    if (outdir_open(&dir, o->target, o->force, e) != 0)
        return -1;
    size_t n_kept;
    struct convert_item *items = gguf_convert_items(m, o->dtype, o->keep, &n_kept);
    if (o->keep && n_kept == 0)
        warn("no matrix has blocks that can be kept: %s", o->source);
    else if (o->keep && opt_verbose())
        print_note("%zu matrices keep their blocks", n_kept);
    int rc = write_tokenizer(v, m->max_pos, &dir, e);
    if (rc == 0)
        rc = write_configs(m, v, o->dtype, n_kept > 0, &dir, e);
    if (rc == 0)
        rc = convert_write(items, m->n_tensors, &dir, ending_pending, e);
    gguf_convert_free(items, m->n_tensors);
    if (rc == 0)
        return outdir_commit(&dir, e);
    outdir_abort(&dir);
    return -1;
}

static int convert_gguf(const struct options *o, struct err *e) {
    struct gguf g;
    struct gguf_model m;
    struct gguf_vocab v;
    if (gguf_open(&g, o->source, e) != 0)
        return -1;
    int rc = gguf_model_open(&m, &g, e);
    if (rc == 0) {
        rc = gguf_vocab_open(&v, &g, o->pre, e);
        if (rc == 0) {
            rc = from_gguf(o, &m, &v, e);
            gguf_vocab_free(&v);
        }
        gguf_model_free(&m);
    }
    gguf_close(&g);
    return rc;
}

/* Fills a folder with the model of w and, unless it is NULL, the tokenizer. */
static int fill_folder(const struct options *o, const struct weights *w,
                       const struct convert_item *items, const struct tokconv_result *tokenizer,
                       struct outdir *dir, struct err *e) {
    struct buf config = {0};
    int rc = convert_config(o->source, o->dtype, &config, e);
    if (rc == 0)
        rc = outdir_file(dir, "config.json", config.p, config.n, e);
    if (rc == 0)
        rc = folder_copy(o->source, dir, e);
    if (rc == 0 && tokenizer)
        rc = tokenizer_out_write(tokenizer, dir, e);
    if (rc == 0)
        rc = convert_write(items, w->n_tensors, dir, ending_pending, e);
    buf_free(&config);
    return rc;
}

/* What is written goes to other people: no file of the user's may come in by a link. */
static int check_config(const char *from, struct err *e) {
    char *path = path_join(from, "config.json");
    int rc = model_file_check(from, path, e);
    free(path);
    return rc;
}

static int retype_folder(const struct options *o, const struct weights *w,
                         const struct tokconv_result *tokenizer, struct err *e) {
    struct convert_item *items = convert_from_weights(w, o->dtype, e);
    if (!items)
        return -1;
    struct outdir dir;
    int rc = check_config(o->source, e);
    if (rc == 0)
        rc = outdir_open(&dir, o->target, o->force, e);
    if (rc == 0) {
        rc = fill_folder(o, w, items, tokenizer, &dir, e);
        if (rc == 0)
            rc = outdir_commit(&dir, e);
        else
            outdir_abort(&dir);
    }
    free(items);
    return rc;
}

static bool has_weights(const char *folder) {
    DIR *d = opendir(folder);
    bool found = false;
    for (struct dirent *f; d && !found && (f = readdir(d));)
        found = strstr(f->d_name, ".safetensors") || strncmp(f->d_name, "pytorch_model", 13) == 0;
    if (d)
        closedir(d);
    return found;
}

/* A folder with weights. Its tokenizer is converted too if it can be; the weights do not need it.
 */
static int convert_model(const struct options *o, const struct tokconv_source *s, struct err *e) {
    struct weights w;
    struct tokconv_result r = {0};
    struct err why;
    if (weights_open(&w, o->source, e) != 0)
        return -1;
    warn_lines(w.warnings.p);
    bool made = s && tokconv_convert(s, o->pre, &r, &why) == 0;
    if (s && !made)
        warn("no tokenizer.json is made: %s", why.msg);
    int rc = retype_folder(o, &w, made ? &r : NULL, e);
    tokconv_result_free(&r);
    weights_close(&w);
    return rc;
}

static int convert_folder(const struct options *o, struct err *e) {
    struct tokconv_source s = {0};
    if (o->keep)
        return err_set(e, EXIT_USAGE, "--keep-quant is for GGUF files: %s", o->source);
    int found = tokenizer_out_find(o->source, &s, e);
    if (found < 0)
        return -1;
    bool alone = found && !has_weights(o->source);
    int rc = alone ? tokenizer_out_folder(&s, o->pre, true, o->target, o->force, e)
                   : convert_model(o, found ? &s : NULL, e);
    tokconv_source_free(&s);
    return rc;
}

/* A GGUF file, or the tokenizer file of another library. */
static int convert_file(const struct options *o, struct err *e) {
    struct tokconv_source s = {0};
    int found = tokconv_file(o->source, &s, e);
    if (found < 0)
        return -1;
    int rc;
    if (found && o->keep)
        rc = err_set(e, EXIT_USAGE, "--keep-quant is for GGUF files: %s", o->source);
    else
        rc = found ? tokenizer_out_folder(&s, o->pre, false, o->target, o->force, e)
                   : convert_gguf(o, e);
    tokconv_source_free(&s);
    return rc;
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct err e = {0};
    program_init(argv[0]);
    parse_options(argc, argv, &o);
    char *parent = path_parent(o.target);
    const struct sandbox sandbox = {
        .may = SANDBOX_FILES | SANDBOX_THREADS, .read = {"/"}, .write = {parent}};
    if (sandbox_enter(&sandbox, &e) != 0)
        die_err(&e);
    free(parent);
    ending_hold();
    int rc = (is_dir(o.source) ? convert_folder : convert_file)(&o, &e);
    ending_release();
    if (rc != 0)
        die_err(&e);
    close_stdout();
    return EXIT_DONE;
}

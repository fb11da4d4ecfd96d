/* vec-prefix: JSON records with a question, or lines of tokens(5), to the same with the nearest
 * chunks of an index before the question. See man/vec-prefix.1.
 *
 * This file starts tok-encode and llm-embed, which make the questions' vectors, and opens the
 * index and the template. common/stages/prefix.c and prefix_tokens.c do the work.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/spawn.h"
#include "base/utf8.h"
#include "index/index.h"
#include "index/search.h"
#include "jinja/jinja.h"
#include "kernels/kernels.h"
#include "kernels/pool.h"
#include "stages/prefix.h"
#include "stages/watch.h"

enum { MAX_THREADS = 256, DEFAULT_K = 4, MAX_TEMPLATE = 1 << 20 };

static const char help[] =
    "usage: vec-prefix -i INDEX -m DIR [-k N] [options] [FILE]\n"
    "Puts the chunks of an index(5) that are nearest to the question of each JSON record\n"
    "before it: {\"text\": \"...\"} or {\"messages\": [...]}, as tok-encode -j reads them.\n"
    "\n"
    "  -i, --index INDEX      the index's file, made with vec-index --records\n"
    "  -m, --model DIR        the embedding model of the index ($LLM_EMBED_MODEL)\n"
    "      --engine SOCK      the resident embedding model at SOCK: llm-embed --listen\n"
    "  -k, --top-k N          chunks before each question (default 4)\n"
    "      --hybrid           search by words, too\n"
    "      --prompt NAME      the embedding model's prompt for questions: tok-encode --prompt\n"
    "      --tokens DIR       read and write tokens(5) of the model DIR in place of JSON\n"
    "      --template FILE    a Jinja template of the prompt, or of a chat's system message\n"
    "  -t, --threads N        threads (default: one a core)\n"
    "  -v, --verbose          print more on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum { OPT_HYBRID = OPT_LONG_ONLY, OPT_PROMPT, OPT_TEMPLATE, OPT_TOKENS, OPT_ENGINE };

struct options {
    const char *index, *model, *prompt, *template, *input, *threads, *tokens, *engine;
    size_t n_threads;
    struct prefix_job job;
};

static const struct option longs[] = {
    {"index", required_argument, NULL, 'i'},
    {"model", required_argument, NULL, 'm'},
    {"top-k", required_argument, NULL, 'k'},
    {"hybrid", no_argument, NULL, OPT_HYBRID},
    {"prompt", required_argument, NULL, OPT_PROMPT},
    {"template", required_argument, NULL, OPT_TEMPLATE},
    {"threads", required_argument, NULL, 't'},
    {"engine", required_argument, NULL, OPT_ENGINE},
    {"tokens", required_argument, NULL, OPT_TOKENS},
    OPT_COMMON,
};

static void parse_options(int argc, char **argv, struct options *o) {
    o->job.k = DEFAULT_K;
    o->model = getenv("LLM_EMBED_MODEL");
    for (int c; (c = getopt_long(argc, argv, "i:m:k:t:" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'i':
            o->index = optarg;
            break;
        case 'm':
            o->model = optarg;
            break;
        case 'k':
            o->job.k = (size_t)opt_u64("-k", optarg, 1, SEARCH_MOST_K);
            break;
        case OPT_HYBRID:
            o->job.hybrid = true;
            break;
        case OPT_PROMPT:
            o->prompt = optarg;
            break;
        case OPT_TEMPLATE:
            o->template = optarg;
            break;
        case OPT_ENGINE:
            o->engine = optarg;
            break;
        case OPT_TOKENS:
            o->tokens = optarg;
            break;
        case 't':
            o->n_threads = (size_t)opt_u64("-t", optarg, 1, MAX_THREADS);
            o->threads = optarg;
            break;
        default:
            opt_common(c, help);
        }
    if (!o->index)
        die_usage("-i is needed: the index");
    if (!o->model || !*o->model)
        die_usage("no embedding model: -m DIR or LLM_EMBED_MODEL");
    o->input = opt_file(argc, argv);
}

/* tok-encode and llm-embed. Both end when their input does. */
struct embedder {
    pid_t encode, embed;
};

static void start_embedder(struct options *o, struct embedder *m) {
    const char *encode[] = {"tok-encode", "-q", "-j", "-m", o->model, NULL, NULL, NULL};
    const char *embed[] = {"llm-embed", "-q", "-m", o->model, NULL, NULL, NULL};
    if (o->engine) {
        embed[2] = "--engine";
        embed[3] = o->engine;
    }
    int in[2], ids[2], out[2];
    struct err e = {0};
    if (o->prompt) {
        encode[5] = "--prompt";
        encode[6] = o->prompt;
    }
    if (o->threads && !o->engine) {
        embed[4] = "-t";
        embed[5] = o->threads;
    }
    static const char why[] = "makes the vectors of questions";
    if (spawn_pipe(in, &e) != 0 || spawn_pipe(ids, &e) != 0 || spawn_pipe(out, &e) != 0 ||
        spawn_program(encode, in[0], ids[1], false, why, &m->encode, &e) != 0 ||
        spawn_program(embed, ids[0], out[1], false, why, &m->embed, &e) != 0)
        die_err(&e);
    close(in[0]);
    close(ids[0]);
    close(ids[1]);
    close(out[1]);
    o->job.to_embedder = in[1];
    o->job.from_embedder = out[0];
}

static struct jinja_template *open_template(const char *path) {
    struct buf source = {0};
    struct err e = {0};
    if (!path)
        return NULL;
    if (read_file(path, MAX_TEMPLATE, &source, &e) != 0)
        die_err(&e);
    struct str s = source.n ? buf_view(&source) : str_of("");
    if (utf8_valid(s.p, s.n) != s.n)
        die(EXIT_DATA, "not valid UTF-8: %s", path);
    struct jinja_template *t = jinja_parse(path, s, &e);
    if (!t)
        die_err(&e);
    buf_free(&source);
    return t;
}

/* The tokenizer of --tokens, or NULL. */
static struct tokenizer *open_tokenizer(const char *model) {
    struct err e = {0};
    char *dir = model ? model_dir(model, &e) : NULL;
    struct tokenizer *t = dir ? tokenizer_open_hashed(dir, &e) : NULL;
    if (model && !t)
        die_err(&e);
    if (t)
        tokenizer_fingerprint(t); // its thread ends before the sandbox
    free(dir);
    return t;
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct index_file ix;
    struct embedder m;
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    parse_options(argc, argv, &o);
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0 || index_open(&ix, o.index, &e) != 0)
        die_err(&e);
    struct jinja_template *t = open_template(o.template);
    start_embedder(&o, &m); // before any thread
    stage_watch_stdout();
    struct tokenizer *tokens = open_tokenizer(o.tokens);
    struct pool *pool = kernels_init(&e) == 0 ? pool_new(o.n_threads, &e) : NULL;
    if (!pool || sandbox_enter(&(struct sandbox){.may = 0}, &e) != 0)
        die_err(&e);
    o.job.ix = &ix;
    o.job.pool = pool;
    o.job.template = t;
    int status = tokens ? stage_prefix_tokens(&o.job, tokens, fd, name, stdout, &e)
                        : stage_prefix(&o.job, fd, name, stdout, &e);
    if (status < 0)
        die_err(&e);
    close(o.job.from_embedder);
    spawn_wait(m.encode);
    spawn_wait(m.embed);
    jinja_template_free(t);
    tokenizer_free(tokens);
    pool_free(pool);
    index_close(&ix);
    close_stdout();
    return status;
}

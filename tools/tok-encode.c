/* tok-encode: text to token ids, as the model's tokenizer.json says. See man/tok-encode.1.
 *
 * Contract: a record in, a line of tokens(5) out, in order; a record that cannot be encoded becomes a "!" line, and the
 * exit status is 1. Output is flushed whenever the input has nothing more to give at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/jobs.h"
#include "base/records.h"
#include "tokens/prompt.h"
#include "tokens/record.h"
#include "tokens/tokenizer.h"
#include "wire/tokens.h"

enum { MAX_THREADS = 256, BATCH_BYTES = 1 << 17, BATCH_RECORDS = 4096, MAX_RECORD = 0x7fffffff };

static const char help[] =
    "usage: tok-encode [-m DIR] [-l | -0 | -j] [options] [FILE]\n"
    "Turns text into token ids, as the model's tokenizer.json says: tokens(5).\n"
    "Without -l, -0 or -j the whole input is one prompt, less one newline at its end.\n"
    "\n"
    "  -m, --model DIR        the model's folder, or org/name in the Hugging Face cache ($LLM_MODEL)\n"
    "  -l, --lines            each line is a record\n"
    "  -0, --null             each record ends in a NUL byte\n"
    "  -j, --json             each line is {\"text\": \"...\"} or {\"messages\": [...]}; other keys become\n"
    "                         attributes\n"
    "      --chat             the input is messages in JSON, for the model's chat template\n"
    "      --no-generation-prompt  do not end a chat with what makes the model answer\n"
    "      --trust-content    text in messages can become control tokens\n"
    "      --render           print the rendered chat, not its ids\n"
    "      --no-special       no beginning and end tokens\n"
    "  -t, --threads N        records are encoded by N threads, and written in order (default 1)\n"
    "      --offsets          a token a line: its bytes of the text, from and to, and its id\n"
    "      --truncate         cut texts as tokenizer.json's truncation says\n"
    "      --strict           invalid UTF-8 is an error, not replaced by U+FFFD\n"
    "  -v, --verbose          say which tokenizer it is, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

struct options {
    const char *model, *input;
    enum records_kind records;
    struct prompt_options prompt;
    bool chat, trust_content, render, offsets;
    unsigned threads;
    struct encode_options encode;
};

struct job_context {
    const struct options *o;
    const struct tokenizer *t;
};

enum { OPT_NO_SPECIAL = OPT_LONG_ONLY, OPT_OFFSETS, OPT_TRUNCATE, OPT_STRICT, OPT_CHAT, OPT_NO_GENERATION, OPT_TRUST_CONTENT, OPT_RENDER };

/* --chat and the options that go with it. */
static void check_chat(struct options *o) {
    if (o->chat && o->prompt.form == PROMPT_RECORD)
        die_usage("--chat reads JSON: not with -l or -0");
    if (!o->chat && (o->render || ((!o->prompt.generation || o->trust_content) && o->prompt.form != PROMPT_JSON)))
        die_usage("--no-generation-prompt, --trust-content and --render go with --chat");
    o->prompt.chat_only = o->chat;
    if (o->chat && o->prompt.form == PROMPT_WHOLE)
        o->prompt.form = PROMPT_CHAT;
}

static struct options parse(int argc, char **argv) {
    static const struct option longs[] = {{"model", required_argument, NULL, 'm'},
                                          {"lines", no_argument, NULL, 'l'},
                                          {"null", no_argument, NULL, '0'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"no-special", no_argument, NULL, OPT_NO_SPECIAL},
                                          {"strict", no_argument, NULL, OPT_STRICT},
                                          {"offsets", no_argument, NULL, OPT_OFFSETS},
                                          {"truncate", no_argument, NULL, OPT_TRUNCATE},
                                          {"threads", required_argument, NULL, 't'},
                                          {"chat", no_argument, NULL, OPT_CHAT},
                                          {"no-generation-prompt", no_argument, NULL, OPT_NO_GENERATION},
                                          {"trust-content", no_argument, NULL, OPT_TRUST_CONTENT},
                                          {"render", no_argument, NULL, OPT_RENDER},
                                          OPT_COMMON};
    struct options o = {.input = "-", .records = RECORDS_WHOLE, .prompt.generation = true};
    int c;
    while ((c = getopt_long(argc, argv, "t:m:l0j" OPT_COMMON_LETTERS, longs, NULL)) != -1)
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 'l':
            o.records = RECORDS_LINES;
            o.prompt.form = PROMPT_RECORD;
            break;
        case '0':
            o.records = RECORDS_NUL;
            o.prompt.form = PROMPT_RECORD;
            break;
        case 'j':
            o.records = RECORDS_LINES;
            o.prompt.form = PROMPT_JSON;
            break;
        case OPT_NO_SPECIAL:
            o.encode.no_special = true;
            break;
        case OPT_OFFSETS:
            o.offsets = true;
            break;
        case OPT_TRUNCATE:
            o.encode.truncate = true;
            break;
        case 't':
            o.threads = (unsigned)opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        case OPT_STRICT:
            o.prompt.strict = true;
            break;
        case OPT_CHAT:
            o.chat = true;
            break;
        case OPT_NO_GENERATION:
            o.prompt.generation = false;
            break;
        case OPT_TRUST_CONTENT:
            o.trust_content = true;
            break;
        case OPT_RENDER:
            o.render = true;
            break;
        default:
            opt_common(c, help);
        }
    check_chat(&o);
    if (optind < argc)
        o.input = opt_file(argc, argv);
    return o;
}

/* What one thread needs. */
struct worker {
    const struct options *o;
    struct encoder *en; // NULL where nothing is encoded
    struct prompt prompt;
    struct token_ids ids;
};

/* Records that are encoded together, and what they give. */
struct batch {
    struct buf text;
    size_t *ends; // [n] of each record in text
    size_t n, cap, first; // first: number of the first record, from 1
    char *out;
    size_t out_n;
    struct buf warnings; // a line each
    struct err failed;   // of a whole input
};

/* Prints a rendered chat: its text as it is, or with -j as {"text": "..."} on a line. */
static void print_rendered(FILE *f, const struct prompt *p, const struct options *o) {
    struct buf line = {0};
    if (o->prompt.form == PROMPT_JSON) {
        buf_str(&line, "{\"text\": ");
        json_write_str(&line, p->text);
        record_write_attrs(&line, buf_view(&p->attrs));
        buf_str(&line, "}\n");
    } else {
        buf_add(&line, p->text.p, p->text.n);
    }
    fwrite(line.p, 1, line.n, f);
    buf_free(&line);
}

/* A token a line: the bytes of the text that it stands for, and its id; an empty line behind the last. */
static void print_offsets(FILE *f, const struct token_ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        fprintf(f, "%u-%u\t%u\n", (unsigned)ids->offsets[i][0], (unsigned)ids->offsets[i][1], (unsigned)ids->ids[i]);
    putc('\n', f);
}

static int encode_prompt(struct worker *w, struct err *e) {
    const struct prompt *p = &w->prompt;
    struct encode_options encode = w->o->encode;
    if (p->is_chat) {
        encode.no_special = true;
        encode.trusted = w->o->trust_content ? NULL : (const uint8_t *)p->trust.p;
    }
    w->ids.want_offsets = w->o->offsets;
    if (tokenizer_encode(w->en, p->text, &encode, &w->ids, e) < 0)
        return -1;
    if (w->ids.n > TOKENS_MAX_SEQUENCE)
        return err_set(e, EXIT_DATA, "%zu tokens, more than %d", w->ids.n, TOKENS_MAX_SEQUENCE);
    return 0;
}

/* Encodes one record and writes its line. -1 with e set where it failed; then its line says so. */
static int encode_record(struct worker *w, FILE *f, struct str record, struct err *e) {
    const struct options *o = w->o;
    int rc = prompt_read(&w->prompt, &o->prompt, record, e);
    if (rc == 0 && !o->render)
        rc = encode_prompt(w, e);
    if (rc != 0 && o->records == RECORDS_WHOLE)
        return rc;
    if (rc == 0 && o->render) {
        print_rendered(f, &w->prompt, o);
        return 0;
    }
    if (!o->offsets)
        tokens_write_attrs(f, buf_view(&w->prompt.attrs));
    if (rc != 0) {
        tokens_write_failed(f, str_of(e->msg));
        return rc;
    }
    if (o->offsets) {
        print_offsets(f, &w->ids);
    } else {
        tokens_write_ids(f, w->ids.ids, w->ids.n);
        tokens_write_end(f);
    }
    return 0;
}

static void encode_batch(void *worker, void *job) {
    struct worker *w = worker;
    struct batch *b = job;
    FILE *f = open_memstream(&b->out, &b->out_n);
    if (!f)
        die(EXIT_SYSTEM, "out of memory");
    for (size_t i = 0, from = 0; i < b->n; from = b->ends[i++]) {
        struct err e = {0};
        if (encode_record(w, f, (struct str){b->text.p + from, b->ends[i] - from}, &e) == 0)
            continue;
        if (w->o->records == RECORDS_WHOLE)
            b->failed = e;
        buf_fmt(&b->warnings, "%s: record %zu\n", e.msg, b->first + i);
    }
    if (fclose(f) != 0)
        die(EXIT_SYSTEM, "out of memory");
}

static void *worker_begin(void *ctx) {
    struct worker *w = xcalloc(1, sizeof *w);
    const struct job_context *c = ctx;
    w->o = c->o;
    w->en = c->t ? encoder_new(c->t) : NULL;
    return w;
}

static void worker_end(void *worker) {
    struct worker *w = worker;
    encoder_free(w->en);
    token_ids_free(&w->ids);
    prompt_free(&w->prompt);
    free(w);
}

/* Writes a batch that is done, and empties it. */
static int write_batch(struct batch *b) {
    int status = EXIT_DONE;
    if (b->failed.code)
        die_err(&b->failed);
    fwrite(b->out, 1, b->out_n, stdout);
    for (char *line = b->warnings.p, *end; b->warnings.n && (end = strchr(line, '\n')); line = end + 1) {
        warn("%.*s", (int)(end - line), line);
        status = EXIT_SOME_FAILED;
    }
    free(b->out);
    b->out = NULL;
    b->n = 0;
    buf_clear(&b->text);
    buf_clear(&b->warnings);
    return status;
}

/* Fills b as far as the input has records at once; 0 at the end of the input. */
static int read_batch(struct records *r, struct batch *b, size_t *number, struct err *e) {
    struct str record;
    int more;
    b->first = *number + 1;
    do {
        if ((more = records_next(r, &record, e)) <= 0)
            return more;
        if (b->n == b->cap) {
            b->cap = b->cap ? b->cap * 2 : 64;
            b->ends = xreallocarray(b->ends, b->cap, sizeof *b->ends);
        }
        buf_add(&b->text, record.p, record.n);
        b->ends[b->n++] = b->text.n;
        ++*number;
    } while (b->text.n < BATCH_BYTES && b->n < BATCH_RECORDS && records_pending(r));
    return 1;
}

static int run(const struct options *o, const struct tokenizer *t, int fd) {
    struct records *records = records_new(fd, o->input, o->records, MAX_RECORD);
    struct job_context ctx = {o, t};
    unsigned n_batches = o->threads > 1 ? o->threads * 3 : 1, next = 0;
    struct jobs *jobs = jobs_new(o->threads, n_batches, &(struct jobs_work){worker_begin, encode_batch, worker_end, &ctx});
    struct batch *batches = xcalloc(n_batches, sizeof *batches), *done;
    struct err e = {0};
    size_t number = 0;
    int status = EXIT_DONE;
    for (int more = 1; more > 0;) {
        struct batch *b = &batches[next++ % n_batches];
        more = read_batch(records, b, &number, &e);
        if (b->n)
            jobs_give(jobs, b);
        // What is done is written; all of it before the input is waited for.
        bool waits = more <= 0 || !records_pending(records);
        while ((done = jobs_take(jobs, waits || jobs_full(jobs))))
            status |= write_batch(done);
        if (waits)
            flush_stdout();
    }
    if (e.code)
        die_err(&e);
    for (unsigned i = 0; i < n_batches; i++) {
        buf_free(&batches[i].text);
        buf_free(&batches[i].warnings);
        free(batches[i].ends);
    }
    free(batches);
    jobs_free(jobs);
    records_free(records);
    return status;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    struct options o = parse(argc, argv);
    struct err e = {0};
    char *dir = o.model && is_file(o.model) ? xstrdup(o.model) : model_dir(o.model, &e);
    if (!dir)
        die_err(&e);
    struct tokenizer *t = o.render ? NULL : tokenizer_open(dir, &e);
    if (!t && !o.render)
        die_err(&e);
    struct chat *chat = NULL;
    if (o.chat || o.prompt.form == PROMPT_JSON)
        o.prompt.chat = chat = chat_open(dir, &o.prompt.no_chat);
    if (o.chat && !chat)
        die_err(&o.prompt.no_chat);
    int fd = 0;
    if (strcmp(o.input, "-") != 0 && (fd = open(o.input, O_RDONLY)) < 0)
        die(EXIT_NO_INPUT, "cannot open %s: %s", o.input, strerror(errno));
    if (t && opt_verbose())
        fprintf(stderr, "%s: %s: vocabulary %" PRIu32 ", fingerprint %016" PRIx64 "\n", program_name(), dir,
                tokenizer_vocab(t), tokenizer_fingerprint(t));
    if (t && tokenizer_truncation(t) && !o.encode.truncate)
        warn("tokenizer.json asks for truncation to %zu tokens, which is not done without --truncate", tokenizer_truncation(t));
    if (t && tokenizer_pads(t))
        warn("tokenizer.json asks for padding, which is not done");
    if (t && !o.offsets)
        tokens_write_header(stdout, &(struct tokens_header){true, tokenizer_vocab(t), tokenizer_fingerprint(t)});
    int status = run(&o, t, fd);
    tokenizer_free(t);
    chat_free(chat);
    free(dir);
    close_stdout();
    return status;
}

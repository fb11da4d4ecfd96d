/* llm-inspect: logits(5) for people. Prints a table of the most probable tokens of each step or
 * JSON lines, or writes all rows to a .npy file. See man/llm-inspect.1.
 *
 * It only reads: it declines the return path, so that llm-forward ends after the prompts. Output is
 * ordered by sequence and position, in whatever order frames arrive. A stream that was cut is shown
 * up to the cut and is exit 65; then no .npy file is made.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/utf8.h"
#include "base/visible.h"
#include "sample/rank.h"
#include "stages/array.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"
#include "wire/in_order.h"
#include "wire/logits.h"
#include "wire/open_seqs.h"
#include "wire/viewer.h"

static const char help[] =
    "usage: llm-inspect [options] [FILE] < logits(5)\n"
    "Shows what a model predicts at each step: the most probable tokens, their probabilities, "
    "the entropy.\n"
    "\n"
    "  -m, --model DIR  show tokens as text, from this model's tokenizer.json (default: "
    "$LLM_MODEL)\n"
    "  -k, --top-k N    tokens to show of each step (default: 5)\n"
    "  -j, --json       a JSON object a step\n"
    "      --npy FILE   write all rows as float32 [rows, vocabulary] and print nothing\n"
    "      --hidden[=LIST]\n"
    "                   with --npy: hidden states [rows, hidden size] instead of logits;\n"
    "                   of several layers [rows, layers, hidden size]\n"
    "      --index FILE with --npy: a JSON line for each row, with the sequence's attributes\n"
    "  -v, --verbose    print the stream's header on stderr\n"
    "  -q, --quiet      no warnings\n"
    "      --no-sandbox\n"
    "                   run without the sandbox (debugging)\n"
    "  -h, --help\n"
    "  -V, --version\n";

enum { OPT_NPY = OPT_LONG_ONLY, OPT_HIDDEN, OPT_INDEX };

struct options {
    size_t k;
    bool json;
    const char *model, *input;
    struct array_options array;
};

struct run {
    struct options o;
    struct tokenizer *tokenizer; // NULL: print ids only
    struct decoder *decoder;
    struct logits_header header;
    struct array *array;  // of --npy; NULL: print
    struct in_order *out; // stdout
    struct buf text;      // of one frame
    uint32_t *top;        // [k]
    struct open_seqs seqs;
    bool some_failed;
    bool terminal; // stdout is one: control characters are escaped
};

/* Appends `before` and the text of one token by itself as a JSON string. Without a tokenizer,
 * nothing. */
static void add_text(struct run *r, const char *before, uint32_t id) {
    if (!r->tokenizer)
        return;
    struct buf bytes = {0}, text = {0};
    decoder_id(r->decoder, id, &bytes, NULL); // if it fails, the text is incomplete
    decoder_end(r->decoder, &bytes, NULL);
    utf8_repair(&text, bytes.p, bytes.n); // a token can be a part of a character
    buf_str(&r->text, before);
    json_write_str(&r->text, buf_view(&text));
    buf_free(&bytes);
    buf_free(&text);
}

static void json_row(struct run *r, const struct open_seq *s, uint32_t pos, const float *row,
                     const struct rank_distribution *d, size_t k) {
    struct buf *b = &r->text;
    uint32_t after;
    buf_fmt(b, "{\"seq\":%" PRIu32 ",\"pos\":%" PRIu32, s->number, pos);
    if (open_seqs_id(s, pos, &after))
        buf_fmt(b, ",\"after\":%" PRIu32, after);
    buf_str(b, ",\"entropy\":");
    json_write_f64(b, d->entropy);
    buf_str(b, ",\"top\":[");
    for (size_t i = 0; i < k; i++) {
        double logit = (double)row[r->top[i]];
        buf_fmt(b, "%s{\"id\":%" PRIu32 ",\"p\":", i ? "," : "", r->top[i]);
        json_write_f64(b, exp(logit - d->log_sum));
        buf_str(b, ",\"logit\":");
        json_write_f64(b, logit);
        add_text(r, ",\"text\":", r->top[i]);
        buf_byte(b, '}');
    }
    buf_str(b, "]}\n");
}

static void table_row(struct run *r, const struct open_seq *s, uint32_t pos, const float *row,
                      const struct rank_distribution *d, size_t k) {
    struct buf *b = &r->text;
    uint32_t after;
    buf_fmt(b, "sequence %" PRIu32 ", position %" PRIu32, s->number, pos);
    if (open_seqs_id(s, pos, &after)) {
        buf_fmt(b, ", after %" PRIu32, after);
        add_text(r, " ", after);
    }
    buf_fmt(b, ": entropy %.3f nats\n", d->entropy);
    for (size_t i = 0; i < k; i++) {
        double logit = (double)row[r->top[i]];
        buf_fmt(b, "%10" PRIu32 "  %8.5f  %9.4f", r->top[i], exp(logit - d->log_sum), logit);
        add_text(r, "  ", r->top[i]);
        buf_byte(b, '\n');
    }
}

/* Writes r->text. JSON strings may still have C1 control characters. */
static int write_text(struct run *r, uint32_t seq, struct err *e) {
    struct buf shown = {0};
    if (!r->terminal)
        return in_order_write(r->out, seq, r->text.p, r->text.n, e);
    visible_add(&shown, buf_view(&r->text), VISIBLE_TEXT);
    int rc = in_order_write(r->out, seq, shown.p, shown.n, e);
    buf_free(&shown);
    return rc;
}

static int show_rows(struct run *r, const struct frame *f, struct err *e) {
    size_t n = r->header.vocab_size;
    const struct open_seq *s = open_seqs_find(&r->seqs, f->seq); // open_seqs_take has checked it
    buf_clear(&r->text);
    for (uint32_t i = 0; i < f->rows; i++) {
        const float *row = f->values + i * n;
        struct rank_distribution d = rank_distribution(row, n);
        size_t k = rank_top(row, n, r->top, r->o.k);
        (r->o.json ? json_row : table_row)(r, s, f->pos + i, row, &d, k);
    }
    return write_text(r, f->seq, e);
}

static int show_failed(struct run *r, const struct frame *f, struct err *e) {
    buf_clear(&r->text);
    if (r->o.json) {
        buf_fmt(&r->text, "{\"seq\":%" PRIu32 ",\"error\":", f->seq);
        json_write_str(&r->text, f->text);
        buf_str(&r->text, "}\n");
    } else {
        buf_fmt(&r->text, "sequence %" PRIu32 " failed: ", f->seq);
        visible_add(&r->text, f->text, VISIBLE_LINE);
        buf_byte(&r->text, '\n');
    }
    return write_text(r, f->seq, e);
}

/* --npy: a sequence's last rows need its ids and attributes, which its end removes. */
static int take_for_array(struct run *r, const struct frame *f, struct err *e) {
    bool ends = f->type == FRAME_FAILED || f->type == FRAME_CLOSED;
    if (!ends)
        return open_seqs_take(&r->seqs, f, e) != 0 || array_take(r->array, f, &r->seqs, e) != 0 ? -1
                                                                                                : 0;
    if (f->type == FRAME_FAILED) {
        r->some_failed = true;
        warn("sequence %" PRIu32 " failed: %.*s", f->seq, (int)f->text.n, f->text.p);
    }
    return array_take(r->array, f, &r->seqs, e) != 0 || open_seqs_take(&r->seqs, f, e) != 0 ? -1
                                                                                            : 0;
}

static int take_frame(struct run *r, const struct frame *f, struct err *e) {
    if (open_seqs_take(&r->seqs, f, e) != 0)
        return -1;
    switch (f->type) {
    case FRAME_OPEN:
    case FRAME_IDS:
    case FRAME_HIDDEN:
    case FRAME_NOTE:
        return 0;
    case FRAME_LOGITS:
        return show_rows(r, f, e);
    case FRAME_FAILED:
        r->some_failed = true;
        if (show_failed(r, f, e) != 0)
            return -1;
        break;
    case FRAME_CLOSED:
    case FRAME_END:
        break;
    }
    return in_order_end(r->out, f->seq, e);
}

static int read_stream(struct run *r, struct logits_reader *in, struct err *e) {
    struct frame f;
    int rc;
    while ((rc = logits_next(in, &f, e)) == 1) {
        if ((r->array ? take_for_array : take_frame)(r, &f, e) != 0)
            return -1;
        if (!r->array && fflush(stdout) != 0)
            return err_errno(e, EXIT_IO, "cannot write to stdout");
    }
    return rc;
}

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"top-k", required_argument, NULL, 'k'},
    {"json", no_argument, NULL, 'j'},
    {"npy", required_argument, NULL, OPT_NPY},
    {"hidden", optional_argument, NULL, OPT_HIDDEN},
    {"index", required_argument, NULL, OPT_INDEX},
    OPT_COMMON,
};

/* The layers of --hidden=LIST. A stream does not say how many layers its model has. */
static void parse_layers(struct hidden_layers *h, const char *list) {
    struct err e = {0};
    if (!list || strcmp(list, "all") == 0)
        return;
    if (hidden_parse(h, list, HIDDEN_MAX_LAYERS, &e) != 0)
        die_usage("--hidden: %s", e.msg);
    if (h->layers[h->n - 1] == HIDDEN_MAX_LAYERS)
        die_usage("--hidden: a range needs its last layer here: %s", list);
}

static void parse_options(int argc, char **argv, struct options *o) {
    struct array_options *a = &o->array;
    o->k = 5;
    for (int c; (c = getopt_long(argc, argv, "m:k:j" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 'k':
            o->k = opt_u64("-k", optarg, 0, LOGITS_MAX_VOCAB);
            break;
        case 'j':
            o->json = true;
            break;
        case OPT_NPY:
            a->npy_path = optarg;
            break;
        case OPT_HIDDEN:
            a->hidden = true;
            parse_layers(&a->layers, optarg);
            break;
        case OPT_INDEX:
            a->index_path = optarg;
            break;
        default:
            opt_common(c, help);
        }
    o->input = opt_file(argc, argv);
    if (a->hidden && !a->npy_path)
        die_usage("--hidden says what --npy FILE writes");
    if (a->index_path && !a->npy_path)
        die_usage("--index describes the rows of --npy FILE");
    if (a->index_path && strcmp(a->index_path, a->npy_path) == 0)
        die_usage("--npy and --index write to one file: %s", a->npy_path);
}

/* The tokenizer of -m must exist and be the stream's. That of $LLM_MODEL is used only if it is. */
static void open_tokenizer(struct run *r) {
    struct err e = {0};
    const char *env = getenv("LLM_MODEL");
    if (!r->o.model && !(env && *env))
        return;
    char *dir = model_dir(r->o.model, &e);
    r->tokenizer = dir ? tokenizer_open(dir, &e) : NULL;
    free(dir);
    if (r->tokenizer && r->header.tokenizer &&
        r->header.tokenizer != tokenizer_fingerprint(r->tokenizer)) {
        err_set(&e, EXIT_DATA, "the stream is of tokenizer %016" PRIx64 ", not %016" PRIx64,
                r->header.tokenizer, tokenizer_fingerprint(r->tokenizer));
        tokenizer_free(r->tokenizer);
        r->tokenizer = NULL;
    }
    if (!r->tokenizer && r->o.model)
        die_err(&e);
    if (r->tokenizer)
        r->decoder = decoder_new(r->tokenizer, true);
}

static void run_free(struct run *r) {
    open_seqs_free(&r->seqs);
    decoder_free(r->decoder);
    tokenizer_free(r->tokenizer);
    free(r->top);
    buf_free(&r->text);
    in_order_free(r->out);
}

/* Shows or writes the whole stream. -1 with e set, after what came before the error. */
static int run(struct run *r, struct logits_reader *in, struct err *e) {
    int rc = read_stream(r, in, e);
    if (r->array && rc != 0) {
        array_abort(r->array);
        return -1;
    }
    if (r->array)
        return array_commit(r->array, &r->seqs, e);
    if (rc != 0 && e->code == EXIT_IO)
        return -1;
    return in_order_finish(r->out, rc == 0 ? e : NULL) != 0 ? -1 : rc;
}

/* Files are written in the folders of --npy and --index alone, and in that of temporary files. */
static void enter_sandbox(const struct options *o) {
    char *npy = o->array.npy_path ? path_parent(o->array.npy_path) : NULL;
    char *index = o->array.index_path ? path_parent(o->array.index_path) : NULL;
    struct err e = {0};
    if (sandbox_enter(
            &(struct sandbox){.may = SANDBOX_FILES, .write = {io_temp_folder(), npy, index}}, &e) !=
        0)
        die_err(&e);
    free(npy);
    free(index);
}

int main(int argc, char **argv) {
    struct run r = {0};
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &r.o);
    struct logits_reader *in = viewer_open(r.o.input, &name, &r.header, &e);
    if (!in)
        die_err(&e);
    if (r.o.array.hidden && r.header.hidden_dim == 0)
        die(EXIT_DATA, "the stream has no hidden states (llm-forward --hidden makes them): %s",
            name);
    if (!r.o.array.npy_path)
        open_tokenizer(&r);
    else if (!(r.array = array_open(&r.o.array, &r.header, &e)))
        die_err(&e);
    enter_sandbox(&r.o);
    r.o.k = r.o.k < r.header.vocab_size ? r.o.k : r.header.vocab_size;
    r.top = xcalloc(r.o.k, sizeof *r.top);
    r.out = in_order_new(stdout, NULL);
    r.terminal = visible_terminal(stdout);
    int rc = run(&r, in, &e);
    logits_reader_free(in);
    run_free(&r);
    if (rc != 0)
        die_err(&e);
    close_stdout();
    return r.some_failed ? EXIT_SOME_FAILED : EXIT_DONE;
}

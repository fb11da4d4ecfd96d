/* doc-chunk: documents to JSON lines, each a chunk of at most N tokens with its place. See
 * man/doc-chunk.1.
 *
 * A process of its own reads the files (docs/files.h), docs/doc.h finds their sections, and
 * docs/chunk.h cuts these. This file makes the records.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/u32_map.h"
#include "base/utf8.h"
#include "base/visible.h"
#include "docs/chunk.h"
#include "docs/doc.h"
#include "docs/files.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"

enum { LEAST_TOKENS = 8, MOST_TOKENS = 1 << 20, DEFAULT_TOKENS = 256 };

static const char help[] =
    "usage: doc-chunk [-m DIR] [-n N] [options] [FILE ...]\n"
    "Cuts text, Markdown and man pages into chunks of at most N tokens: a JSON line each.\n"
    "\n"
    "  -m, --model DIR        the model whose tokens count: a folder, a tokenizer.json, or\n"
    "                         org/name in the Hugging Face cache ($LLM_MODEL)\n"
    "  -n, --tokens N         most tokens of a chunk (default 256)\n"
    "      --overlap N        begin a chunk with the end of the one before, up to N tokens\n"
    "      --format F         text, markdown or man, whatever the names of the files are\n"
    "      --with-head        begin each text with the headings that it is under\n"
    "      --strict           invalid UTF-8 is an error, not replaced by U+FFFD\n"
    "  -v, --verbose          print the number of chunks of each file on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum { OPT_OVERLAP = OPT_LONG_ONLY, OPT_FORMAT, OPT_WITH_HEAD, OPT_STRICT };

struct options {
    const char *model;
    enum doc_format format;
    struct chunk_options chunk;
    char **files; // [n_files]
    size_t n_files;
};

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"tokens", required_argument, NULL, 'n'},
    {"overlap", required_argument, NULL, OPT_OVERLAP},
    {"format", required_argument, NULL, OPT_FORMAT},
    {"with-head", no_argument, NULL, OPT_WITH_HEAD},
    {"strict", no_argument, NULL, OPT_STRICT},
    OPT_COMMON,
};

static enum doc_format format_of(const char *arg) {
    if (strcmp(arg, "text") == 0)
        return DOC_TEXT;
    if (strcmp(arg, "markdown") == 0)
        return DOC_MARKDOWN;
    if (strcmp(arg, "man") != 0)
        die_usage("--format takes 'text', 'markdown' or 'man', not '%s'", arg);
    return DOC_MAN;
}

static void parse_options(int argc, char **argv, struct options *o) {
    static char *only_stdin[] = {"-"};
    o->chunk.tokens = DEFAULT_TOKENS;
    for (int c; (c = getopt_long(argc, argv, "m:n:" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 'n':
            o->chunk.tokens = (size_t)opt_u64("-n", optarg, LEAST_TOKENS, MOST_TOKENS);
            break;
        case OPT_OVERLAP:
            o->chunk.overlap = (size_t)opt_u64("--overlap", optarg, 0, MOST_TOKENS);
            break;
        case OPT_FORMAT:
            o->format = format_of(optarg);
            break;
        case OPT_WITH_HEAD:
            o->chunk.with_head = true;
            break;
        case OPT_STRICT:
            o->chunk.strict = true;
            break;
        default:
            opt_common(c, help);
        }
    if (o->chunk.overlap > o->chunk.tokens / 2)
        die_usage("--overlap is at most half of -n: %zu of %zu", o->chunk.overlap, o->chunk.tokens);
    o->files = optind < argc ? argv + optind : only_stdin;
    o->n_files = optind < argc ? (size_t)(argc - optind) : 1;
}

/* ---- Records ---- */

/* What is said of one file. */
struct file_run {
    const struct doc_file *file;
    const struct doc *doc;
    struct buf name;     // of the file, valid UTF-8
    struct u32_map seen; // beginnings of hashes, and how often
    size_t n;            // chunks
    struct buf line;
};

static void hash_part(struct hash_state *h, struct str s) {
    uint64_t n = s.n;
    hash_update(h, &n, sizeof n);
    hash_update(h, s.p, s.n);
}

/* The id: what a chunk says and where it is from, but not its place in the file. So it stays the
 * same when other parts of the file change. Chunks of a file that are alike are numbered. */
static uint64_t chunk_id(struct file_run *r, const struct doc_chunk *c) {
    struct hash hash;
    struct hash_state *h = hash_new();
    hash_part(h, buf_view(&r->name));
    hash_part(h, c->section->head);
    hash_part(h, c->text);
    hash_final(h, &hash);
    uint64_t id = hash_prefix(&hash);
    uint32_t before = u32_map_find(&r->seen, (uint32_t)id), n = before + 1;
    if (before == U32_MAP_NONE)
        n = 0;
    u32_map_set(&r->seen, (uint32_t)id, n);
    if (n == 0)
        return id;
    const uint64_t again[2] = {id, n};
    return hash_fingerprint(again, sizeof again);
}

static void write_chunk(struct file_run *r, const struct doc_chunk *c, bool terminal) {
    const struct doc_section *s = c->section;
    struct buf head = {0};
    utf8_repair(&head, s->head.p, s->head.n);
    buf_clear(&r->line);
    buf_fmt(&r->line, "{\"id\": \"%016" PRIx64 "\", \"text\": ", chunk_id(r, c));
    json_write_str(&r->line, c->text);
    buf_str(&r->line, ", \"file\": ");
    json_write_str(&r->line, buf_view(&r->name));
    buf_fmt(&r->line,
            ", \"from\": %zu, \"to\": %zu, \"head\": ", r->doc->rendered ? s->source_from : c->from,
            r->doc->rendered ? s->source_to : c->to);
    json_write_str(&r->line, head.n ? buf_view(&head) : str_of(""));
    buf_str(&r->line, "}\n");
    visible_write(stdout, buf_view(&r->line), terminal);
    buf_free(&head);
    r->n++;
}

/* Cuts one file, and writes its chunks. */
static int chunk_file(struct chunker *c, const struct doc_file *file, bool terminal,
                      struct err *e) {
    struct doc doc = {0};
    struct doc_chunk chunk;
    int rc;
    struct file_run r = {.file = file, .doc = &doc};
    utf8_repair(&r.name, file->name, strlen(file->name));
    if (file->format == DOC_MAN)
        doc_open_man(&doc, file->source, file->rendering);
    else if (file->format == DOC_MARKDOWN)
        doc_open_markdown(&doc, file->source);
    else
        doc_open_text(&doc, file->source);
    chunker_begin(c, &doc);
    if (doc.heads_too_long)
        rc = err_set(e, EXIT_DATA,
                     "the headings above its sections take more than %d times the document",
                     DOC_HEADS_TIMES);
    else
        while ((rc = chunker_next(c, &chunk, e)) == 1)
            write_chunk(&r, &chunk, terminal);
    if (rc < 0)
        err_where(e, "%s", file->name);
    else if (opt_verbose())
        print_note("%zu chunks: %s", r.n, file->name);
    buf_free(&r.name);
    buf_free(&r.line);
    u32_map_free(&r.seen);
    doc_free(&doc);
    return rc;
}

/* Reads and cuts all files. A file that fails does not end the others. Returns the exit status: of
 * a single file that failed, its own. */
static int chunk_all(struct doc_files *files, size_t n_files, struct chunker *c) {
    bool terminal = visible_terminal(stdout);
    int status = EXIT_DONE;
    for (;;) {
        struct doc_file file;
        struct err e = {0};
        bool failed;
        int rc = doc_files_next(files, &file, &failed, &e);
        if (rc == 0)
            return status;
        if (rc == 1)
            rc = chunk_file(c, &file, terminal, &e);
        else if (!failed)
            die_err(&e);
        if (flush_out(stdout, rc < 0 ? NULL : &e) != 0 && rc == 0)
            die_err(&e);
        if (rc < 0 && n_files == 1)
            die_err(&e);
        if (rc < 0) {
            print_note("%s", e.msg);
            status = EXIT_SOME_FAILED;
        }
    }
}

static struct tokenizer *open_tokenizer(const char *model) {
    struct err e = {0};
    char *path = model && is_file(model) ? xstrdup(model) : model_dir(model, &e);
    struct tokenizer *t = path ? tokenizer_open(path, &e) : NULL;
    if (!t)
        die_err(&e);
    free(path);
    return t;
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct err e = {0};
    program_init(argv[0]);
    parse_options(argc, argv, &o);
    struct doc_files *files = doc_files_start(o.files, o.n_files, o.format, &e);
    if (!files)
        die_err(&e);
    stage_watch_stdout();
    struct tokenizer *t = open_tokenizer(o.model);
    if (sandbox_enter(&(struct sandbox){.may = 0}, &e) != 0)
        die_err(&e);
    struct chunker *c = chunker_new(t, &o.chunk);
    int status = chunk_all(files, o.n_files, c);
    chunker_free(c);
    doc_files_free(files);
    tokenizer_free(t);
    close_stdout();
    return status;
}

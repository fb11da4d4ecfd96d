/* Finds the tokenizer files of other libraries and converts them: see tokconv.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/tokconv.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/io.h"
#include "tokconv/import.h"

#define MAX_FILE_BYTES (1u << 28)

/* Names of a vocabulary in a folder, the first that is there counts; and its merges. */
static const struct {
    const char *vocab, *merges;
} known[] = {
    {"tekken.json", NULL},         {"tokenizer.model", NULL}, {"tokenizer.model.v3", NULL},
    {"spiece.model", NULL},        {"tiktoken.model", NULL},  {"sentencepiece.bpe.model", NULL},
    {"sentencepiece.model", NULL}, {"spm.model", NULL},       {"vocab.json", "merges.txt"},
    {"encoder.json", "vocab.bpe"},
};
enum { N_KNOWN = sizeof known / sizeof *known };

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_tekken(const char *path) {
    return strstr(base_name(path), "tekken") && str_ends_with(str_of(path), ".json");
}

static int need(bool there, const char *vocab, const char *path, struct err *e) {
    return there ? 1
                 : err_set(e, EXIT_NO_INPUT, "%s needs a file that is missing: %s", vocab, path);
}

static bool set(struct tokconv_source *s, const char *folder, const char *file,
                const char *merges) {
    *s = (struct tokconv_source){.folder = xstrdup(folder), .file = path_join(folder, file)};
    if (merges)
        s->merges = path_join(folder, merges);
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not see that *s is new
    if (is_file(s->file) && (!merges || is_file(s->merges)))
        return true;
    tokconv_source_free(s);
    return false;
}

/* The only NAME.tiktoken of a folder. 1, 0, or -1 if there are two. */
static int find_tiktoken(const char *folder, struct tokconv_source *s, struct err *e) {
    DIR *d = opendir(folder);
    int rc = 0;
    for (struct dirent *f; d && rc >= 0 && (f = readdir(d));) {
        if (!str_ends_with(str_of(f->d_name), ".tiktoken"))
            continue;
        if (rc == 0)
            rc = set(s, folder, f->d_name, NULL);
        else {
            tokconv_source_free(s);
            rc = err_set(e, EXIT_DATA, "the folder has two .tiktoken files, name one: %s", folder);
        }
    }
    if (d)
        closedir(d);
    return rc;
}

int tokconv_find(const char *folder, struct tokconv_source *s, struct err *e) {
    for (size_t i = 0; i < N_KNOWN; i++)
        if (set(s, folder, known[i].vocab, known[i].merges))
            return 1;
    return find_tiktoken(folder, s, e);
}

int tokconv_file(const char *path, struct tokconv_source *s, struct err *e) {
    const char *name = base_name(path);
    struct str n = str_of(name);
    const char *vocab = NULL, *merges = NULL;
    for (size_t i = 0; i < N_KNOWN; i++)
        if (known[i].merges && (str_eq(n, known[i].vocab) || str_eq(n, known[i].merges))) {
            vocab = known[i].vocab;
            merges = known[i].merges;
        }
    if (!vocab && !is_tekken(path) && !str_ends_with(n, ".model") && !strstr(name, ".model.v") &&
        !str_ends_with(n, ".spm") && !str_ends_with(n, ".tiktoken"))
        return 0;
    char *folder = name == path ? xstrdup(".") : xstrndup(path, (size_t)(name - path));
    *s = (struct tokconv_source){.folder = folder,
                                 .file = vocab ? path_join(folder, vocab) : xstrdup(path)};
    int rc = 1;
    if (vocab) {
        s->merges = path_join(folder, merges);
        rc = need(is_file(s->file), name, s->file, e);
        if (rc > 0)
            rc = need(is_file(s->merges), name, s->merges, e);
    }
    if (rc < 0)
        tokconv_source_free(s);
    return rc;
}

void tokconv_source_free(struct tokconv_source *s) {
    free(s->folder);
    free(s->file); // NOLINT(clang-analyzer-unix.Malloc): as in set()
    free(s->merges);
    *s = (struct tokconv_source){0};
}

/* tokenizer.model is SentencePiece's or tiktoken's. The latter begins with a token in base64, a
 * space and a number; a ModelProto begins with a byte that no base64 has. */
static bool is_ranks(struct str file) {
    size_t n = 0;
    while (n < file.n && n < 4096 && file.p[n] != '\n')
        n++;
    struct str line = {file.p, n}, base64 = str_word(&line), digits = str_word(&line);
    for (size_t i = 0; i < base64.n; i++)
        if (base64.p[i] < '+' || base64.p[i] > 'z')
            return false;
    return base64.n && digits.n && digits.p[0] >= '0' && digits.p[0] <= '9';
}

/* The pre-tokenizer of a source that does not hold one: what the user says, else the class's, else
 * what the file's name or the usual case suggests, with a warning. */
static const struct tokpre *choose_pre(const char *pre, const struct tokconv_class *k,
                                       const char *file, const char *usual, struct err *e) {
    static const char *const by_name[][2] = {
        {"qwen.tiktoken", "deepseek-r1-qwen"}, // Qwen2's expression without NFC
        {"o200k_base.tiktoken", "gpt-4o"},
        {"cl100k_base.tiktoken", "dbrx"}, // Llama 3's expression
    };
    const char *name = pre ? pre : k->pre;
    for (size_t i = 0; !name && i < sizeof by_name / sizeof *by_name; i++)
        if (strcmp(base_name(file), by_name[i][0]) == 0)
            name = by_name[i][1];
    if (!name) {
        name = usual;
        warn("the file does not name its pre-tokenizer, so '%s' is used; --pre NAME chooses "
             "another: %s",
             name, file);
    }
    const struct tokpre *p = tokpre_find(str_of(name));
    struct buf names = {0};
    if (!p)
        err_set(e, EXIT_DATA, "the pre-tokenizer '%s' is not known (known: %s): %s", name,
                tokpre_names(&names), file);
    buf_free(&names);
    return p;
}

static const struct tokconv_class plain = {.name = ""};

struct files {
    struct buf vocab, merges;
};

static int import(struct tokbuild *b, const struct tokconv_source *s, const struct files *f,
                  const char *pre, const struct tokconv_config *c, const char **kind,
                  struct err *e) {
    struct str vocab = buf_view(&f->vocab);
    const struct tokconv_class *k = tokconv_class_of(c, s->folder, e);
    *b = (struct tokbuild){0};
    if (!k)
        return -1;
    if (is_tekken(s->file)) {
        *kind = "tekken";
        return tokconv_import_tekken(b, s->file, vocab, c, e);
    }
    bool ranks = !s->merges && is_ranks(vocab);
    if (!s->merges && !ranks) {
        *kind = "SentencePiece";
        return tokconv_import_sp(b, s->file, vocab, c, k, e);
    }
    const struct tokpre *p = choose_pre(pre, k, s->file, ranks ? "llama-bpe" : "gpt-2", e);
    if (!p)
        return -1;
    *kind = ranks ? "tiktoken" : "BPE";
    if (ranks) // the special tokens of a SentencePiece class are none of tiktoken's
        return tokconv_import_tiktoken(b, s->file, vocab, c, k->pre ? k : &plain, p, e);
    struct tokconv_bpe_files files = {s->file, s->merges, vocab, buf_view(&f->merges)};
    return tokconv_import_bpe(b, &files, c, k, p, e);
}

static int read_source(const struct tokconv_source *s, struct files *f, struct err *e) {
    const char *hint = path_hint(s->file);
    if (hint)
        return err_set(e, EXIT_DATA, "not a tokenizer, but %s: %s", hint, s->file);
    if (read_file(s->file, MAX_FILE_BYTES, &f->vocab, e) != 0)
        return -1;
    if (f->vocab.n == 0)
        return err_set(e, EXIT_DATA, "the file is empty: %s", s->file);
    return s->merges ? read_file(s->merges, MAX_FILE_BYTES, &f->merges, e) : 0;
}

int tokconv_convert(const struct tokconv_source *s, const char *pre, struct tokconv_result *r,
                    struct err *e) {
    struct files f = {0};
    struct tokconv_config c;
    struct tokbuild b = {0};
    *r = (struct tokconv_result){0};
    int rc = tokconv_config_read(&c, s->folder, e);
    if (rc == 0)
        rc = read_source(s, &f, e);
    if (rc == 0)
        rc = import(&b, s, &f, pre, &c, &r->kind, e);
    if (rc == 0) {
        bool asked = c.add_bos != NOT_GIVEN || b.add_bos || s->merges;
        if (!asked && b.has_role[ROLE_BOS] && !b.json.post_processor.n)
            warn("no '%.*s' is put before a text, because no file says \"add_bos_token\": %s",
                 str_shown(b.roles[ROLE_BOS].text), b.roles[ROLE_BOS].text.p, s->file);
        tokjson_write(&b.json, &r->tokenizer);
        r->has_config = c.exists;
        if (!c.exists)
            tokbuild_config_json(&b, &r->config);
        r->n_tokens = b.json.n_tokens;
        r->n_merges = b.json.n_merges;
    }
    tokbuild_free(&b);
    tokconv_config_free(&c);
    buf_free(&f.vocab);
    buf_free(&f.merges);
    return rc;
}

void tokconv_result_free(struct tokconv_result *r) {
    buf_free(&r->tokenizer);
    buf_free(&r->config);
}

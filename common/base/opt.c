/* The parts that every program's command line has: see opt.h. The cache's layout is that of
 * huggingface_hub: refs/main contains the name of a commit, and snapshots/COMMIT has the files. A
 * download that was pinned to a commit has no refs.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _XOPEN_SOURCE 700 // realpath
#include "base/opt.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/sandbox.h"

void opt_help(const char *text) {
    fputs(text, stdout);
    close_stdout();
    exit(EXIT_DONE);
}

void opt_version(void) {
    printf("%s (tokpipe) %s\n", program_name(), TOKPIPE_VERSION);
    close_stdout();
    exit(EXIT_DONE);
}

static bool verbose; // set once, before any thread starts

bool opt_verbose(void) {
    return verbose;
}

void opt_common(int c, const char *help) {
    switch (c) {
    case 'v':
        verbose = true;
        break;
    case 'q':
        warn_quiet(1);
        break;
    case OPT_NO_SANDBOX:
        sandbox_off();
        break;
    case 'h':
        opt_help(help);
    case 'V':
        opt_version();
    default:
        fprintf(stderr, "Try '%s --help'.\n", program_name());
        exit(EXIT_USAGE);
    }
}

const char *opt_file(int argc, char **argv) {
    if (argc - optind > 1)
        die_usage("one FILE at most, not also '%s'", argv[optind + 1]);
    return optind < argc ? argv[optind] : NULL;
}

/* ~ at the beginning of a path is $HOME, as in huggingface_hub. */
static char *expand_home(const char *path) {
    const char *home = getenv("HOME");
    return path[0] == '~' && (path[1] == '/' || !path[1]) && home
               ? xasprintf("%s%s", home, path + 1)
               : xstrdup(path);
}

static char *cache_root(void) {
    static const struct {
        const char *variable, *below; // below: NULL if the variable names the cache itself
    } places[] = {
        {"HF_HUB_CACHE", NULL},
        {"HUGGINGFACE_HUB_CACHE", NULL},
        {"HF_HOME", "hub"},
        {"XDG_CACHE_HOME", "huggingface/hub"},
        {"HOME", ".cache/huggingface/hub"},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *v = getenv(places[i].variable);
        if (!v || !*v)
            continue;
        char *path = expand_home(v),
             *whole = places[i].below ? path_join(path, places[i].below) : xstrdup(path);
        free(path);
        return whole;
    }
    return NULL;
}

/* Whether this is a part of a repository's name, which then is part of a path: letters, digits,
 * '-', '_', '.'. */
static bool good_part(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
              (p[i] >= '0' && p[i] <= '9') || strchr("-_.", p[i])))
            return false;
    return n > 0 && p[0] != '.';
}

/* The folder of "org/name" or "name" [0..n) below root; NULL if it is not such a name. */
static char *repo_folder(const char *root, const char *name, size_t n) {
    const char *slash = memchr(name, '/', n);
    size_t owner = slash ? (size_t)(slash - name) : 0;
    if (slash && !good_part(name, owner))
        return NULL;
    const char *rest = slash ? slash + 1 : name;
    size_t rest_n = n - (size_t)(rest - name);
    if (!good_part(rest, rest_n))
        return NULL;
    return xasprintf("%s/models--%.*s%s%.*s", root, (int)owner, name, slash ? "--" : "",
                     (int)rest_n, rest);
}

/* The commit that refs/REF names, or NULL. */
static char *read_ref(const char *repo, const char *ref) {
    char *path = xasprintf("%s/refs/%s", repo, ref);
    struct buf commit = {0};
    char *found = NULL;
    if (is_file(path) && read_file(path, 256, &commit, NULL) == 0 && commit.p) {
        commit.p[strcspn(commit.p, " \r\n")] = '\0';
        if (good_part(commit.p, strlen(commit.p)))
            found = xstrdup(commit.p);
    }
    buf_free(&commit);
    free(path);
    return found;
}

/* The one snapshot whose name begins with `begin`; NULL if there is none, or more than one; then
 * *many is set. */
static char *only_snapshot(const char *repo, const char *begin, bool *many) {
    char *path = path_join(repo, "snapshots"), *found = NULL;
    DIR *d = opendir(path);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, begin, strlen(begin)) != 0)
            continue;
        *many = found != NULL;
        if (*many)
            break;
        found = xstrdup(entry->d_name);
    }
    if (d)
        closedir(d);
    free(path);
    if (*many) {
        free(found);
        found = NULL;
    }
    return found;
}

/* "org/name@REV" -> ROOT/models--org--name/snapshots/COMMIT. NULL with e set, whose message says
 * where it looked. */
static char *cached_snapshot(const char *name, struct err *e) {
    enum { SHORT_COMMIT = 7 };
    const char *at = strchr(name, '@');
    size_t n = at ? (size_t)(at - name) : strlen(name);
    char *root = cache_root(), *repo = root ? repo_folder(root, name, n) : NULL, *commit = NULL,
         *found = NULL;
    bool many = false, good_rev = !at || (at[1] && at[1] != '/' && !strstr(at, ".."));
    if (repo && good_rev && is_dir(repo)) {
        char *exact = at ? xasprintf("%s/snapshots/%s", repo, at + 1) : NULL;
        commit = read_ref(repo, at ? at + 1 : "main");
        if (!commit && exact && is_dir(exact))
            commit = xstrdup(at + 1);
        if (!commit && (!at || strlen(at + 1) >= SHORT_COMMIT))
            commit = only_snapshot(repo, at ? at + 1 : "", &many);
        free(exact);
        found = commit ? xasprintf("%s/snapshots/%s", repo, commit) : NULL;
    }
    if (found && is_dir(found))
        goto done;
    if (many)
        err_set(e, EXIT_NO_INPUT,
                "several snapshots, and %s is none of them: choose one with @COMMIT: %s/snapshots",
                at ? at + 1 : "main", repo);
    else if (repo && is_dir(repo))
        err_set(e, EXIT_NO_INPUT, "the Hugging Face cache has no snapshot of %s: %s", name,
                found ? found : repo);
    else if (repo)
        err_set(e, EXIT_NO_INPUT, "no such model folder: %s; nor in the Hugging Face cache: %s",
                name, repo);
    else
        err_set(e, EXIT_NO_INPUT, "no such model folder: %s", name);
    free(found);
    found = NULL;
done:
    free(commit);
    free(repo);
    free(root);
    return found;
}

/* Whether the path `inner` is below the folder `outer`; both are real paths. */
static bool is_below(const char *inner, const char *outer) {
    size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 && (inner[n] == '/' || (n && outer[n - 1] == '/'));
}

/* For the real path REPO/snapshots/COMMIT: REPO/blobs. NULL for another folder. */
static char *cache_blobs(const char *folder) {
    static const char middle[] = "/snapshots";
    const char *commit = strrchr(folder, '/');
    size_t n = commit ? (size_t)(commit - folder) : 0;
    if (n < sizeof middle || memcmp(commit - (sizeof middle - 1), middle, sizeof middle - 1) != 0)
        return NULL;
    return xasprintf("%.*s/blobs", (int)(n - (sizeof middle - 1)), folder);
}

int model_file_check(const char *dir, const char *path, struct err *e) {
    char *folder = realpath(dir, NULL), *file = realpath(path, NULL);
    char *blobs = folder ? cache_blobs(folder) : NULL;
    int rc = 0;
    if (!folder || !file)
        rc = err_errno(e, EXIT_NO_INPUT, "cannot open %s", folder ? path : dir);
    else if (!is_below(file, folder) && !(blobs && is_below(file, blobs)))
        rc = err_set(e, EXIT_DATA, "the link leaves the model's folder: %s", path);
    free(blobs);
    free(file);
    free(folder);
    return rc;
}

char *model_dir(const char *dir, struct err *e) {
    if (!dir)
        dir = getenv("LLM_MODEL");
    if (!dir || !*dir) {
        err_set(e, EXIT_USAGE, "no model: give -m DIR or set LLM_MODEL");
        return NULL;
    }
    if (is_dir(dir))
        return xstrdup(dir);
    if (is_file(dir)) {
        const char *hint = path_hint(dir);
        err_set(e, EXIT_NO_INPUT, "%s: %s", hint ? hint : "expected a model folder, found a file",
                dir);
        return NULL;
    }
    return cached_snapshot(dir, e);
}

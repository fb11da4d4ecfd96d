/* What every program's command line has: see opt.h. The cache's layout is that of huggingface_hub: refs/main
 * names a commit, snapshots/COMMIT holds the files.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/opt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

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

static char *cache_root(void) {
    const char *v;
    if ((v = getenv("HF_HUB_CACHE")) && *v)
        return xstrdup(v);
    if ((v = getenv("HF_HOME")) && *v)
        return path_join(v, "hub");
    if ((v = getenv("HOME")) && *v)
        return path_join(v, ".cache/huggingface/hub");
    return NULL;
}

/* "org/name" -> ROOT/models--org--name/snapshots/COMMIT, or NULL where the cache has no such folder. */
static char *cached_snapshot(const char *name) {
    const char *slash = strchr(name, '/');
    if (!slash || slash == name || strchr(slash + 1, '/') || name[0] == '.' || slash[1] == '\0')
        return NULL;
    char *root = cache_root();
    if (!root)
        return NULL;
    char *repo = xasprintf("%s/models--%.*s--%s", root, (int)(slash - name), name, slash + 1);
    char *ref = path_join(repo, "refs/main");
    struct buf commit = {0};
    char *found = NULL;
    if (read_file(ref, 256, &commit, NULL) == 0) {
        commit.n = strcspn(commit.p, " \r\n");
        commit.p[commit.n] = '\0';
        if (commit.n && !strchr(commit.p, '/'))
            found = xasprintf("%s/snapshots/%s", repo, commit.p);
        if (found && !is_dir(found)) {
            free(found);
            found = NULL;
        }
    }
    buf_free(&commit);
    free(ref);
    free(repo);
    free(root);
    return found;
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
    char *found = cached_snapshot(dir);
    if (!found)
        err_set(e, EXIT_NO_INPUT, "no such model folder, nor in the Hugging Face cache: %s", dir);
    return found;
}

/* The parts that every program's command line has: --help, --version, and the model folder.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include <stdbool.h>

#include "base/err.h"

/* Codes for long options without a letter start here, in every program. */
enum { OPT_LONG_ONLY = 256, OPT_NO_SANDBOX = 255 };

/* Every program ends its table of long options with OPT_COMMON and its letters with
 * OPT_COMMON_LETTERS. The `default:` of its option loop calls opt_common, which handles -v, -q, -h,
 * -V and --no-sandbox. Any other code is a usage error that getopt has already reported on stderr.
 */
#define OPT_COMMON_LETTERS "vqhV"
#define OPT_COMMON                                                                                 \
    {"verbose", no_argument, NULL, 'v'}, {"quiet", no_argument, NULL, 'q'},                        \
        {"no-sandbox", no_argument, NULL, OPT_NO_SANDBOX}, {"help", no_argument, NULL, 'h'},       \
        {"version", no_argument, NULL, 'V'}, {                                                     \
        NULL, 0, NULL, 0                                                                           \
    }
void opt_common(int c, const char *help);
bool opt_verbose(void); // -v was given

/* The FILE operand after the options: NULL if there is none, a usage error if there are two. */
const char *opt_file(int argc, char **argv);

/* Print to stdout and exit 0 (EXIT_IO if stdout cannot be written). */
NORETURN void opt_help(const char *text);
NORETURN void opt_version(void);

/* The model folder: dir as given, or $LLM_MODEL when dir is NULL. A folder is used directly.
 * Otherwise "org/name", "name" or either with "@REV" is looked up in the Hugging Face cache, where
 * huggingface_hub looks for it: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub,
 * $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. REV is a branch, a tag, a commit or
 * the beginning of one (7 digits or more). Without @REV it is main, or the only snapshot if the
 * cache has no main. Returns a path owned by the caller, or NULL with e set (EXIT_USAGE if no model
 * was named, else EXIT_NO_INPUT). */
char *model_dir(const char *dir, struct err *e);

/* Refuses (EXIT_DATA) a file at path whose links lead out of the folder dir, for a program that
 * copies files to other people. In a Hugging Face cache, links to the repository's blobs are as
 * they should be. */
int model_file_check(const char *dir, const char *path, struct err *e);

#endif

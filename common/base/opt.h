/* What every program's command line has: --help, --version, and the model folder.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include <stdbool.h>

#include "base/err.h"

/* Codes for long options without a letter start here, in every program. */
enum { OPT_LONG_ONLY = 256 };

/* What every program has. OPT_COMMON ends its table of long options, OPT_COMMON_LETTERS its
 * letters, and the `default:` of its option loop calls opt_common, which does what -v, -q, -h and
 * -V say. Anything else getopt has already refused on stderr: a usage error. */
#define OPT_COMMON_LETTERS "vqhV"
#define OPT_COMMON                                                                                 \
    {"verbose", no_argument, NULL, 'v'}, {"quiet", no_argument, NULL, 'q'},                        \
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {                   \
        NULL, 0, NULL, 0                                                                           \
    }
void opt_common(int c, const char *help);
bool opt_verbose(void); // -v was given

/* The FILE operand behind the options: NULL where there is none; a usage error where there are two.
 */
const char *opt_file(int argc, char **argv);

/* Print to stdout and exit 0 (or EXIT_IO where stdout is full). */
NORETURN void opt_help(const char *text);
NORETURN void opt_version(void);

/* The model folder: dir as given, or $LLM_MODEL when dir is NULL. A folder is taken as it is;
 * otherwise "org/name", "name" or either with "@REV" is looked up in the Hugging Face cache, where
 * huggingface_hub finds it: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub,
 * $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. REV is a branch, a tag, a commit or
 * the beginning of one (7 digits or more). Without it main counts, and where the cache has no main,
 * its only snapshot. Returns a path owned by the caller, or NULL with e set (EXIT_USAGE where none
 * was named, else EXIT_NO_INPUT). */
char *model_dir(const char *dir, struct err *e);

#endif

/* The command line of tok-encode.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_ENCODE_COMMAND_H
#define STAGES_ENCODE_COMMAND_H

#include <stdbool.h>

#include "chat/chat.h"
#include "stages/encode.h"

struct encode_command {
    const char *model, *input, *skip_done, *verify, *prompt;
    bool chat;
    const char *of_chat; // the last option that goes with chats only, or NULL
    struct chat_options chat_options;
    struct encode_job job;
};

/* Reads the options. Ends the program where they are wrong, and after --help and --version. */
void encode_command_parse(struct encode_command *o, int argc, char **argv);

#endif

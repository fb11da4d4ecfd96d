/* The command line of llm-forward.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_FORWARD_COMMAND_H
#define STAGES_FORWARD_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "model/model.h"

struct forward_command {
    const char *model, *verify, *input, *layers; // layers: of --hidden=LIST
    const char *collect;                         // where statistics are written, or NULL
    struct model_options model_opts;
    struct engine_options engine;
    bool all_logits, no_return, hidden, keep_given;
    bool listens, group;
    const char *listen, *engine_socket; // listen: NULL where systemd passes the socket
    uint64_t idle, stall;               // seconds; 0: never
    const char *kv_load[MODEL_KV_FILES], *kv_save;
    size_t n_kv_load;
    const char *kv_type; // NULL: not given
};

/* Reads the options, and completes them: $LLM_ENGINE, $LLM_DEVICE, and what follows from others.
 * Ends the program where they are wrong, and after --help, --version and --device list. */
void forward_command_parse(struct forward_command *o, int argc, char **argv);

#endif

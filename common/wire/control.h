/* Messages between a resident llm-forward and its clients, over a Unix socket of packets.
 *
 *     client -> engine   ASK (with the descriptors of stdin and stdout), then TAKEN (with the
 *                        connected return path) or DECLINED, where the stream has a return path
 *     engine -> client   WARN and NOTE, any number of times, then END
 *
 * A message is one packet: magic, type, fixed fields, then texts, each with its length. Numbers are
 * little-endian. Both sides run on one machine and should be of one version: another magic is
 * refused. Nothing here has a descriptor: wire/passing.h sends and receives packets.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_CONTROL_H
#define WIRE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/logits.h"

enum {
    CONTROL_MAX_BYTES = 8192, // of a message
    CONTROL_MAX_TEXT = 2048,  // of one text
    CONTROL_LIST_HASH = 32,   // bytes of the hash of a list
};

enum control_type {
    CONTROL_ASK = 1,
    CONTROL_TAKEN,
    CONTROL_DECLINED,
    CONTROL_WARN = 16, // text: a warning, without the program's name
    CONTROL_NOTE,      // text: a line of -v
    CONTROL_END,       // code, text: the program's exit code and last message
};

enum control_flags {
    CONTROL_ALL = 1,        // logits of every position of a prompt
    CONTROL_HIDDEN = 2,     // hidden states too
    CONTROL_LAYERS = 4,     // of the layers that `layers` lists
    CONTROL_PRECISE = 8,    // f32 activations
    CONTROL_RETURN = 16,    // there will be a return path, with this address and nonce, if any
    CONTROL_REPORT = 32,    // NOTEs at the end
    CONTROL_MODEL = 64,     // the model's folder must be that of model_dev and model_ino
    CONTROL_VERIFIED = 128, // the weights must have been compared with the list of this hash
    CONTROL_ALL_FLAGS = 255,
};

struct control {
    enum control_type type;
    // ASK
    uint32_t flags;
    uint32_t batch;   // most sequences of the client in flight, from 1
    uint32_t context; // most ids of a sequence; 0: the engine's own
    uint64_t model_dev, model_ino;
    uint8_t list[CONTROL_LIST_HASH];
    char address[LOGITS_ADDRESS_BYTES]; // ends in NUL
    uint8_t nonce[LOGITS_NONCE_BYTES];
    struct str device;  // the name that was given; n = 0: none
    struct str layers;  // of --hidden=LIST
    struct str in_name; // for messages
    // END
    uint32_t code; // enum exit_code
    bool left;     // the reader of stdout has left: end by SIGPIPE
    // WARN, NOTE, END
    struct str text;
};

/* Appends the message. Texts are cut at CONTROL_MAX_TEXT bytes; `layers` must fit. -1 (EXIT_USAGE):
 * it does not. */
int control_put(struct buf *out, const struct control *c, struct err *e);

/* Reads and checks the message p [n]; the texts point into it, and contain no NUL. -1: EXIT_DATA.
 */
int control_get(struct control *c, const uint8_t *p, size_t n, struct err *e);

#endif

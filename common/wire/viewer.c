/* Streams for programs that only read them: see viewer.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/viewer.h"

#include <inttypes.h>

#include "base/io.h"
#include "base/opt.h"
#include "wire/return.h"

struct logits_reader *viewer_open(const char *path, const char **name, struct logits_header *h,
                                  struct err *e) {
    int fd = open_operand(path, name, e);
    struct logits_reader *r = fd < 0 ? NULL : logits_reader_new(fd, *name, h, e);
    if (!r)
        return NULL;
    if (opt_verbose())
        print_note("%s: vocabulary %" PRIu32 ", context %" PRIu32 ", hidden %" PRIu32
                   ", weights %016" PRIx64 ", tokenizer %016" PRIx64 ", return path %s",
                   *name, h->vocab_size, h->context, h->hidden_dim, h->weights, h->tokenizer,
                   h->address[0] ? h->address : "none");
    return_decline(h, fd);
    return r;
}

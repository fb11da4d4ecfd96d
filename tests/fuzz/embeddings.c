/* Fuzz entry: the body of a request for embeddings.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "serve/embeddings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct embeddings_body b;
    struct err e = {0};
    char field[BODY_MAX_FIELD];
    int rc = embeddings_read(&b, (struct str){(const char *)data, size}, field, &e);
    if (rc != 0 && !e.msg[0])
        abort();
    if (rc == 0 && (b.n == 0 || b.n > EMBEDDINGS_MAX_INPUTS))
        abort();
    embeddings_free(&b);
    return 0;
}

/* Fuzz entry: the body of llm-sample over a recorded logits(5) stream. A first byte of 1 stands for
 * a good header, so that the fuzzer gets to the frames. The answers must be tokens(5).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "stages/sample.h"
#include "wire/logits.h"
#include "wire/tokens.h"

static void check_answers(const char *p, size_t n) {
    struct tokens_reader *r = tokens_reader_new(fuzz_fd((const uint8_t *)p, n), "output");
    struct tokens_event ev;
    struct err e;
    int rc;
    while ((rc = tokens_next(r, &ev, &e)) == 0 && ev.type != TOKENS_EOF)
        ;
    assert(rc == 0);
    tokens_reader_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct logits_header h = {.vocab_size = 3, .hidden_dim = 2, .context = 100, .bos = -1};
    struct buf stream = {0};
    struct err e = {0};
    bool begin = size && data[0] == 1;
    if (begin) {
        char head[LOGITS_HEADER_BYTES];
        int fd = fuzz_fd(data, 0);
        if (logits_write_header(fd, &h, &e) != 0 ||
            pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head)
            abort();
        buf_add(&stream, head, sizeof head);
    }
    buf_add(&stream, data + begin, size - begin);
    struct sample_job o = {.params = sample_defaults, .echo = size & 1};
    uint64_t n_chosen = 0;
    char *out = NULL;
    size_t n_out = 0;
    FILE *f = open_memstream(&out, &n_out);
    warn_quiet(1);
    int fd = fuzz_fd((const uint8_t *)stream.p, stream.n);
    if (stage_sample(&o, fd, "fuzz", f, &n_chosen, &e) == -1)
        fuzz_check_refusal(&e);
    fclose(f);
    check_answers(out, n_out);
    free(out);
    buf_free(&stream);
    return 0;
}

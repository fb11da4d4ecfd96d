/* tokens(5): the reader at every cut of its input, what it refuses, attributes, the writer.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/tokens.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/attrs.h"
#include "base/io.h"

/* A descriptor that gives text[0..n) and ends; texts of a pipe's size or less. */
static int input(const char *text, size_t n) {
    int ends[2];
    if (pipe(ends) != 0 || write_full(ends[1], text, n, NULL) != 0)
        return -1;
    close(ends[1]);
    return ends[0];
}

static void show(struct buf *out, const struct tokens_event *ev) {
    switch (ev->type) {
    case TOKENS_EOF:
        buf_str(out, "EOF");
        break;
    case TOKENS_ID:
        buf_fmt(out, "%" PRIu32 " ", ev->id);
        break;
    case TOKENS_END:
        buf_str(out, "/ ");
        break;
    case TOKENS_ATTRS:
        buf_fmt(out, "@%.*s ", (int)ev->text.n, ev->text.p);
        break;
    case TOKENS_FAILED:
        buf_fmt(out, "!%.*s ", (int)ev->text.n, ev->text.p);
        break;
    case TOKENS_RESULT:
        buf_fmt(out, "=%.*s ", (int)ev->text.n, ev->text.p);
        break;
    }
}

/* All events of text as one line, or the error's message. */
static const char *events(const char *text, size_t n) {
    static char line[1024];
    struct buf out = {0};
    struct err e = {0};
    struct tokens_event ev;
    int fd = input(text, n);
    struct tokens_reader *r = tokens_reader_new(fd, "test");
    do {
        if (tokens_next(r, &ev, &e) != 0) {
            buf_clear(&out);
            buf_str(&out, e.msg);
            break;
        }
        show(&out, &ev);
    } while (ev.type != TOKENS_EOF);
    tokens_reader_free(r);
    close(fd);
    snprintf(line, sizeof line, "%s", out.p);
    buf_free(&out);
    return line;
}

#define EVENTS(text, want) CHECK_STR(events(text, sizeof(text) - 1), want)

static void lines(void) {
    EVENTS("", "EOF");
    EVENTS("\n", "/ EOF");
    EVENTS("1 2 3\n", "1 2 3 / EOF");
    EVENTS("1 2 3", "1 2 3 / EOF");
    EVENTS("1 2 \n\n3\n", "1 2 / / 3 / EOF");
    EVENTS("\t1\t 2\n", "1 2 / EOF");
    EVENTS("2147483647\n", "2147483647 / EOF");
    EVENTS("# a comment\n1\n#\n2\n", "1 / 2 / EOF");
    EVENTS("#@ id=7 max=2\n1\n#= finish=eos\n", "@id=7 max=2 1 / =finish=eos EOF");
    EVENTS("#@\n! no luck\n!", "@ !no luck ! EOF");
}

static void header(void) {
    static const char text[] =
        "# about\n# tokens vocab=49152 tokenizer=5f0c9a31e2b7d804 later=1\n5\n";
    int fd = input(text, sizeof text - 1);
    struct tokens_reader *r = tokens_reader_new(fd, "test");
    struct tokens_event ev;
    CHECK(tokens_next(r, &ev, NULL) == 0 && ev.type == TOKENS_ID);
    CHECK(tokens_header(r)->present);
    CHECK_INT(tokens_header(r)->vocab, 49152);
    CHECK(tokens_header(r)->tokenizer == UINT64_C(0x5f0c9a31e2b7d804));
    tokens_reader_free(r);
    close(fd);
    EVENTS("# tokens vocab=5\n1\n# tokens vocab=5\n2\n", "1 / 2 / EOF");
    EVENTS("# tokens are numbers\n1\n", "1 / EOF");
}

static void refused(void) {
    EVENTS("1 x\n", "expected a token id in decimal digits: test: line 1, byte 3");
    EVENTS("1\n2 -3\n", "expected a token id in decimal digits: test: line 2, byte 3");
    EVENTS("1\r\n", "expected a token id in decimal digits: test: line 1, byte 2");
    EVENTS("1\0\n", "expected a token id in decimal digits: test: line 1, byte 2");
    EVENTS("7 2147483648\n", "a token id is larger than 2147483647: test: line 1, byte 12");
    EVENTS("99999999999999999999999999\n",
           "a token id is larger than 2147483647: test: line 1, byte 10");
    EVENTS("#@ a=\xff\n1\n", "the line is not UTF-8: test: line 1, byte 7");
    EVENTS("1\n# tokens vocab=5\n",
           "a header line comes after the first sequence: test: line 2, byte 17");
    EVENTS("# tokens vocab=5\n# tokens vocab=6\n",
           "a second header names another vocabulary than the first: test: line 2, byte 17");
    EVENTS("# tokens vocab=0\n",
           "the header's vocab= is not a number of ids: test: line 1, byte 17");
    EVENTS("# tokens vocab=1 tokenizer=12\n",
           "the header's tokenizer= is not 16 hexadecimal digits: test: line 1, byte 30");
}

/* One byte at a time: each event comes with the byte that completes it. A '|' marks the arrival of
 * a byte. */
static void as_it_grows(void) {
    static const char text[] = "#@ m=1\n12 3\n\n! w\n4";
    struct buf out = {0};
    struct tokens_event ev = {.type = TOKENS_END};
    int ends[2];
    CHECK(pipe(ends) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    struct tokens_reader *r = tokens_reader_new(ends[0], "test");
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        CHECK(write_full(ends[1], text + i, 1, NULL) == 0);
        buf_byte(&out, '|');
        struct err e = {0};
        while (tokens_next(r, &ev, &e) == 0) // "cannot read" where it would wait
            show(&out, &ev);
        CHECK_INT(e.code, EXIT_IO);
        CHECK(!tokens_pending(r));
    }
    close(ends[1]);
    do {
        CHECK(tokens_next(r, &ev, NULL) == 0);
        show(&out, &ev);
    } while (ev.type != TOKENS_EOF);
    CHECK_STR(out.p, "|||||||@m=1 |||12 ||3 / |/ ||||!w |4 / EOF");
    buf_free(&out);
    tokens_reader_free(r);
    close(ends[0]);
}

static void pending(void) {
    int fd = input("1 2\n3", 5);
    struct tokens_reader *r = tokens_reader_new(fd, "test");
    struct tokens_event ev;
    CHECK(!tokens_pending(r)); // nothing has been read yet
    CHECK(tokens_next(r, &ev, NULL) == 0 && ev.type == TOKENS_ID && ev.id == 1);
    CHECK(tokens_pending(r) && tokens_pending(r));
    CHECK(tokens_next(r, &ev, NULL) == 0 && ev.type == TOKENS_ID && ev.id == 2);
    CHECK(tokens_pending(r));
    CHECK(tokens_next(r, &ev, NULL) == 0 && ev.type == TOKENS_END);
    CHECK(!tokens_pending(r)); // more digits may follow "3"
    CHECK(tokens_next(r, &ev, NULL) == 0 && ev.type == TOKENS_ID && ev.id == 3);
    tokens_reader_free(r);
    close(fd);
    fd = input("1 x", 3); // an error is held too, and returned once
    r = tokens_reader_new(fd, "test");
    struct err e = {0};
    CHECK(tokens_next(r, &ev, &e) == 0);
    CHECK(tokens_pending(r));
    CHECK(tokens_next(r, &ev, &e) == -1);
    CHECK_STR(e.msg, "expected a token id in decimal digits: test: line 1, byte 3");
    tokens_reader_free(r);
    close(fd);
}

static void bounds(void) {
    struct buf text = {0}; // a text of the largest size, and one byte more
    buf_str(&text, "#@ ");
    while (text.n < TOKENS_MAX_TEXT)
        buf_byte(&text, 'a');
    char path[] = "/tmp/tokens-test-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    CHECK(write_full(fd, text.p, text.n, NULL) == 0 && write_full(fd, "\n1\n", 3, NULL) == 0);
    CHECK(write_full(fd, text.p, text.n, NULL) == 0 && write_full(fd, "a\n", 2, NULL) == 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    struct tokens_reader *r = tokens_reader_new(fd, "test");
    struct tokens_event ev;
    struct err e = {0};
    CHECK(tokens_next(r, &ev, &e) == 0 && ev.type == TOKENS_ATTRS);
    CHECK_INT(ev.text.n, TOKENS_MAX_TEXT - 3);
    CHECK(tokens_next(r, &ev, &e) == 0 && tokens_next(r, &ev, &e) == 0);
    CHECK(tokens_next(r, &ev, &e) == -1);
    CHECK_MSG(strncmp(e.msg, "a '#' or '!' line is longer than 1 MiB: test: line 3", 52) == 0, "%s",
              e.msg);
    tokens_reader_free(r);
    close(fd);
    buf_free(&text);
}

static void attributes(void) {
    struct buf attrs = {0}, value = {0};
    EVENTS("#@ a=1\n#@ b=2\n1 2\n#= x\n! bad luck\n\n3", "@a=1 @b=2 1 2 / =x !bad luck / 3 / EOF");
    attrs_set(&attrs, "id", str_of("7"));
    attrs_set(&attrs, "stop", str_of("a b%\n"));
    CHECK_STR(attrs.p, "id=7 stop=a%20b%25%0A");
    CHECK(attrs_get(buf_view(&attrs), "stop", &value));
    CHECK_STR(value.p, "a b%\n");
    CHECK(!attrs_get(buf_view(&attrs), "sto", &value));
    CHECK(attrs_get(str_of("x=1  x=2 x3=4"), "x", &value));
    CHECK_STR(value.p, "2"); // the last one counts
    CHECK(attrs_get(str_of("e="), "e", &value));
    CHECK_INT(value.n, 0);
    CHECK(attrs_get(str_of("p=%4 q=%zz r=%41%"), "r", &value));
    CHECK_STR(value.p, "A%");
    buf_free(&attrs);
    buf_free(&value);
}

static void writing(void) {
    FILE *f = tmpfile();
    char got[512] = "";
    CHECK(f != NULL);
    tokens_write_header(f, &(struct tokens_header){.present = false, .vocab = 3});
    tokens_write_header(f, &(struct tokens_header){true, 49152, UINT64_C(0x0f0c9a31e2b7d804)});
    tokens_write_attrs(f, str_of(""));
    tokens_write_attrs(f, str_of("id=7"));
    tokens_write_id(f, 0, true);
    tokens_write_id(f, 10, false);
    tokens_write_id(f, 2147483647, false);
    tokens_write_space(f);
    tokens_write_id(f, 5, true);
    tokens_write_end(f);
    tokens_write_result(f, str_of("finish=eos"));
    tokens_write_failed(f, str_of("two\nlines \xff"));
    rewind(f);
    CHECK(fread(got, 1, sizeof got - 1, f) > 0);
    CHECK_STR(got, "# tokens vocab=49152 tokenizer=0f0c9a31e2b7d804\n#@ id=7\n0 10 2147483647 "
                   "5\n#= finish=eos\n"
                   "! two lines \xef\xbf\xbd\n");
    fclose(f);
}

int main(void) {
    RUN(lines);
    RUN(header);
    RUN(refused);
    RUN(as_it_grows);
    RUN(pending);
    RUN(bounds);
    RUN(attributes);
    RUN(writing);
    return check_done();
}

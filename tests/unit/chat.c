/* Chat templates (common/chat): renders every chat golden, ours and the published ones, and
 * compares the text.
 *
 * The published ones are read from a folder beside the checkout. The test is skipped if it is
 * missing.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/io.h"
#include "base/json.h"
#include "chat/chat.h"

/* Returns the first byte at which two texts differ, for the message. */
static size_t difference(struct str a, struct str b) {
    size_t i = 0;
    while (i < a.n && i < b.n && a.p[i] == b.p[i])
        i++;
    return i;
}

static int joined; // cases where lists of texts were joined

/* Reads a list of texts and appends them as one text of JSON. */
static void join_list(struct json *j, struct buf *out) {
    struct buf text = {0};
    struct str key;
    json_enter_array(j);
    while (json_item(j)) {
        if (text.n)
            buf_byte(&text, '\n');
        json_enter_object(j);
        while (json_key(j, &key)) {
            struct str s = str_eq(key, "text") ? json_str(j) : str_of("");
            if (s.n)
                buf_add(&text, s.p, s.n);
            else
                json_skip(j);
        }
    }
    json_write_str(out, text.p ? buf_view(&text) : str_of(""));
    buf_free(&text);
}

/* Walks over one message. Copies what comes before each content that is a list, from *from on, and
 * then one text in its place. */
static bool join_message(struct json *j, const char **from, struct buf *out) {
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (!str_eq(key, "content") || json_peek(j) != JSON_ARRAY) {
            json_skip(j);
            continue;
        }
        buf_add(out, *from, (size_t)(j->p - *from));
        join_list(j, out);
        *from = j->p;
        found = true;
    }
    return found;
}

/* Copies a request, with each content that is a list of texts as one text. False if there is none.
 */
static bool join_contents(struct str object, struct buf *out) {
    struct err e = {0};
    struct json j;
    struct str key;
    bool found = false;
    const char *from = object.p;
    json_init(&j, "request", object.p, object.n, &e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        if (!str_eq(key, "messages")) {
            json_skip(&j);
            continue;
        }
        json_enter_array(&j);
        while (json_item(&j))
            found |= join_message(&j, &from, out);
    }
    buf_add(out, from, (size_t)(object.p + object.n - from));
    found = found && !json_failed(&j);
    json_free(&j);
    return found;
}

/* A template that does not take a list of texts apart gets one text, where the reference prints a
 * list of Python, or nothing, or refuses. Then the result must be that of the request with the one
 * text. */
static bool is_joined(const struct chat *c, struct str object, struct str text) {
    struct chat_defaults none = {0};
    struct buf request = {0}, want = {0};
    struct err e = {0};
    bool same = join_contents(object, &request) &&
                chat_render(c, "joined", buf_view(&request), NULL, &none, &want, NULL, &e) == 0 &&
                str_same(buf_view(&want), text);
    joined += same;
    buf_free(&request);
    buf_free(&want);
    return same;
}

/* Checks one case of cases.json or chat.json. The object itself is the request. */
static void check_case(const struct chat *c, const char *file, int number, struct str object) {
    struct err e = {0};
    struct json j;
    struct str key, want = {NULL, 0};
    struct buf text = {0}, trust = {0};
    json_init(&j, file, object.p, object.n, &e);
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "rendered") && json_peek(&j) == JSON_STRING)
            want = json_str(&j);
        else
            json_skip(&j);
    struct chat_defaults none = {0};
    int rc = chat_render(c, "case", object, NULL, &none, &text, &trust, &e);
    if (!want.p) {
        CHECK_MSG(rc < 0 || is_joined(c, object, buf_view(&text)),
                  "%s case %d: rendered, where the reference refuses", file, number);
    } else if (rc < 0) {
        CHECK_MSG(0, "%s case %d: %s", file, number, e.msg);
    } else {
        size_t at = difference(want, buf_view(&text));
        CHECK_MSG((at == want.n && at == text.n) || is_joined(c, object, buf_view(&text)),
                  "%s case %d: differs at byte %zu: '%.40s', not '%.40s'", file, number, at,
                  text.p + at, want.p + at);
        CHECK(trust.n == text.n);
    }
    json_free(&j);
    buf_free(&text);
    buf_free(&trust);
}

static int check_folder(const char *dir, const char *file) {
    struct err e = {0};
    struct buf cases = {0};
    char *path = path_join(dir, file);
    struct chat *c = chat_open(dir, &(struct chat_options){0}, &e);
    struct json j;
    int n = 0;
    CHECK_MSG(c != NULL, "%s: %s", dir, e.msg);
    CHECK(read_file(path, 64 << 20, &cases, &e) == 0);
    json_init(&j, path, cases.p, cases.n, &e);
    json_enter_array(&j);
    while (c && json_item(&j))
        check_case(c, path, n++, json_skip(&j));
    json_free(&j);
    buf_free(&cases);
    chat_free(c);
    free(path);
    return n;
}

/* Checks each folder under base that has the file. Returns the number of cases. */
static int check_all(const char *base, const char *file) {
    DIR *d = opendir(base);
    int n = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char *dir = path_join(base, entry->d_name), *path = path_join(dir, file);
        if (entry->d_name[0] != '.' && is_file(path))
            n += check_folder(dir, file);
        free(dir);
        free(path);
    }
    if (d)
        closedir(d);
    return n;
}

static void our_goldens(void) {
    CHECK(check_all("tests/data/tokenizers", "chat.json") > 50);
}

static void published_goldens(void) {
    joined = 0;
    CHECK(check_all("../shared/goldens/thirdparty/chat", "cases.json") >= 738);
    CHECK_MSG(joined == 48, "%d cases with a list of texts differ from the reference", joined);
}

int main(void) {
    RUN(our_goldens);
    if (is_dir("../shared/goldens/thirdparty/chat"))
        RUN(published_goldens);
    else
        SKIP(published_goldens, "the published templates are not beside this checkout");
    return check_done();
}

/* strftime_now of transformers: Python's datetime.now().strftime(format), as CPython gives it on
 * Linux.
 *
 * CPython replaces %f, %z, %:z and %Z itself and leaves the rest to the C library, so %-d, %e, %P,
 * %^a and %_5d work, and an unknown directive stays as it is. A time without a zone has empty %z
 * and %Z. $SOURCE_DATE_EPOCH, in UTC, takes the place of the clock. The names are English, because
 * no program sets a locale.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "jinja/run.h"

enum { MAX_FORMAT = 4096, MAX_RESULT = 1 << 16 }; // bytes

/* The time, in seconds and microseconds. */
struct now {
    struct tm tm;
    time_t seconds;
    long micro;
};

static bool get_now(struct now *now) {
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    uint64_t fixed;
    struct timespec ts;
    if (epoch && parse_u64(str_of(epoch), 0, INT32_MAX, &fixed)) {
        now->seconds = (time_t)fixed;
        now->micro = 0;
        if (!gmtime_r(&now->seconds, &now->tm))
            return false;
    } else {
        if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
            return false;
        now->seconds = ts.tv_sec;
        now->micro = ts.tv_nsec / 1000;
        if (!localtime_r(&now->seconds, &now->tm))
            return false;
    }
    // Without a zone and daylight saving time, "%-z" and "%^Z" are empty, too.
    const struct tm t = now->tm;
    now->tm = (struct tm){.tm_sec = t.tm_sec,
                          .tm_min = t.tm_min,
                          .tm_hour = t.tm_hour,
                          .tm_mday = t.tm_mday,
                          .tm_mon = t.tm_mon,
                          .tm_year = t.tm_year,
                          .tm_wday = t.tm_wday,
                          .tm_yday = t.tm_yday,
                          .tm_isdst = -1};
    return true;
}

/* Copies a format and replaces what CPython replaces. */
static void replace_own(struct buf *out, struct str format, const struct now *now) {
    for (size_t i = 0; i < format.n; i++) {
        char next = i + 1 < format.n ? format.p[i + 1] : 0;
        bool colon = next == ':' && i + 2 < format.n && format.p[i + 2] == 'z';
        if (format.p[i] != '%') {
            buf_byte(out, format.p[i]);
            continue;
        }
        if (next == 'f')
            buf_fmt(out, "%06ld", now->micro);
        else if (next == 's')
            buf_fmt(out, "%lld", (long long)now->seconds);
        else if (next != 'z' && next != 'Z' && !colon)
            buf_add(out, format.p + i, next ? 2 : 1);
        i += colon ? 2 : next != 0;
    }
}

/* Appends one part of the result. part has no NUL byte. False if the result is too long. */
static bool format_part(struct buf *out, struct str part, const struct now *now) {
    struct buf format = {0};
    buf_byte(&format, 'x'); // tells an empty result from one that is too long
    replace_own(&format, part, now);
    buf_byte(&format, 0);
    buf_reserve(out, MAX_RESULT);
    size_t n = strftime(out->p + out->n, MAX_RESULT, format.p, &now->tm);
    buf_free(&format);
    if (n == 0)
        return false;
    memmove(out->p + out->n, out->p + out->n + 1, n - 1);
    out->n += n - 1;
    return out->n < MAX_RESULT;
}

struct jvalue jinja_strftime_now(struct jinja *in, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    struct now now;
    struct buf out = {0};
    if (!jinja_bind(in, "strftime_now", "format", 1, a, v))
        return jv_none();
    struct jtext *t = jinja_arg_str(in, v[0], "");
    if (in->failed)
        return jv_none();
    bool good = get_now(&now) && t->n <= MAX_FORMAT;
    for (size_t from = 0; good && from <= t->n;) {
        const char *nul = t->n > from ? memchr(t->p + from, 0, t->n - from) : NULL;
        size_t to = nul ? (size_t)(nul - t->p) : t->n;
        good = format_part(&out, (struct str){t->p + from, to - from}, &now);
        if (nul)
            buf_byte(&out, 0);
        from = to + 1;
    }
    struct jbuild b;
    jb_init(&b, in, out.n);
    if (good && jinja_steps(in, out.n))
        jb_add(&b, out.p, out.n, jt_pure(t));
    buf_free(&out);
    return good ? jv_text(jb_done(&b))
                : jinja_fail(in, "ValueError: strftime_now: the result is too long");
}

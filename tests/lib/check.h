/* Unit tests: a test is a function; RUN runs it and prints a TAP line; a failed CHECK names its
 * line.
 *
 *     static void empty_input(void) { CHECK(f("") == 0); CHECK_STR(g(), "x"); }
 *     int main(void) { RUN(empty_input); return check_done(); }
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdio.h>
#include <string.h>

static int check_count, check_bad, check_here;

/* Whether the test is built with a sanitizer, which takes several times the time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { CHECK_SLOW = 1 };
#elif defined(__has_feature)
enum {
    CHECK_SLOW = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||
                 __has_feature(memory_sanitizer)
};
#else
enum { CHECK_SLOW = 0 };
#endif

#define CHECK_MSG(cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            check_here++;                                                                          \
            printf("# %s:%d: ", __FILE__, __LINE__);                                               \
            printf(__VA_ARGS__);                                                                   \
            putchar('\n');                                                                         \
        }                                                                                          \
    } while (0)
#define CHECK(cond) CHECK_MSG(cond, "%s", #cond)
#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long g_ = (long long)(got), w_ = (long long)(want);                                   \
        CHECK_MSG(g_ == w_, "%s is %lld, not %lld", #got, g_, w_);                                 \
    } while (0)
#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        const char *g_ = (got), *w_ = (want);                                                      \
        CHECK_MSG(g_ &&strcmp(g_, w_) == 0, "%s is '%s', not '%s'", #got, g_ ? g_ : "(null)", w_); \
    } while (0)

#define RUN(test)                                                                                  \
    do {                                                                                           \
        check_here = 0;                                                                            \
        test();                                                                                    \
        check_count++;                                                                             \
        check_bad += check_here != 0;                                                              \
        printf("%s %d %s\n", check_here ? "not ok" : "ok", check_count, #test);                    \
        fflush(stdout);                                                                            \
    } while (0)
#define SKIP(test, why)                                                                            \
    do {                                                                                           \
        check_count++;                                                                             \
        printf("ok %d %s # skip %s\n", check_count, #test, why);                                   \
    } while (0)

static inline int check_done(void) {
    printf("1..%d\n", check_count);
    return check_bad != 0;
}

#endif

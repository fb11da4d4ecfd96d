/* The handler of SIGBUS: see mapped.h. It uses only what a signal handler may use.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mapped.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/leftover.h"
#include "base/mem.h"
#include "base/visible.h"

/* A node is reused, but never freed: the handler may be looking at it. */
struct mapping {
    struct mapping *next;
    const char *volatile p; // NULL: not in use
    size_t n;
    char *path;
    char shown[256]; // the path, for the message
};

static struct mapping *volatile mappings;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t handled;
static atomic_flag reported = ATOMIC_FLAG_INIT;

/* Writes the texts in one piece, so that lines of several stages do not mix. */
static void write_line(const char *const texts[], size_t n) {
    char line[1024];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(texts[i]), room = sizeof line - 1 - used;
        len = len < room ? len : room;
        memcpy(line + used, texts[i], len);
        used += len;
    }
    line[used++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
}

static void report(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    const char *at = info->si_addr;
    struct mapping *m = mappings;
    while (m && !(m->p && at >= m->p && (size_t)(at - m->p) < m->n))
        m = m->next;
    if (!m) { // no file of ours: the program ends as it would without a handler
        signal(signal_number, SIG_DFL);
        raise(signal_number);
        return;
    }
    struct stat st;
    bool shorter = stat(m->path, &st) == 0 && (uintmax_t)st.st_size < m->n;
    if (atomic_flag_test_and_set(&reported)) // by another thread, which ends the program
        for (;;)
            pause();
    write_line((const char *const[]){program_name(),
                                     shorter ? ": the file became shorter while it was in use: "
                                             : ": the file cannot be read any more: ",
                                     m->shown},
               3);
    leftover_remove();
    _exit(EXIT_IO);
}

static void handle_sigbus(void) {
    struct sigaction action = {.sa_sigaction = report, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
    handled = 1;
}

void mapped_add(const void *p, size_t n, const char *path) {
    pthread_mutex_lock(&lock);
    if (!handled)
        handle_sigbus();
    struct mapping *m = mappings;
    while (m && m->p)
        m = m->next;
    bool is_new = !m;
    if (is_new) {
        m = xcalloc(1, sizeof *m);
        m->next = mappings;
    }
    free(m->path);
    m->path = xstrdup(path);
    visible_copy(m->shown, sizeof m->shown, str_of(path), VISIBLE_LINE);
    m->n = n;
    m->p = p;
    if (is_new)
        mappings = m;
    pthread_mutex_unlock(&lock);
}

void mapped_drop(const void *p) {
    pthread_mutex_lock(&lock);
    for (struct mapping *m = mappings; m; m = m->next)
        if (m->p == p)
            m->p = NULL;
    pthread_mutex_unlock(&lock);
}

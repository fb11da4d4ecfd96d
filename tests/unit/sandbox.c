/* The sandbox: what it stops, and what goes on. Each case runs in a process of its own.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // syscall
#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/progress.h"
#include "../lib/check.h"

/* Bit i is set where attempt i went on. */
static unsigned went_on;
static void attempt(unsigned i, bool done) {
    if (done)
        went_on |= 1u << i;
}

static bool opens(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}
static bool makes_socket(int family) {
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}
static bool forks(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return pid > 0;
}
static bool executes(void) {
    char *const argv[] = {"/bin/true", NULL};
    execv("/bin/true", argv); // if it goes on, this process ends with exit status 0
    return false;
}
static bool makes_code(void) {
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool changed = mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
    return changed || mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}
static void *nothing(void *arg) {
    return arg;
}
static bool starts_thread(void) {
    pthread_t t;
    return pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0;
}

static bool has_landlock(void) {
#if defined(SYS_landlock_create_ruleset)
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
#else
    return false;
#endif
}

enum {
    PASSWD,
    NEW_FILE,
    TCP,
    UNIX_SOCKET,
    FORK,
    CODE,
    SIGNAL,
    THREAD,
    ALLOWED,
    EARLIER_THREAD,
    EXEC,
    ATTEMPTS
};
static void attempt_all(const char *folder, bool sandboxed) {
    char *path = path_join(folder, "new");
    attempt(PASSWD, opens("/etc/passwd", O_RDONLY));
    attempt(NEW_FILE, opens(path, O_WRONLY | O_CREAT));
    attempt(TCP, makes_socket(AF_INET));
    attempt(UNIX_SOCKET, makes_socket(AF_UNIX));
    attempt(FORK, forks());
    if (sandboxed)
        attempt(EXEC, executes());
    attempt(CODE, makes_code());
    attempt(SIGNAL, kill(getppid(), 0) == 0);
    attempt(THREAD, starts_thread());
    free(path);
}

/* What every program goes on doing: memory, its descriptors, the time. */
static bool works(int fd) {
    void *big = calloc(1, 64 << 20);
    bool done = big && write(fd, "ok", 2) == 2 && seconds_now() > 0;
    free(big);
    return done;
}

/* The attempts that went on, of a child in sandbox s; or of a thread that it had before, which ends
 * when `wait` closes. */
struct waiting {
    int wait;
    bool opened;
};
static void *open_later(void *arg) {
    struct waiting *w = arg;
    char byte;
    ssize_t n = read(w->wait, &byte, 1);
    w->opened = n == 1 && opens("/etc/passwd", O_RDONLY);
    return NULL;
}

static unsigned in_sandbox(const struct sandbox *s, const char *folder, bool on) {
    int ends[2], go[2];
    unsigned seen = 0;
    CHECK(pipe(ends) == 0 && pipe(go) == 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        struct waiting w = {.wait = go[0]};
        pthread_t earlier;
        bool ready =
            pthread_create(&earlier, NULL, open_later, &w) == 0 && sandbox_enter(s, &e) == 0;
        if (!ready)
            _exit(9);
        attempt_all(folder, on);
        attempt(ALLOWED, works(ends[1]));
        ready = write(go[1], "", 1) == 1 && pthread_join(earlier, NULL) == 0;
        attempt(EARLIER_THREAD, w.opened);
        _exit(ready && write(ends[1], &went_on, sizeof went_on) == sizeof went_on ? 7 : 8);
    }
    close(ends[1]);
    char ok[2];
    int status;
    CHECK(read(ends[0], ok, 2) == 2 && memcmp(ok, "ok", 2) == 0);
    CHECK(read(ends[0], &seen, sizeof seen) == sizeof seen);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    close(ends[0]);
    close(go[0]);
    close(go[1]);
    return seen;
}

static const char *folder; // for new files

static void nothing_is_opened_started_or_made_executable(void) {
    CHECK_INT(in_sandbox(&(struct sandbox){.may = 0}, folder, true), 1u << ALLOWED);
    CHECK_INT(in_sandbox(&(struct sandbox){.may = SANDBOX_ACCEPT}, folder, true), 1u << ALLOWED);
}

static void threads_start_where_they_may(void) {
    CHECK_INT(in_sandbox(&(struct sandbox){.may = SANDBOX_THREADS}, folder, true),
              1u << ALLOWED | 1u << THREAD);
}

/* Here a thread that ran before can open files: Landlock does not hold for it. */
static void files_are_those_of_the_folders_named(void) {
    const struct sandbox writes = {.may = SANDBOX_FILES, .write = {folder}},
                         reads = {.may = SANDBOX_FILES, .read = {"/"}},
                         neither = {.may = SANDBOX_FILES};
    CHECK_INT(in_sandbox(&writes, folder, true),
              1u << ALLOWED | 1u << NEW_FILE | 1u << EARLIER_THREAD);
    CHECK_INT(in_sandbox(&reads, folder, true),
              1u << ALLOWED | 1u << PASSWD | 1u << EARLIER_THREAD);
    CHECK_INT(in_sandbox(&neither, folder, true), 1u << ALLOWED | 1u << EARLIER_THREAD);
}

/* The attempts themselves: without the sandbox each goes on, so that the others' failing means
 * something. */
static void without_it_all_goes_on(void) {
    sandbox_off();
    unsigned all = (1u << ATTEMPTS) - 1 - (1u << EXEC); // which would end the child
    CHECK_INT(in_sandbox(&(struct sandbox){.may = 0}, folder, false), all);
}

/* Uses up the memory that the process may have, but for n bytes in small pieces. */
static void leave_memory(size_t n) {
    enum { PIECE = 1000, N_PIECES = 1 << 16 };
    static void *pieces[N_PIECES];
    struct rlimit none = {0, 0}; // no more than it has
    size_t i = 0, freed = 0;
    while (i < 1000)
        pieces[i++] = malloc(PIECE);
    if (setrlimit(RLIMIT_AS, &none) != 0)
        _exit(99);
    while (i < N_PIECES && (pieces[i] = malloc(PIECE)))
        i++;
    i -= i > 0; // the last stays, or malloc would give what is under it back to the system
    while (i > 0 && freed < n) {
        free(pieces[--i]);
        freed += PIECE;
    }
}

/* libseccomp crashes where its memory ends: sandbox_enter fails before. */
static void the_end_of_memory_is_an_error(void) {
    int n_refused = 0, n_entered = 0;
    for (size_t n = 0; n <= 600000; n += 10000) {
        pid_t pid = fork();
        if (pid == 0) {
            int quiet = open("/dev/null", O_WRONLY);
            dup2(quiet, STDERR_FILENO);
            leave_memory(n);
            struct err e = {0};
            int rc = sandbox_enter(&(struct sandbox){.may = SANDBOX_FILES}, &e);
            _exit(rc == 0 ? 0 : e.code);
        }
        int status;
        waitpid(pid, &status, 0);
        CHECK_MSG(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 71),
                  "with %zu bytes: %x", n, (unsigned)status);
        n_refused += WEXITSTATUS(status) == 71;
        n_entered += WEXITSTATUS(status) == 0;
    }
    CHECK(n_refused > 5 && n_entered > 5);
}

int main(void) {
    char path[] = "/tmp/tokpipe-test-XXXXXX";
    folder = mkdtemp(path);
    if (!sandbox_built() || !folder) {
        SKIP(nothing_is_opened_started_or_made_executable, "this build has no sandbox");
    } else {
        RUN(nothing_is_opened_started_or_made_executable);
        RUN(threads_start_where_they_may);
        if (has_landlock())
            RUN(files_are_those_of_the_folders_named);
        else
            SKIP(files_are_those_of_the_folders_named, "the kernel has no Landlock");
        RUN(the_end_of_memory_is_an_error);
        RUN(without_it_all_goes_on); // the last: it cannot be turned on again
    }
    char *made = path_join(path, "new");
    unlink(made);
    rmdir(path);
    free(made);
    return check_done();
}

/* Preloaded into a program: tries what a sandbox is there to stop, right after it is entered.
 *
 * The program enters its sandbox with libseccomp's seccomp_load, which is replaced here by a
 * function of the same name: Landlock holds by then. It calls the library's, tries each of the
 * attempts below, and writes one line to the file that PROBE names:
 *
 *     NAME: word word ...        the attempts that went on; NAME is the program's
 *
 * PROBE is opened before main, because the sandbox would not let it be opened later.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // program_invocation_short_name, RTLD_NEXT
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int out = -1;

__attribute__((constructor)) static void open_out(void) {
    const char *path = getenv("PROBE");
    if (path)
        out = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
}

static bool closes(int fd) {
    return fd >= 0 && close(fd) == 0;
}

/* A new file in the folder that the variable names. */
static bool makes(const char *variable) {
    const char *folder = getenv(variable);
    char path[4096];
    if (!folder)
        return false;
    snprintf(path, sizeof path, "%s/probe-%d", folder, (int)getpid());
    bool made = closes(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (made)
        unlink(path);
    return made;
}

static bool forks(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

/* Where it goes on, the program is another one, and no line is written. */
static bool executes(void) {
    char *const argv[] = {"/bin/true", NULL};
    return execv("/bin/true", argv) == 0;
}

static bool makes_code(void) {
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) != MAP_FAILED;
}

static void *nothing(void *arg) {
    return arg;
}
static bool starts_thread(void) {
    pthread_t t;
    return pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0;
}

static void probe(void) {
    char line[512];
    int n = snprintf(line, sizeof line, "%s:", program_invocation_short_name);
    const struct {
        const char *word;
        bool done;
    } attempts[] = {
        {"read", closes(open("/etc/passwd", O_RDONLY | O_CLOEXEC))},
        {"write", makes("PROBE_ELSEWHERE")},
        {"temp", makes("TMPDIR")},
        {"own", makes("PROBE_OWN")},
        {"tcp", closes(socket(AF_INET, SOCK_STREAM, 0))},
        {"unix", closes(socket(AF_UNIX, SOCK_STREAM, 0))},
        {"fork", forks()},
        {"exec", executes()},
        {"code", makes_code()},
        {"signal", kill(getppid(), 0) == 0},
        {"thread", starts_thread()},
    };
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        if (attempts[i].done)
            n += snprintf(line + n, sizeof line - (size_t)n, " %s", attempts[i].word);
    line[n++] = '\n';
    if (write(out, line, (size_t)n) != n)
        _exit(99);
}

int seccomp_load(const scmp_filter_ctx filter) {
    int (*real)(const scmp_filter_ctx);
    void *p = dlsym(RTLD_NEXT, "seccomp_load");
    memcpy(&real, &p, sizeof real);
    int rc = real(filter), saved = errno;
    if (rc == 0 && out >= 0)
        probe();
    errno = saved;
    return rc;
}

/* Preloaded into a program: makes one allocation or system call fail, or kills the program there.
 *
 * FAULTS names a file of 4096 bytes, which is mapped and shared with the test: struct faults_page
 * below. FAULTS_PROGRAM is the program's name: programs that it starts run undisturbed. Each call
 * that could fail is counted. Call number `at` fails, or is cut short; the others
 * run as usual. Or the program is killed before call number `at`; then only its own calls count,
 * not those of processes that it has forked.
 *
 * malloc and its like, fork and pthread_create are replaced by functions of the same names. System
 * calls are caught in the kernel, by a seccomp filter that sends SIGSYS, because libc makes many of
 * them without a symbol (fwrite, opendir). The handler makes the call itself, at the one
 * instruction that the filter lets pass. A filter outlives execve, and the handler does not. So for
 * programs that start others FAULTS_SPAWNS is set: there is no filter, and the functions of the
 * system calls that they use are replaced.
 *
 * Never fail: stderr's writes, so that messages can be checked; close, unlink and rmdir, without
 * which nothing can be cleaned up; calls whose failure the kernel does not document, such as writes
 * to an eventfd, after which libmicrohttpd ends the program; and libseccomp's own allocations,
 * after which version 2.5 crashes. base/sandbox.c makes sure that there is memory for them.
 *
 * A descriptor that is closed twice may belong to another thread the second time. So the program is
 * aborted there, which is never a documented end.
 *
 * x86-64 Linux with glibc only.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

// The call fails; it reads or writes one byte; the program is killed before it.
enum { FAULT_ERROR, FAULT_SHORT, FAULT_KILL };

struct faults_page {
    uint64_t at;    // number of the call that fails, from 1; 0: none
    uint64_t kind;  // as above; FAULT_SHORT counts reads and writes only
    uint64_t count; // calls so far
    char name[32];  // of the call that has failed
    int64_t fd;     // its first argument
};

static struct faults_page *page;           // NULL: not started, or not asked for
static pid_t own;                          // the process that has started
static bool by_function;                   // no filter
static uint64_t event_fds[16];             // a bit for each eventfd
static uintptr_t seccomp_from, seccomp_to; // libseccomp's code; 0: it is not linked

/* Whether this call is the one. */
static bool is_due(const char *name, long first) {
    if (!page || (page->kind == FAULT_KILL && getpid() != own) ||
        __atomic_add_fetch(&page->count, 1, __ATOMIC_SEQ_CST) != page->at)
        return false;
    strncpy(page->name, name, sizeof page->name - 1);
    page->fd = first;
    if (page->kind == FAULT_KILL)
        kill(own, SIGKILL);
    return true;
}

/* caller: where the function returns to. */
static bool fails(const char *name, const void *caller) {
    uintptr_t at = (uintptr_t)caller;
    if (!page || page->kind == FAULT_SHORT || (at >= seccomp_from && at < seccomp_to) ||
        !is_due(name, -1))
        return false;
    errno = ENOMEM;
    return true;
}
#define FAILS(name) fails(name, __builtin_return_address(0))

/* ---- Functions ---- */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n) {
    return FAILS("malloc") ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t size) {
    return FAILS("calloc") ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t n) {
    return FAILS("realloc") ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n) {
    return FAILS("aligned_alloc") ? NULL : __libc_memalign(align, n);
}

int posix_memalign(void **p, size_t align, size_t n) {
    if (FAILS("posix_memalign"))
        return ENOMEM;
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

/* The next definition of a symbol. ISO C has no conversion from void * to a function pointer. */
static void next(const char *name, void *function) {
    void *p = dlsym(RTLD_NEXT, name);
    memcpy(function, &p, sizeof p);
}

pid_t fork(void) {
    pid_t (*real)(void);
    if (FAILS("fork")) {
        errno = EAGAIN;
        return -1;
    }
    next("fork", &real);
    return real();
}

int pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (FAILS("pthread_create"))
        return EAGAIN;
    next("pthread_create", &real);
    return real(t, attr, run, arg);
}

int eventfd(unsigned value, int flags) {
    int fd = FAILS("eventfd") ? -1 : (int)syscall(SYS_eventfd2, value, flags);
    if (fd >= 0 && fd < 1024)
        event_fds[fd / 64] |= UINT64_C(1) << fd % 64;
    return fd;
}

static bool is_event(greg_t fd) {
    return fd >= 0 && fd < 1024 && event_fds[fd / 64] >> fd % 64 & 1;
}

/* A blocked SIGSYS would end the program. */
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    int (*real)(int, const sigset_t *, sigset_t *);
    sigset_t without;
    if (set && how != SIG_UNBLOCK) {
        without = *set;
        sigdelset(&without, SIGSYS);
        set = &without;
    }
    next("pthread_sigmask", &real);
    return real(how, set, old);
}

/* ---- System calls ---- */

#define SYSTEM_CALLS                                                                               \
    CALL(read, EIO)                                                                                \
    CALL(write, ENOSPC)                                                                            \
    CALL(readv, EIO)                                                                               \
    CALL(writev, ENOSPC)                                                                           \
    CALL(pread64, EIO)                                                                             \
    CALL(pwrite64, ENOSPC)                                                                         \
    CALL(open, EMFILE)                                                                             \
    CALL(openat, EMFILE)                                                                           \
    CALL(fstat, EIO)                                                                               \
    CALL(newfstatat, EIO)                                                                          \
    CALL(lseek, EIO)                                                                               \
    CALL(mmap, ENOMEM)                                                                             \
    CALL(fcntl, EINVAL)                                                                            \
    CALL(dup, EMFILE)                                                                              \
    CALL(dup2, EMFILE)                                                                             \
    CALL(pipe, EMFILE)                                                                             \
    CALL(pipe2, EMFILE)                                                                            \
    CALL(socket, EMFILE)                                                                           \
    CALL(bind, EACCES)                                                                             \
    CALL(listen, EADDRINUSE)                                                                       \
    CALL(accept, EMFILE)                                                                           \
    CALL(accept4, EMFILE)                                                                          \
    CALL(connect, ENOMEM)                                                                          \
    CALL(sendto, ENOBUFS)                                                                          \
    CALL(poll, ENOMEM)                                                                             \
    CALL(fsync, EIO)                                                                               \
    CALL(fdatasync, EIO)                                                                           \
    CALL(ftruncate, EIO)                                                                           \
    CALL(rename, EIO)                                                                              \
    CALL(mkdir, ENOSPC)                                                                            \
    CALL(getdents64, EIO)

static const struct {
    int number, error;
    const char *name;
} calls[] = {
#define CALL(name, error) {SYS_##name, error, #name},
    SYSTEM_CALLS
#undef CALL
};
enum { N_CALLS = sizeof calls / sizeof *calls };

/* long faults_call(const greg_t args[6], long number) */
__asm__(".text\n"
        "faults_call:\n"
        "    push %rbx\n"
        "    mov %rdi, %rbx\n"
        "    mov %rsi, %rax\n"
        "    mov (%rbx), %rdi\n"
        "    mov 8(%rbx), %rsi\n"
        "    mov 16(%rbx), %rdx\n"
        "    mov 24(%rbx), %r10\n"
        "    mov 32(%rbx), %r8\n"
        "    mov 40(%rbx), %r9\n"
        "    syscall\n"
        "faults_return:\n"
        "    pop %rbx\n"
        "    ret\n");
long faults_call(const greg_t args[6], long number) __attribute__((visibility("hidden")));
extern const char faults_return[] __attribute__((visibility("hidden")));

static long cut_short(greg_t args[6], long number) {
    struct iovec one;
    if (number == SYS_readv || number == SYS_writev) {
        const struct iovec *v = (const struct iovec *)args[1];
        one = (struct iovec){v[0].iov_base, v[0].iov_len ? 1 : 0};
        args[1] = (greg_t)&one;
        args[2] = 1;
    } else {
        args[2] = args[2] > 1 ? 1 : args[2];
    }
    return faults_call(args, number);
}

static bool moves_bytes(long number) {
    return number == SYS_read || number == SYS_write || number == SYS_readv || number == SYS_writev;
}

static long call(greg_t args[6], long number) {
    size_t i = 0;
    while (i < N_CALLS && calls[i].number != number)
        i++;
    bool good = (number == SYS_write || number == SYS_writev) &&
                (args[0] == STDERR_FILENO || is_event(args[0]));
    if (i == N_CALLS || good || (page->kind == FAULT_SHORT && !moves_bytes(number)) ||
        !is_due(calls[i].name, args[0]))
        return faults_call(args, number);
    return page->kind == FAULT_SHORT ? cut_short(args, number) : -calls[i].error;
}

static void on_sigsys(int signal_number, siginfo_t *info, void *context) {
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    greg_t args[6] = {g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9]};
    int saved = errno;
    (void)signal_number;
    g[REG_RAX] = call(args, info->si_syscall);
    errno = saved;
}

/* ---- System calls of programs that start others ---- */

/* call number `number` through its function */
static long through(long number, long a, long b, long c, long d, long e, long f) {
    greg_t args[6] = {a, b, c, d, e, f};
    if (!by_function)
        return syscall(number, a, b, c, d, e, f); // the filter sees it
    long rc = call(args, number);
    if (rc >= 0)
        return rc;
    errno = (int)-rc;
    return -1;
}

int close(int fd) {
    int rc = (int)syscall(SYS_close, fd);
    if (rc != 0 && errno == EBADF && page)
        abort();
    return rc;
}

ssize_t read(int fd, void *p, size_t n) {
    return through(SYS_read, fd, (long)p, (long)n, 0, 0, 0);
}

ssize_t write(int fd, const void *p, size_t n) {
    return through(SYS_write, fd, (long)p, (long)n, 0, 0, 0);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;
    va_end(more);
    return (int)through(SYS_open, (long)path, flags, mode, 0, 0, 0);
}

int pipe(int ends[2]) {
    return (int)through(SYS_pipe, (long)ends, 0, 0, 0, 0, 0);
}

int poll(struct pollfd *p, nfds_t n, int ms) {
    return (int)through(SYS_poll, (long)p, (long)n, ms, 0, 0, 0);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    return (void *)through(SYS_mmap, (long)at, (long)n, protection, flags, fd, offset);
}

int posix_spawnp(pid_t *child, const char *name, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attr, char *const *argv, char *const *env) {
    int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *,
                const posix_spawnattr_t *, char *const *, char *const *);
    if (FAILS("posix_spawnp"))
        return EAGAIN;
    next("posix_spawnp", &real);
    return real(child, name, actions, attr, argv, env);
}

/* Traps the calls of the list, except at faults_return. */
static void install_filter(void) {
    static struct sock_filter f[8 + 2 * N_CALLS];
    uint64_t pass = (uintptr_t)faults_return;
    size_t n = 0;
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                          offsetof(struct seccomp_data, instruction_pointer));
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)pass, 0, 3);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                          offsetof(struct seccomp_data, instruction_pointer) + 4);
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(pass >> 32), 0, 1);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    f[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < N_CALLS; i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number,
                                              0, 1);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    }
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)n, f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(125);
}

/* Finds libseccomp's segments. */
static int find_seccomp(struct dl_phdr_info *info, size_t size, void *ignored) {
    (void)size;
    (void)ignored;
    for (int i = 0; strstr(info->dlpi_name, "libseccomp") && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + h->p_vaddr;
        if (h->p_type != PT_LOAD)
            continue;
        seccomp_from = seccomp_from && seccomp_from < from ? seccomp_from : from;
        seccomp_to = seccomp_to > from + h->p_memsz ? seccomp_to : from + h->p_memsz;
    }
    return 0;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS"), *program = getenv("FAULTS_PROGRAM");
    if (!path || (program && strcmp(program, program_invocation_short_name) != 0))
        return;
    int fd = open(path, O_RDWR);
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (p == MAP_FAILED || close(fd) != 0 || sigaction(SIGSYS, &act, NULL) != 0)
        _exit(125);
    dl_iterate_phdr(find_seccomp, NULL);
    own = getpid();
    by_function = getenv("FAULTS_SPAWNS") != NULL;
    if (!by_function)
        install_filter();
    page = p;
}

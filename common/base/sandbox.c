/* The sandbox: see sandbox.h. The system calls are those that the programs were seen to make
 * (strace) and those that glibc makes in their place on other versions.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // O_PATH, syscall
#include "base/sandbox.h"

#include <stdbool.h>
#include <string.h>

#include "base/io.h"
#include "base/opt.h"

#if defined(__linux__) && defined(__has_include)
#if __has_include(<seccomp.h>) && __has_include(<linux/landlock.h>)
#define HAVE_SANDBOX 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#undef HAVE_SANDBOX
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) ||                         \
    __has_feature(thread_sanitizer)
#undef HAVE_SANDBOX
#endif
#endif

static bool off, sealed;

void sandbox_off(void) {
    off = true;
}

bool sandbox_sealed(void) {
    return sealed;
}

#if !defined(HAVE_SANDBOX)
int sandbox_enter(const struct sandbox *s, struct err *e) {
    (void)s;
    (void)e;
    return 0;
}
bool sandbox_built(void) {
    return false;
}
#else
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- seccomp ---- */

// clang-format off
/* Every program: descriptors that are open, memory, time, locks, its own end. */
static const int always[] = {
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(preadv2), SCMP_SYS(pwritev), SCMP_SYS(lseek),
    SCMP_SYS(close), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(ftruncate), SCMP_SYS(fsync),
    SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(pipe), SCMP_SYS(pipe2),
    // sockets that are open
    SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    // memory, mmap and mprotect apart
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mincore),
    // threads that run
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity), SCMP_SYS(getcpu), SCMP_SYS(membarrier), SCMP_SYS(rseq),
    // time, random numbers, who we are
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrusage), SCMP_SYS(sysinfo),
    SCMP_SYS(getrandom), SCMP_SYS(uname), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(geteuid),
    SCMP_SYS(getuid), SCMP_SYS(getppid), SCMP_SYS(wait4),
    // signals to ourselves, kill and tgkill apart, and the end
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
};
static const int threads[] = {SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(prctl)};
/* Landlock decides what is opened, and where. */
static const int files[] = {
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(getdents64), SCMP_SYS(mkdir), SCMP_SYS(mkdirat),
    SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(unlink),
    SCMP_SYS(unlinkat), SCMP_SYS(rmdir), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(access),
    SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
    SCMP_SYS(copy_file_range), SCMP_SYS(sendfile), SCMP_SYS(fallocate), SCMP_SYS(fadvise64),
    SCMP_SYS(fdatasync), SCMP_SYS(fchmod), SCMP_SYS(umask), SCMP_SYS(getcwd), SCMP_SYS(fstatfs),
};
static const int sockets[] = {
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(getpeername), SCMP_SYS(pwritev2),
};
static const int connecting[] = {
    SCMP_SYS(connect), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait), SCMP_SYS(eventfd2), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
};
// clang-format on

static int allow(scmp_filter_ctx f, const int *calls, size_t n) {
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    return rc;
}
#define ALLOW(f, calls) allow(f, calls, sizeof calls / sizeof *calls)

/* Allows a call whose argument, masked, has this value. */
static int allow_if(scmp_filter_ctx f, int call, unsigned argument, uint64_t mask, uint64_t value) {
    const struct scmp_arg_cmp is = {
        .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
    return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 1, &is);
}

/* Calls of which only some arguments are let through: memory that is not executable, the size and
 * the kind of a terminal, and signals to the process itself (abort, the end by SIGPIPE). */
static int allow_in_part(scmp_filter_ctx f) {
    const uint64_t all = UINT64_MAX, self = (uint64_t)getpid();
    const struct {
        int call;
        unsigned argument;
        uint64_t mask, value;
    } calls[] = {
        {SCMP_SYS(mmap), 2, PROT_EXEC, 0},       {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
        {SCMP_SYS(ioctl), 1, all, TCGETS},       {SCMP_SYS(ioctl), 1, all, TIOCGWINSZ},
        {SCMP_SYS(tgkill), 0, UINT32_MAX, self}, {SCMP_SYS(kill), 0, UINT32_MAX, self},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls && rc == 0; i++)
        rc = allow_if(f, calls[i].call, calls[i].argument, calls[i].mask, calls[i].value);
    return rc;
}

/* Threads and no processes. clone3 has its flags in memory, where no filter can see them; glibc
 * takes clone where the kernel says that it has no clone3. */
static int allow_threads(scmp_filter_ctx f) {
    int rc = ALLOW(f, threads);
    if (rc == 0)
        rc = allow_if(f, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD);
    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return rc;
}

/* Sockets of this machine alone. */
static int allow_connecting(scmp_filter_ctx f) {
    int rc = ALLOW(f, connecting);
    if (rc == 0)
        rc = allow_if(f, SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX);
    if (rc == 0)
        rc = allow_if(f, SCMP_SYS(socketpair), 0, UINT32_MAX, AF_UNIX);
    return rc;
}

/* libseccomp 2.5 crashes where memory ends. So there must be memory for its filter first. Pieces
 * smaller than what malloc maps stay in the heap when they are freed, below a piece that is not.
 * Returns that piece, or NULL: there is not enough. */
static void *reserve(void) {
    enum { N_PIECES = 3, PIECE = 60 << 10 }; // the largest filter takes 110 KiB
    void *pieces[N_PIECES], *last;
    size_t n = 0;
    while (n < N_PIECES && (pieces[n] = malloc(PIECE)))
        n++;
    last = malloc(PIECE);
    for (size_t i = 0; i < n; i++)
        free(pieces[i]);
    if (n == N_PIECES)
        return last;
    free(last);
    return NULL;
}

static int make_filter(unsigned may) {
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f)
        return -ENOMEM;
    int rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1); // threads that run
    if (rc == 0)
        rc = ALLOW(f, always);
    if (rc == 0)
        rc = allow_in_part(f);
    if (rc == 0 && (may & SANDBOX_THREADS))
        rc = allow_threads(f);
    if (rc == 0 && (may & SANDBOX_FILES))
        rc = ALLOW(f, files);
    if (rc == 0 && (may & SANDBOX_ACCEPT))
        rc = ALLOW(f, sockets);
    if (rc == 0 && (may & SANDBOX_CONNECT))
        rc = allow_connecting(f);
    if (rc == 0)
        rc = seccomp_load(f);
    seccomp_release(f);
    return rc;
}

static int enter_seccomp(unsigned may) {
    void *reserved = reserve();
    if (!reserved)
        return -ENOMEM;
    int rc = make_filter(may);
    free(reserved);
    return rc;
}

/* ---- Landlock ---- */

/* Rights of files as of ABI 1; later ABIs add to them. */
enum {
    READS = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    WRITES = READS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
             LANDLOCK_ACCESS_FS_MAKE_REG,
    ABI_1 = (1 << 13) - 1, // all of them
};
/* Newer than the headers of some systems: ABI 2, 3, 4, 5 and 6. */
enum { REFER = 1 << 13, TRUNCATE = 1 << 14, IOCTL_DEV = 1 << 15, NET_TCP = 3, SCOPES = 3 };
struct ruleset { // struct landlock_ruleset_attr of ABI 6
    uint64_t files, net, scopes;
};

/* Lets everything below path be used with these rights. A path that is missing is no error. */
static int allow_path(int rules, const char *path, uint64_t rights) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rights &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
    struct landlock_path_beneath_attr below = {.allowed_access = rights, .parent_fd = fd};
    long rc = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0);
    int failed = rc < 0 ? -errno : 0;
    close(fd);
    return failed;
}

/* Returns the ABI in force, 0 where the kernel has none, or -errno. */
static int enter_landlock(const struct sandbox *s) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return 0;
    uint64_t more = (abi >= 2 ? REFER : 0) | (abi >= 3 ? TRUNCATE : 0);
    struct ruleset r = {.files = ABI_1 | more | (abi >= 5 ? IOCTL_DEV : 0),
                        .net = abi >= 4 ? NET_TCP : 0,
                        .scopes = abi >= 6 ? SCOPES : 0};
    size_t size = abi >= 6 ? sizeof r : abi >= 4 ? 2 * sizeof r.files : sizeof r.files;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0), rc = 0;
    if (rules < 0)
        return -errno;
    for (size_t i = 0; i < sizeof s->read / sizeof *s->read && rc == 0; i++)
        if (s->read[i])
            rc = allow_path(rules, s->read[i], READS);
    for (size_t i = 0; i < sizeof s->write / sizeof *s->write && rc == 0; i++)
        if (s->write[i])
            rc = allow_path(rules, s->write[i], WRITES | more);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        rc = -errno;
    close(rules);
    return rc < 0 ? rc : (int)abi;
}

bool sandbox_built(void) {
    return true;
}

/* Makes memory that can be written and run, where PCRE2 has compiled patterns, read-only. */
static int seal_code(struct err *e) {
    struct buf maps = {0};
    int rc = read_file("/proc/self/maps", 16 << 20, &maps, e);
    for (const char *line = rc == 0 ? maps.p : NULL; line && *line && rc == 0;) {
        unsigned long from, to;
        char may[5];
        bool both =
            sscanf(line, "%lx-%lx %4s", &from, &to, may) == 3 && strncmp(may, "rwx", 3) == 0;
        sealed = sealed || both;
        if (both && mprotect((void *)from, to - from, PROT_READ | PROT_EXEC) != 0)
            rc = err_errno(e, EXIT_SYSTEM, "sandbox: cannot seal executable memory");
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    buf_free(&maps);
    return rc;
}

int sandbox_enter(const struct sandbox *s, struct err *e) {
    if (off)
        return 0;
    if (seal_code(e) != 0)
        return -1;
    tzset(); // reads /etc/localtime, which a template's time may need later
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_errno(e, EXIT_SYSTEM, "sandbox: cannot give up privileges");
    int abi = enter_landlock(s);
    errno = -abi;
    if (abi < 0)
        return err_errno(e, EXIT_SYSTEM, "sandbox: Landlock (--no-sandbox: run without)");
    int rc = enter_seccomp(s->may);
    errno = -rc;
    if (rc != 0 && rc != -EINVAL && rc != -ENOSYS) // a kernel without seccomp filters
        return err_errno(e, EXIT_SYSTEM, "sandbox: seccomp (--no-sandbox: run without)");
    if (opt_verbose())
        print_note("sandbox: %s, %s", rc == 0 ? "seccomp" : "no seccomp",
                   abi > 0 ? "Landlock" : "no Landlock");
    return 0;
}
#endif

/* Watching stdout: see watch.h. poll reports POLLERR on the writing end of a pipe that has no
 * reader any more.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

/* Waits until fd has something to read. A non-blocking descriptor is not waited for. */
static void watch(int fd) {
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDOUT_FILENO}};
    int flags = fcntl(fd, F_GETFL);
    int wait_ms = flags >= 0 && (flags & O_NONBLOCK) ? 0 : -1;
    if (poll(fds, 2, wait_ms) > 0 && fds[0].revents == 0 && (fds[1].revents & POLLERR))
        raise(SIGPIPE);
}

void stage_watch_stdout(void) {
    io_before_read(watch);
}

NORETURN void stage_end_by_sigpipe(void) {
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
    exit(EXIT_IO);
}

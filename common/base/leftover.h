/* Files and folders that must not stay if the program ends early: a temporary name that was not
 * renamed yet, the return path's socket.
 *
 * They are removed by exit(3), so also by die(), and by the handler of a signal. A kill removes
 * nothing. Any thread may change the list. A thread makes its file between leftover_hold and
 * leftover_release, so that no other thread ends the program while the file is not in the list yet.
 * Once the program ends, leftover_hold waits for ever.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_LEFTOVER_H
#define BASE_LEFTOVER_H

void leftover_hold(void); // the next leftover_add needs no memory
void leftover_release(void);

/* path stays the caller's, and must be valid until leftover_drop. */
void leftover_add(const char *path);
void leftover_drop(const char *path);

/* A file is about to be renamed to `to`. If the folder of `to` is in the list, so is `to` from now
 * on. */
void leftover_moving(const char *to);

/* Drops a folder and all in it. */
void leftover_drop_folder(const char *path);

/* Removes all, the latest first. May be called in a signal handler. */
void leftover_remove(void);

#endif

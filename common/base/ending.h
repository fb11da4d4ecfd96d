/* Signals that end a program wait until its temporary files can be removed.
 *
 *     ending_hold();
 *     ... work that looks at ending_pending() now and then, and removes its files if it is set ...
 *     ending_release();       a signal that came between ends the program here
 *
 * Threads that are started in between block every signal as always.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_ENDING_H
#define BASE_ENDING_H

void ending_hold(void);
int ending_pending(void); // whether such a signal has come
void ending_release(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Going to the background, and telling whoever started us how it went. */
#ifndef TANDEMFS_BACKGROUND_H
#define TANDEMFS_BACKGROUND_H

/*
 * Forks. Returns 0 in the child, in a session of its own, its stderr still the
 * caller's. The parent never returns: it waits for the child's word, prints it
 * if it is a complaint, and exits accordingly. -errno when it cannot fork.
 */
int background_begin(void);
/* In a child of the child: the word is not its own. */
void background_forget(void);
/* Lets go of the terminal and of the directory. */
void background_let_go(void);
/* The child's word: it works. Lets go of the terminal; the parent exits with 0. */
void background_ready(void);
/* To systemd, if it is there and has asked (sd_notify(3)): it works. */
void background_notify(void);
/* The child's word: it doesn't, and why, in one line. The parent exits with 1. */
void background_failed(const char *why);

#endif

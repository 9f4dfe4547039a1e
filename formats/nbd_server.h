/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One qemu-nbd. It serves one image on a socket that nobody else can reach, and
 * ends by itself, with the image closed, when the last connection is closed.
 *
 * When this program dies it is killed. SIGTERM would let it close the image, but
 * is lost on one that is just starting: that would have the image locked for
 * ever.
 *
 * The thread that starts it must live as long as it does (program.h).
 */
#ifndef TANDEMFS_NBD_SERVER_H
#define TANDEMFS_NBD_SERVER_H

#include "image.h"
#include "program.h"

#define NBD_CONNECTIONS 8

struct nbd_handle;

struct nbd_server {
	pid_t pid;
	int output;  /* what it has to say */
	int address; /* of its socket */
	char tail[PROGRAM_TAIL];
};

/*
 * The image is opened as what `driver` says, whatever it looks like, through
 * the descriptor, with no other file; locked as QEMU does.
 */
int nbd_server_start(struct nbd_server *s, const char *driver, int fd, bool read_only,
		     char reason[IMAGE_REASON]);
/* NBD_LOST when it dies meanwhile, or does not answer in time. Any thread. */
int nbd_server_connect(const struct nbd_server *s, unsigned limit_ms, struct nbd_handle **out);
/*
 * A directory that nobody else uses, for sockets of a daemon that can make none in /run, /tmp or
 * /dev/shm; -1: there is none any more. The descriptor stays the caller's.
 */
void nbd_server_place(int dirfd);
/* At once. Until nbd_server_reap(). */
void nbd_server_kill(const struct nbd_server *s);
/* Until it is dead. Its process id is still its own. */
void nbd_server_wait(struct nbd_server *s);
/* After nbd_server_wait(): it is gone. True when it ended by itself, with all done. */
bool nbd_server_reap(struct nbd_server *s);
/*
 * What qemu-nbd or qemu-img said last, as a reason. true: that somebody else uses
 * the image.
 */
bool qemu_said(const char tail[PROGRAM_TAIL], char reason[IMAGE_REASON]);

#endif

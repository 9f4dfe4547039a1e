/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection to an NBD server, with one request at a time on it. libnbd is
 * looked for at run time: it is an optional part.
 *
 * Any thread, but not two at the same time with one connection.
 */
#ifndef TANDEMFS_NBD_CLIENT_H
#define TANDEMFS_NBD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One request is no longer than this, but of STATUS, which may have 1 GiB. */
#define NBD_REQUEST_MAX (32u << 20)
#define NBD_EXTENTS 64

/* The connection cannot be used any more, and whether the request was done is not known. */
#define NBD_LOST (-107) /* -ENOTCONN, which no server says */

enum nbd_op { NBD_OP_READ = 1, NBD_OP_WRITE, NBD_OP_ZERO, NBD_OP_FLUSH, NBD_OP_STATUS };

struct nbd_extent {
	uint64_t len;
	bool hole, zero; /* takes no space; reads as zeros */
};

struct nbd_request {
	enum nbd_op op;
	void *in;        /* READ: where to */
	const void *out; /* WRITE: what */
	uint64_t off, len;
	bool keep; /* ZERO: keep the space */
	/* STATUS: what begins at off; at least one, at most what was asked for. */
	struct nbd_extent *extents; /* NBD_EXTENTS of them */
	size_t extent_count;
};

struct nbd_handle;

/* The version of libnbd, or NULL when it is not installed or too old. */
const char *nbd_client_version(void);

/*
 * Takes over the socket, always, and agrees with the server on an export "".
 * NBD_LOST, also when that takes longer.
 */
int nbd_client_open(int sock, unsigned limit_ms, struct nbd_handle **out);
/* The server sees that nobody is there any more. Waits for nothing. NULL is fine. */
void nbd_client_close(struct nbd_handle *h);
uint64_t nbd_client_size(struct nbd_handle *h);
/* A flush on one connection covers what was answered on others. */
bool nbd_client_shares(struct nbd_handle *h);
/* 0, NBD_LOST (also when there is no answer in time), or what the server answered. */
int nbd_client_ask(struct nbd_handle *h, struct nbd_request *r, unsigned limit_ms);

#endif

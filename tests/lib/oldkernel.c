// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * To be preloaded: makes the kernel look older to a FUSE daemon, by taking away from its INIT
 * request what a newer kernel offers. OLDKERNEL says what:
 *
 *	parallel	parallel direct writes (Linux 6.2)
 *	mmap		shared mappings of files with direct I/O (6.6)
 *	resend		requests that are sent again (6.9)
 *	all		these three
 *	debian12	everything that came after Linux 6.1
 *
 * The kernel itself stays what it is: it grants what it is asked for, so a daemon that asks for what
 * it was not offered gets it, and a test can see that.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPCODE_INIT 26
#define INIT_EXTENDED (1u << 30)
#define INIT2_ALLOW_MMAP (1u << 4)
#define INIT2_RESEND (1u << 7)
/* Linux 6.1 knows SECURITY_CTX and HAS_INODE_DAX. */
#define INIT2_OF_6_1 3u
#define MINOR_OF_6_1 37

/* struct fuse_in_header and fuse_init_in, as far as they matter here. */
struct init_request {
	uint32_t len, opcode;
	uint64_t unique, nodeid;
	uint32_t rest_of_header[4];
	uint32_t major, minor, max_readahead, flags, flags2;
};

static void make_older(struct init_request *r)
{
	const char *what = getenv("OLDKERNEL");
	uint32_t newer = 0;

	if (!what)
		return;
	if (!strcmp(what, "mmap") || !strcmp(what, "all"))
		newer |= INIT2_ALLOW_MMAP;
	if (!strcmp(what, "resend") || !strcmp(what, "all"))
		newer |= INIT2_RESEND;
	if (!strcmp(what, "debian12"))
		newer = ~INIT2_OF_6_1;
	if (r->flags & INIT_EXTENDED)
		r->flags2 &= ~newer;
	if ((!strcmp(what, "parallel") || !strcmp(what, "all") || !strcmp(what, "debian12")) &&
	    r->minor > MINOR_OF_6_1)
		r->minor = MINOR_OF_6_1;
}

__attribute__((visibility("default"))) ssize_t read(int fd, void *buf, size_t size)
{
	static ssize_t (*next)(int, void *, size_t);
	struct init_request r;
	ssize_t len;

	if (!next)
		next = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
	len = next(fd, buf, size);
	if (len < (ssize_t)sizeof(r))
		return len;
	memcpy(&r, buf, sizeof(r));
	if (r.opcode == OPCODE_INIT && r.len == len) {
		make_older(&r);
		memcpy(buf, &r, sizeof(r));
	}
	return len;
}

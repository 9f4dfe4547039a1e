// SPDX-License-Identifier: GPL-2.0-or-later
#include "session.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map(int fd, struct session **out)
{
	void *at = mmap(NULL, sizeof(struct session), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	*out = at;
	return 0;
}

int session_new(struct session **out, int *out_fd)
{
	int fd = memfd_create("tandemfs-session", MFD_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = ftruncate(fd, sizeof(struct session)) ? -errno : map(fd, out);
	if (err) {
		close(fd);
		return err;
	}
	(*out)->version = SESSION_VERSION;
	(*out)->size = sizeof(struct session);
	*out_fd = fd;
	return 0;
}

int session_take(int fd, struct session **out, struct why *why)
{
	uint32_t head[2] = { 0 };
	struct stat st;
	struct session *s = NULL;
	int err;

	if (fstat(fd, &st) || pread(fd, head, sizeof(head), 0) != sizeof(head))
		return refuse(why, -errno ?: -EPROTO, "what the daemon before has left: %s",
			      strerror(errno));
	if (head[0] != SESSION_VERSION || head[1] != sizeof(struct session) ||
	    (uint64_t)st.st_size != sizeof(struct session))
		return refuse(why, -EPROTO,
			      "the mount was made by a version that keeps its open files "
			      "otherwise: stop it, and start this one");
	err = map(fd, &s);
	if (err)
		return refuse(why, err, "what the daemon before has left: %s", strerror(-err));
	*out = s;
	return 0;
}

void session_free(struct session *s)
{
	if (s)
		munmap(s, sizeof(*s));
}

/* ---- commands ---- */

struct command_record *session_command(struct session *s, uint64_t unique)
{
	for (struct command_record *c = s->commands; c < s->commands + SESSION_COMMANDS; c++)
		if (atomic_load(&c->state) != COMMAND_NONE && c->unique == unique)
			return c;
	return NULL;
}

/* One that is free; else of those that were answered the one that is longest ago. */
static struct command_record *choose(struct session *s)
{
	struct command_record *best = NULL;

	for (struct command_record *c = s->commands; c < s->commands + SESSION_COMMANDS; c++) {
		uint32_t state = atomic_load(&c->state);

		if (state == COMMAND_NONE)
			return c;
		if (state == COMMAND_ANSWERED && (!best || c->unique < best->unique))
			best = c;
	}
	return best;
}

struct command_record *session_command_begin(struct session *s, uint64_t unique)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct command_record *c;

	pthread_mutex_lock(&lock);
	c = choose(s);
	if (c) {
		atomic_store(&c->state, COMMAND_NONE);
		c->unique = unique;
		c->len = 0;
		atomic_store(&c->state, COMMAND_BEGUN);
	}
	pthread_mutex_unlock(&lock);
	return c;
}

void session_command_done(struct command_record *c, int err, const char *result, size_t len,
			  const struct wait_for *wait, uint64_t deadline_ns)
{
	c->err = err;
	c->len = len <= sizeof(c->result) ? len : UINT32_MAX;
	if (c->len == len && len)
		memcpy(c->result, result, len);
	c->waits = !err && wait->any;
	c->wait_row = wait->node.row;
	c->wait_object = wait->node.object;
	c->deadline_ns = deadline_ns;
	atomic_store(&c->state, COMMAND_DONE);
}

void session_command_answered(struct command_record *c)
{
	if (c)
		atomic_store(&c->state, COMMAND_ANSWERED);
}

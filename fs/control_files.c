// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * .replication/ as files. A text file is rendered whole when it is read from
 * its start, and the reader goes on in what was rendered then. A control file
 * takes each write as one command, whatever the offset; what is read through
 * the same open file afterwards, from where its offset then is, is the result.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "ops.h"

static void forget_handle(struct mount *m, struct handle *h, uint64_t fh)
{
	node_close(m->ctl, h->node);
	handle_free(&m->handles, fh);
}

void tree_release(fuse_req_t req, struct handle *h, const struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	notify_forget(&m->notify, h);
	forget_handle(m, h, fi->fh);
	fuse_reply_err(req, 0);
}

static int new_handle(struct mount *m, struct node n, struct fuse_file_info *fi,
		      struct handle **out)
{
	int err = node_open(m->ctl, n);

	if (err)
		return err;
	if ((fi->flags & O_ACCMODE) != O_RDONLY && node_kind(n) != NODE_CONTROL)
		err = -EACCES;
	else
		err = handle_new(&m->handles, HANDLE_TREE, out, &fi->fh);
	if (err)
		node_close(m->ctl, n);
	return err;
}

void tree_open(fuse_req_t req, const struct place *p, struct fuse_file_info *fi)
{
	struct node n = p->node;
	struct mount *m = mount_of(req);
	struct handle *h;
	int err;

	if (node_kind(n) == NODE_CONTENT) {
		moment_file_open(req, p, fi);
		return;
	}
	err = new_handle(m, n, fi, &h);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	h->node = n;
	if (node_kind(n) == NODE_PIPE) {
		h->seen = events_last(m->tandem->events);
		fi->nonseekable = 1;
	} else if (node_kind(n) == NODE_WAIT) {
		h->seen = NODE_WAITS;
	}
	handle_record(h, ino_of((struct place){ .kind = PLACE_TREE, .node = n }), fi->flags,
		      workers_request().unique);
	fi->direct_io = 1;
	fi->noflush = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		forget_handle(m, h, fi->fh);
}

/* ---- read ---- */

/* Under h->lock. */
static int render(struct mount *m, struct handle *h, uint64_t off)
{
	/* Before the text: a change meanwhile is told again rather than never. */
	uint64_t version = node_version(m->ctl, h->node);
	int err;

	text_free(&h->text);
	err = node_render(m->ctl, h->node, &h->text);
	if (!err && !text_ok(&h->text))
		err = -ENOMEM;
	h->rendered = !err;
	h->seen = version;
	h->base = off;
	handle_record_text(h);
	return err;
}

/* Under h->lock. The daemon before has given some of it; a reader gets the rest of that, or no more. */
static bool was_begun(const struct handle *h, uint64_t off)
{
	return h->taken_over && !h->rendered && h->record->text_len && off > h->base;
}

static int go_on(struct mount *m, struct handle *h, uint64_t off)
{
	struct text text = { 0 };
	int err;

	if (off - h->base >= h->record->text_len)
		return 0; /* he had all of it */
	err = node_render(m->ctl, h->node, &text);
	if (!err && !handle_is_recorded_text(h, &text))
		err = -ESTALE;
	if (err) {
		text_free(&text);
		return err;
	}
	h->text = text;
	h->rendered = true;
	return 0;
}

static void reply_text(fuse_req_t req, struct handle *h, size_t size, uint64_t off)
{
	uint64_t at = off - h->base;

	if (at >= h->text.len)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, h->text.bytes + at,
			       size < h->text.len - at ? size : h->text.len - at);
}

static void read_text(fuse_req_t req, struct handle *h, size_t size, uint64_t off)
{
	struct mount *m = mount_of(req);
	int err = 0;

	pthread_mutex_lock(&h->lock);
	if (h->commanded) {
		if (off < h->base)
			h->base = off; /* went back to the start: the same result again */
		if (h->taken_over && !h->text.len)
			err = -ESTALE; /* nobody has kept it */
	} else if (was_begun(h, off)) {
		err = go_on(m, h, off);
	} else if (off == 0 || !h->rendered) {
		err = render(m, h, node_kind(h->node) == NODE_CONTROL ? off : 0);
	}
	if (err)
		fuse_reply_err(req, -err);
	else
		reply_text(req, h, size, off);
	pthread_mutex_unlock(&h->lock);
}

static void read_pipe(fuse_req_t req, struct handle *h, size_t size, int flags)
{
	struct mount *m = mount_of(req);
	struct request_facts r = workers_request();
	bool none;

	/* Perhaps it was read, and never arrived. */
	if (r.resent && h->record->seen_by == r.unique)
		h->seen = h->record->seen_before;
	if (flags & O_NONBLOCK) {
		pthread_mutex_lock(&h->lock);
		none = events_last(m->tandem->events) == h->seen;
		pthread_mutex_unlock(&h->lock);
		if (none) {
			fuse_reply_err(req, EAGAIN);
			return;
		}
	}
	notify_read(&m->notify, h, req, size);
}

/* From its start it waits; what follows is of the text that there was then. */
static void read_wait(fuse_req_t req, struct handle *h, size_t size, off_t off, int flags)
{
	struct mount *m = mount_of(req);
	bool more;

	pthread_mutex_lock(&h->lock);
	more = off > 0 && (h->rendered || (was_begun(h, off) && off >= (off_t)h->record->text_len));
	if (more)
		reply_text(req, h, size, off);
	pthread_mutex_unlock(&h->lock);
	if (more)
		return;
	if (flags & O_NONBLOCK && node_version(m->ctl, h->node) == NODE_WAITS)
		fuse_reply_err(req, EAGAIN);
	else
		notify_read(&m->notify, h, req, size);
}

static void run_read(struct disk_job *job, char *payload)
{
	struct disk *d = job->disk;

	read_text(job->req, job->handle, job->len, job->off);
	disk_unref(d);
}

/* What is rendered may be read from the disk's store: like any request of this disk. */
static void read_changes(fuse_req_t req, struct handle *h, size_t size, off_t off)
{
	struct mount *m = mount_of(req);
	struct content c;
	struct disk_job *job;
	int err = node_content(m->ctl, h->node, &c);

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	job = workers_job(m, req, c.disk);
	job->run = run_read;
	job->handle = h;
	job->len = size;
	job->off = off;
	workers_submit(job);
}

void tree_read(fuse_req_t req, struct handle *h, size_t size, off_t off, int flags)
{
	switch (node_kind(h->node)) {
	case NODE_PIPE:
		read_pipe(req, h, size, flags);
		break;
	case NODE_WAIT:
		read_wait(req, h, size, off, flags);
		break;
	case NODE_CHANGES:
		read_changes(req, h, size, off);
		break;
	default:
		read_text(req, h, size, off);
	}
}

/* ---- write ---- */

/* What is read through this file from now on. Takes the text over. */
static void keep_result(struct handle *h, struct text *result, uint64_t base,
			const struct command_record *c)
{
	pthread_mutex_lock(&h->lock);
	text_free(&h->text);
	h->text = *result;
	h->commanded = true;
	h->base = h->record->base = base;
	h->record->command = c->unique;
	h->record->commanded = true;
	pthread_mutex_unlock(&h->lock);
}

static uint64_t deadline(uint64_t ms)
{
	uint64_t now = monotonic_ns();

	return ms < (UINT64_MAX - now) / 1000000 ? now + ms * 1000000 : UINT64_MAX;
}

/* The record has all that the answer is made of. */
static void answer_command(fuse_req_t req, struct handle *h, struct command_record *c, size_t size,
			   off_t off)
{
	if (!c->err && c->waits) {
		notify_write(&mount_of(req)->notify, h, req, size, off, c);
		return;
	}
	if (c->err)
		fuse_reply_err(req, -c->err);
	else
		fuse_reply_write(req, size);
	session_command_answered(c);
}

/* The daemon before had this command, and gave no answer: it is not done again. */
static void command_again(fuse_req_t req, struct handle *h, struct command_record *c,
			  const char *buf, size_t size, off_t off, const struct caller *caller)
{
	struct mount *m = mount_of(req);
	struct text result = { 0 };
	struct wait_for none = { 0 };
	struct node n = { .row = c->wait_row, .object = c->wait_object };

	if (atomic_load(&c->state) == COMMAND_BEGUN) {
		int err = node_command_interrupted(m->ctl, h->node, buf, size, caller, &result);

		session_command_done(c, err, result.bytes, result.len, &none, 0);
	} else {
		if (c->len <= sizeof(c->result))
			text_add(&result, c->result, c->len);
		if (c->waits && node_open(m->ctl, n))
			session_command_done(c, -ECANCELED, result.bytes, result.len, &none, 0);
	}
	keep_result(h, &result, c->err ? (uint64_t)off : off + size, c);
	answer_command(req, h, c, size, off);
}

void tree_write(fuse_req_t req, struct handle *h, const char *buf, size_t size, off_t off)
{
	struct mount *m = mount_of(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct caller caller = { ctx->uid, ctx->gid, ctx->pid, m->owner };
	struct request_facts r = workers_request();
	struct session *s = m->memory;
	struct command_record *c = r.resent ? session_command(s, r.unique) : NULL;
	struct wait_for wait = { 0 };
	struct text result = { 0 };
	int err;

	if (c) {
		command_again(req, h, c, buf, size, off, &caller);
		return;
	}
	c = session_command_begin(s, r.unique);
	if (!c) {
		fuse_reply_err(req, ENOMEM); /* a thousand commands wait */
		return;
	}
	err = node_command(m->ctl, h->node, buf, size, &caller, &result, &wait);
	session_command_done(c, err, result.bytes, result.len, &wait, deadline(wait.ms));
	/* A refused write leaves the offset where it was. */
	keep_result(h, &result, err ? (uint64_t)off : off + size, c);
	answer_command(req, h, c, size, off);
}

/* ---- poll ---- */

void tree_poll(fuse_req_t req, struct handle *h, struct fuse_pollhandle *ph)
{
	struct mount *m = mount_of(req);
	enum node_kind kind = node_kind(h->node);
	unsigned events = 0;
	bool news;

	pthread_mutex_lock(&h->lock);
	news = node_version(m->ctl, h->node) != h->seen;
	pthread_mutex_unlock(&h->lock);
	if (kind == NODE_PIPE || kind == NODE_WAIT) {
		events = news ? POLLIN | POLLRDNORM : 0;
	} else {
		events = POLLIN | POLLRDNORM | (news ? POLLERR | POLLPRI : 0);
		if (kind == NODE_CONTROL)
			events |= POLLOUT | POLLWRNORM;
	}
	if (ph && news)
		fuse_pollhandle_destroy(ph);
	else if (ph)
		notify_poll(&m->notify, h, ph);
	fuse_reply_poll(req, events);
}

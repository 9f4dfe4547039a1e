// SPDX-License-Identifier: GPL-2.0-or-later
#include "take_over.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "log.h"
#include "ops.h"
#include "snapshots.h"

/* ---- open files ---- */

/* Under h->lock, or alone. */
static int open_disk(struct mount *m, struct handle *h)
{
	const struct open_record *r = h->record;
	struct place p = place_of(r->ino);
	struct disk *d = p.kind == PLACE_TREE ? moment_overlay(m, &p)
					      : tandem_disk_numbered(m->tandem, p.number);
	int err = d ? disk_open(d, (r->flags & O_ACCMODE) != O_RDONLY) : -ENOENT;

	if (err)
		disk_unref(d);
	else
		h->disk = d;
	return err;
}

static int open_moment(struct mount *m, struct handle *h)
{
	const struct open_record *r = h->record;
	struct content c;
	int err;

	h->node = place_of(r->ino).node;
	err = node_content(m->ctl, h->node, &c);
	if (err)
		return err;
	disk_unref(c.overlay); /* it can be written since */
	c.overlay = NULL;
	/* ResyncReplica gives the same file another moment; this one was opened before. */
	c.generation = r->generation;
	c.time_ms = r->time_ms;
	c.size = r->size;
	c.allocated = r->allocated;
	err = moment_open(c.disk, c.generation);
	if (err)
		disk_unref(c.disk);
	else
		h->moment = c;
	return err;
}

/* The result of the last command, if it was kept. */
static void restore_result(struct mount *m, struct handle *h)
{
	const struct command_record *c = session_command(m->memory, h->record->command);

	h->commanded = true;
	if (c && c->len <= sizeof(c->result))
		text_add(&h->text, c->result, c->len);
}

static int open_node(struct mount *m, struct handle *h)
{
	struct node n = place_of(h->record->ino).node;
	int err = node_open(m->ctl, n);

	if (err)
		return err; /* the handle is of no node: whatever is asked of it is ENOENT */
	h->node = n;
	if (h->record->commanded)
		restore_result(m, h);
	if (node_kind(n) == NODE_WAIT)
		h->seen = NODE_WAITS;
	else if (node_kind(n) != NODE_PIPE)
		h->seen = UINT64_MAX; /* numbers of versions begin anew: it is news */
	return 0;
}

static void open_again(void *arg, struct handle *h)
{
	struct mount *m = arg;
	int err = 0;

	if (h->kind == HANDLE_DISK)
		err = open_disk(m, h);
	else if (h->kind == HANDLE_MOMENT)
		err = open_moment(m, h);
	else if (h->kind == HANDLE_TREE)
		err = open_node(m, h);
	if (err)
		log_line(LOG_LEVEL_WARNING,
			 "a file that was open (%#llx) cannot be opened again: %s",
			 (unsigned long long)h->record->ino, strerror(-err));
}

int take_over_file(struct mount *m, struct handle *h)
{
	int err = 0;

	if (h->kind == HANDLE_MOMENT)
		return h->moment.disk ? 0 : -ESTALE; /* what nobody held may be collected */
	if (h->kind != HANDLE_DISK || h->disk)
		return 0;
	/* Its store may be back, or whoever held its lock gone. */
	pthread_mutex_lock(&h->lock);
	if (!h->disk)
		err = open_disk(m, h);
	pthread_mutex_unlock(&h->lock);
	return err ? -EIO : 0;
}

int take_over_files(struct mount *m)
{
	return handles_take_over(&m->handles, open_again, m);
}

/* ---- requests ---- */

static void wake_poll(struct mount *m, const struct open_record *r)
{
	int err = kernel_wake_poll(fuse_session_fd(m->session), r->poll);

	if (err && err != -ENOENT)
		log_line(LOG_LEVEL_WARNING, "poll: %s", strerror(-err));
}

int take_over_requests(struct mount *m)
{
	for (uint32_t i = 0; i < m->memory->opens; i++) {
		const struct open_record *r = &m->memory->open[i];

		if (atomic_load(&r->kind) == HANDLE_TREE && r->poll)
			wake_poll(m, r);
	}
	return kernel_ask_again(fuse_session_fd(m->session));
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of clones, and what becomes of them with their source and target. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clones_inner.h"
#include "jobs.h"

/* ---- the table ---- */

static int load_one(void *arg, const struct clone_record *r)
{
	struct clones *cs = arg;
	struct clone *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->r = *r;
	c->of = cs;
	c->next = cs->list;
	cs->list = c;
	if (r->replaces && r->copy_state != COPY_BROKEN)
		table_detach(cs->s, r->replaces, 0, r->number);
	return 0;
}

int clones_new(struct snapshots *s, struct clones **out)
{
	struct clones *cs = calloc(1, sizeof(*cs));
	int err;

	if (!cs)
		return -ENOMEM;
	cs->s = s;
	pthread_mutex_init(&cs->lock, NULL);
	pthread_mutex_init(&cs->managing, NULL);
	pthread_cond_init(&cs->changed, NULL);
	err = clones_each(s->t->catalogue, load_one, cs);
	if (err)
		clones_free(cs);
	else
		*out = cs;
	return err;
}

void clones_free(struct clones *cs)
{
	struct clone *c;

	if (!cs)
		return;
	while ((c = cs->list)) {
		cs->list = c->next;
		free(c);
	}
	pthread_mutex_destroy(&cs->lock);
	pthread_mutex_destroy(&cs->managing);
	pthread_cond_destroy(&cs->changed);
	free(cs);
}

/* It needs its source still. */
static bool is_alive(const struct clone *c)
{
	return !c->filled && c->r.copy_state != COPY_BROKEN;
}

uint32_t clones_names(struct clones *cs, uint32_t source, uint64_t generation)
{
	uint32_t count = 0;

	if (!cs)
		return 0;
	pthread_mutex_lock(&cs->lock);
	for (const struct clone *c = cs->list; c; c = c->next)
		count += is_alive(c) && c->r.source == source && c->r.generation == generation;
	pthread_mutex_unlock(&cs->lock);
	return count;
}

struct clone *clone_of_target(struct clones *cs, uint32_t target)
{
	struct clone *c;

	pthread_mutex_lock(&cs->lock);
	for (c = cs->list; c && (c->filled || !c->r.number || c->r.target != target); c = c->next)
		;
	pthread_mutex_unlock(&cs->lock);
	return c;
}

struct clone *clone_of_number(struct clones *cs, uint32_t number)
{
	struct clone *c;

	pthread_mutex_lock(&cs->lock);
	for (c = cs->list; c && (!number || c->r.number != number); c = c->next)
		;
	pthread_mutex_unlock(&cs->lock);
	return c;
}

/* ---- facts ---- */

static void label_of(struct tandem *t, uint32_t number, char label[DISK_LABEL_MAX + 1])
{
	struct disk *d = tandem_disk_numbered(t, number);

	label[0] = '\0';
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	memcpy(label, d->label, sizeof(d->label));
	pthread_mutex_unlock(&d->lock);
	disk_unref(d);
}

uint64_t clone_done(struct tandem *t, const struct clone_record *r)
{
	struct disk *d = tandem_disk_numbered(t, r->target);
	struct history *h = d ? atomic_load(&d->history) : NULL;
	struct track_record track;
	uint64_t left = r->size;

	if (h && history_has_origin(h))
		left = history_lacking(h);
	else if (!track_get(t->catalogue, r->target, &track) &&
		 origin_lacking(t->catalogue, r->target, track.block_size, &left) == -ENOENT)
		left = 0; /* it was filled just now */
	disk_unref(d);
	return r->size - (left < r->size ? left : r->size);
}

/* What is not filled is not to be had, or relied on, from a source in such a state; else 0. */
static enum disk_state trouble_of(struct tandem *t, uint32_t source)
{
	struct disk *d = tandem_disk_numbered(t, source);
	enum disk_state state = d ? disk_state(d) : DISK_MISSING;

	disk_unref(d);
	return state == DISK_READY || state == DISK_READ_ONLY ? 0 : state;
}

/* With nothing held. */
static void complete_facts(struct tandem *t, const struct clone_record *r, bool filled,
			   struct clone_facts *f)
{
	*f = (struct clone_facts){
		.number = r->number,
		.generation = r->generation,
		.time_ms = r->time_ms,
		.size = r->size,
		.state = filled ? COPY_SYNCHRONIZED : (enum copy_state)r->copy_state,
		.priority = r->priority,
		.methodology = r->methodology,
		.token = !r->target,
		.percent = filled ? 100 : 0,
	};
	memcpy(f->name, r->name, sizeof(f->name));
	label_of(t, r->source, f->source);
	if (r->target)
		label_of(t, r->target, f->target);
	if (filled || !r->target)
		return;
	f->percent = percent_of_bytes(clone_done(t, r), r->size);
	if (f->state != COPY_BROKEN)
		f->source_state = trouble_of(t, r->source);
}

/* The first for which `wanted` says so. */
static int find_facts(struct tandem *t, bool (*wanted)(const struct clone *c, const void *arg),
		      const void *arg, struct clone_facts *out)
{
	struct clones *cs = t->snapshots ? t->snapshots->clones : NULL;
	struct clone_record r;
	struct clone *c = NULL;
	bool filled = false, runs = false;
	int error = 0;

	if (!cs)
		return -ENOENT;
	pthread_mutex_lock(&cs->lock);
	for (c = cs->list; c && (!c->r.number || !wanted(c, arg)); c = c->next)
		;
	if (c) {
		r = c->r;
		filled = c->filled;
		runs = c->runs && !atomic_load(&c->stop);
		error = atomic_load(&c->error);
	}
	pthread_mutex_unlock(&cs->lock);
	if (!c)
		return -ENOENT;
	complete_facts(t, &r, filled, out);
	out->copying = runs;
	out->error = error;
	out->job = job_of_replica(t->jobs, r.number, false);
	return 0;
}

static bool has_number(const struct clone *c, const void *number)
{
	return c->r.number == *(const uint32_t *)number;
}

static bool has_name(const struct clone *c, const void *name)
{
	return !c->filled && !strcmp(c->r.name, name);
}

int clone_numbered(struct tandem *t, uint32_t number, struct clone_facts *out)
{
	return find_facts(t, has_number, &number, out);
}

int clone_named(struct tandem *t, const char *name, struct clone_facts *out)
{
	return find_facts(t, has_name, name, out);
}

/* The next number after `last` of one that is not filled; 0. */
static uint32_t next_number(struct clones *cs, uint32_t last)
{
	uint32_t next = 0;

	pthread_mutex_lock(&cs->lock);
	for (const struct clone *c = cs->list; c; c = c->next)
		if (!c->filled && c->r.number > last && (!next || c->r.number < next))
			next = c->r.number;
	pthread_mutex_unlock(&cs->lock);
	return next;
}

void clones_list(struct tandem *t, bool (*fn)(void *arg, const struct clone_facts *c), void *arg)
{
	struct clones *cs = t->snapshots ? t->snapshots->clones : NULL;
	struct clone_facts f;
	uint32_t number = 0;

	while (cs && (number = next_number(cs, number)))
		if (!clone_numbered(t, number, &f) && !fn(arg, &f))
			return;
}

bool disk_is_clone(const struct disk *d)
{
	struct snapshots *s = d->tandem->snapshots;

	return s && s->clones && clone_of_target(s->clones, d->number);
}

bool disk_is_that_clone(const struct disk *d, uint32_t number)
{
	struct snapshots *s = d->tandem->snapshots;
	struct clone *c = s ? clone_of_target(s->clones, d->number) : NULL;

	return c && c->r.number == number;
}

bool disk_is_cloned(const struct disk *d)
{
	struct snapshots *s = d->tandem->snapshots;
	struct clone *c = NULL;

	if (!s || !s->clones)
		return false;
	pthread_mutex_lock(&s->clones->lock);
	for (c = s->clones->list; c && (!is_alive(c) || c->r.source != d->number); c = c->next)
		;
	pthread_mutex_unlock(&s->clones->lock);
	return c;
}

void clones_tell(struct disk *d)
{
	if (disk_is_cloned(d))
		atomic_fetch_add(&d->tandem->snapshots->version, 1);
}

void clone_announce(struct clone *c, const char *from, const char *to)
{
	char object[sizeof(c->r.name) + 16];

	snprintf(object, sizeof(object), "replicas/%s", c->r.name);
	events_emit(c->of->s->t->events, !strcmp(to, "Broken") ? EVENT_MAJOR : EVENT_INFORMATION,
		    "StateChanged", object, "From=%s To=%s", from, to);
}

/* ---- the disk behind one is found ---- */

bool clone_has_source(struct tandem *t, uint32_t number, char reason[200])
{
	struct origin_record o;
	struct moment_record m;
	struct disk *source;
	bool has;

	if (!t->snapshots || origin_get(t->catalogue, number, &o))
		return true;
	source = tandem_disk_numbered(t, o.source);
	has = source && disk_is_served(source) && !moment_exactly(source, o.generation, &m);
	if (!source)
		snprintf(reason, 200,
			 "a clone that is not filled yet, and its source is not there");
	else if (!disk_is_served(source))
		snprintf(reason, 200, "a clone that is not filled yet, and its source %.60s is %s",
			 source->label, disk_state_name(disk_state(source)));
	else if (!has)
		snprintf(reason, 200,
			 "a clone that is not filled yet, and its source %.60s lost what it was",
			 source->label);
	disk_unref(source);
	return has;
}

int clone_attach(struct disk *d, struct history *h)
{
	struct tandem *t = d->tandem;
	struct origin_record o;
	struct disk *source;
	int err = origin_get(t->catalogue, d->number, &o);

	if (err)
		return err == -ENOENT ? 0 : err;
	source = tandem_disk_numbered(t, o.source);
	err = source ? history_set_origin(h, source, &o) : -ENOENT;
	disk_unref(source);
	return err;
}

/* ---- source or target go ---- */

/* Those are walked through without the lock: the list only grows, at its head. */
static struct clone *about_after(struct clones *cs, struct clone *last, const struct disk *d)
{
	struct clone *c;

	pthread_mutex_lock(&cs->lock);
	c = last ? last->next : cs->list;
	while (c && (c->filled || !c->r.number ||
		     (c->r.source != d->number && c->r.target != d->number)))
		c = c->next;
	pthread_mutex_unlock(&cs->lock);
	return c;
}

bool disk_is_cloned_elsewhere(const struct disk *d)
{
	struct snapshots *s = d->tandem->snapshots;
	struct clone *c = NULL;
	bool elsewhere = false;

	while (s && !elsewhere && (c = about_after(s->clones, c, d))) {
		struct disk *target = tandem_disk_numbered(d->tandem, c->r.target);

		elsewhere = target && target != d && target->pool != d->pool;
		disk_unref(target);
	}
	return elsewhere;
}

int clones_check_delete(struct disk *d, bool force, struct why *why)
{
	struct snapshots *s = d->tandem->snapshots;
	struct clone *c;
	char name[SNAPSHOT_NAME_MAX + 1] = "";

	if (!s)
		return 0;
	pthread_mutex_lock(&s->clones->lock);
	for (c = s->clones->list; c; c = c->next)
		if (is_alive(c) && c->r.source == d->number)
			memcpy(name, c->r.name, sizeof(name));
	pthread_mutex_unlock(&s->clones->lock);
	if (name[0] && !force)
		return refuse_advise(
			why, -EBUSY, "wait until it is filled; with Force it is lost",
			"replicas/%s needs what %s was: it is not filled, or redeemed, yet", name,
			d->label);
	for (c = NULL; (c = about_after(s->clones, c, d));)
		filler_stop(c, true);
	return 0;
}

void clones_go_on(struct disk *d)
{
	struct snapshots *s = d->tandem->snapshots;
	struct clone *c = NULL;

	while (s && (c = about_after(s->clones, c, d)))
		filler_release(c);
}

/* Under changing: the snapshot whose place it takes. NULL: none, or it is gone, or lost its moment. */
static struct snapshot *replaced(struct clone *c)
{
	struct snapshot *sn = table_numbered(c->of->s, c->r.replaces);

	return sn && sn->generation == c->r.generation ? sn : NULL;
}

/* The moment of the source as it is without so many of its names. Under changing. */
static int put_moment_less(struct clone *c, struct catalogue_txn *txn, uint32_t names)
{
	struct snapshots *s = c->of->s;
	struct disk *source;
	struct moment_record m;
	int err;

	if (!is_alive(c))
		return 0;
	source = tandem_disk_numbered(s->t, c->r.source);
	err = source ? moment_exactly(source, c->r.generation, &m) : -ENOENT;

	if (!err) {
		m.names = table_names(s, c->r.source, c->r.generation, NULL) - names;
		m.dropped = !m.names && !m.tick;
		err = moment_put(txn, c->r.source, &m);
	}
	disk_unref(source);
	return err == -ENOENT ? 0 : err;
}

int clone_record_end(struct clone *c, struct catalogue_txn *txn, bool filled)
{
	struct snapshot *sn = filled ? replaced(c) : NULL;
	int err = c->r.target ? origin_forget(txn, c->r.target) : 0;

	if (!err)
		err = clone_del(txn, c->r.number);
	if (!err && sn)
		err = snapshot_del(txn, sn->number);
	return err ? err : put_moment_less(c, txn, sn ? 2 : 1);
}

int clone_replace_begin(struct clone *c)
{
	struct disk *source = replaced(c) ? tandem_disk_numbered(c->of->s->t, c->r.source) : NULL;
	int err = source ? dropping_begin(c->of->s, source, c->r.generation) : 0;

	disk_unref(source);
	return err;
}

void clone_replace_end(struct clone *c, int err)
{
	struct snapshots *s = c->of->s;
	struct snapshot *sn = replaced(c);
	struct snapshot_facts before;
	struct disk *source;

	if (!sn)
		return;
	source = tandem_disk_numbered(s->t, c->r.source);
	table_facts(s, sn, &before);
	if (!err)
		table_remove(s, sn);
	if (source)
		dropping_end(s, source, c->r.generation);
	disk_unref(source);
	if (!err)
		snapshot_announce(s->t, &before, snapshot_state_name(before.state), "-");
}

void clone_ended(struct clone *c)
{
	struct snapshots *s = c->of->s;
	struct disk *source = tandem_disk_numbered(s->t, c->r.source);

	pthread_mutex_lock(&c->of->lock);
	c->filled = true;
	pthread_mutex_unlock(&c->of->lock);
	table_detach(s, c->r.replaces, c->r.number, 0);
	/* Which drops it in memory too, once nobody reads it. */
	if (source)
		collector_add(s->collector, source, c->r.generation);
	disk_unref(source);
}

int clones_record_loss(struct disk *d, struct catalogue_txn *txn, bool deleted)
{
	struct clones *cs = d->tandem->snapshots->clones;
	struct clone *c = NULL;
	int err = 0;

	while (!err && (c = about_after(cs, c, d))) {
		struct clone_record r = c->r;

		r.copy_state = COPY_BROKEN;
		if (deleted && r.target == d->number)
			err = clone_record_end(c, txn, false);
		else if (r.source == d->number && r.copy_state != c->r.copy_state)
			err = clone_put(txn, &r);
	}
	return err;
}

static void lose_one(struct clone *c)
{
	struct tandem *t = c->of->s->t;
	struct disk *target = tandem_disk_numbered(t, c->r.target);
	const char *from = enum_name(copy_states, c->r.copy_state);

	pthread_mutex_lock(&c->of->lock);
	c->r.copy_state = COPY_BROKEN;
	atomic_store(&c->stop, true); /* its filler, which may wait for what is held here */
	pthread_cond_broadcast(&c->of->changed);
	pthread_mutex_unlock(&c->of->lock);
	table_detach(c->of->s, c->r.replaces, c->r.number, 0);
	job_end(t->jobs, c->job, JOB_EXCEPTION, -ESTALE);
	clone_announce(c, from, "Broken");
	if (target)
		disk_set_state(target, DISK_INVALID,
			       "a clone whose source was given up before it was filled");
	disk_unref(target);
}

void clones_lose(struct disk *d, bool deleted)
{
	struct clones *cs = d->tandem->snapshots->clones;
	struct clone *c = NULL;

	while ((c = about_after(cs, c, d))) {
		if (deleted && c->r.target == d->number) {
			job_end(d->tandem->jobs, c->job, JOB_TERMINATED, 0);
			clone_announce(c, enum_name(copy_states, c->r.copy_state), "-");
			clone_ended(c);
		} else if (c->r.source == d->number && c->r.copy_state != COPY_BROKEN) {
			lose_one(c);
		}
	}
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A record is its struct's fixed fields, little-endian, then its strings, each
 * with a 16-bit length. The reader checks every length, because a catalogue can
 * come from anywhere.
 */
#include "record.h"

#include <errno.h>
#include <string.h>

#include "enumerations.h"

static void put_u(struct record *w, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		w->bytes[w->len++] = v >> (8 * i);
}

static void put_bytes(struct record *w, const void *b, size_t len)
{
	put_u(w, len, 2);
	memcpy(w->bytes + w->len, b, len);
	w->len += len;
}

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static uint64_t get_u(struct reader *r, size_t n)
{
	uint64_t v = 0;

	if (r->bad || r->left < n) {
		r->bad = true;
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)r->at[i] << (8 * i);
	r->at += n;
	r->left -= n;
	return v;
}

static size_t get_bytes(struct reader *r, void *dst, size_t room)
{
	size_t len = get_u(r, 2);

	if (r->bad || len > r->left || len > room) {
		r->bad = true;
		return 0;
	}
	memcpy(dst, r->at, len);
	r->at += len;
	r->left -= len;
	return len;
}

static void get_string(struct reader *r, char *dst, size_t size)
{
	dst[get_bytes(r, dst, size - 1)] = '\0';
}

enum { DISK_FLAG_READ_ONLY = 1, DISK_FLAG_GONE = 2, DISK_FLAG_FAILED = 4, DISK_FLAG_CHANGED = 8 };

/* It has no other disk's image, or that is not known of it. */
static bool is_own(const struct disk_record *r)
{
	return !r->notes || r->notes == r->number;
}

void record_encode_disk(struct record *w, const struct disk_record *r)
{
	w->len = 0;
	put_u(w, r->number, 4);
	memcpy(w->bytes + w->len, r->id, sizeof(r->id));
	w->len += sizeof(r->id);
	put_u(w, r->pool, 4);
	put_u(w,
	      (r->read_only ? DISK_FLAG_READ_ONLY : 0) | (r->gone ? DISK_FLAG_GONE : 0) |
		      (r->failed ? DISK_FLAG_FAILED : 0) | (r->changed ? DISK_FLAG_CHANGED : 0),
	      4);
	put_u(w, r->stopped.size, 8);
	put_u(w, r->stopped.mtime.tv_sec, 8);
	put_u(w, r->stopped.mtime.tv_nsec, 4);
	put_u(w, r->stopped.ctime.tv_sec, 8);
	put_u(w, r->stopped.ctime.tv_nsec, 4);
	put_bytes(w, r->identity.bytes, r->identity.len);
	put_bytes(w, r->file_name, strlen(r->file_name));
	if (!r->mount_name[0] && is_own(r) && !r->guest_bytes)
		return; /* as before there were such names */
	put_u(w, r->mount_pool, 4);
	put_bytes(w, r->mount_name, strlen(r->mount_name));
	if (!is_own(r) || r->guest_bytes)
		put_u(w, is_own(r) ? r->number : r->notes, 4);
	if (r->guest_bytes) /* which an older program does not read, and forgets */
		put_u(w, r->guest_bytes, 8);
}

int record_decode_disk(const void *bytes, size_t len, struct disk_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct disk_record d = { 0 };
	uint32_t flags;

	d.number = get_u(&r, 4);
	for (size_t i = 0; i < sizeof(d.id); i++)
		d.id[i] = get_u(&r, 1);
	d.pool = get_u(&r, 4);
	flags = get_u(&r, 4);
	d.read_only = flags & DISK_FLAG_READ_ONLY;
	d.gone = flags & DISK_FLAG_GONE;
	d.failed = flags & DISK_FLAG_FAILED;
	d.changed = flags & DISK_FLAG_CHANGED;
	d.stopped.size = get_u(&r, 8);
	d.stopped.mtime.tv_sec = get_u(&r, 8);
	d.stopped.mtime.tv_nsec = get_u(&r, 4);
	d.stopped.ctime.tv_sec = get_u(&r, 8);
	d.stopped.ctime.tv_nsec = get_u(&r, 4);
	d.identity.len = get_bytes(&r, d.identity.bytes, sizeof(d.identity.bytes));
	get_string(&r, d.file_name, sizeof(d.file_name));
	if (!r.bad && r.left) {
		d.mount_pool = get_u(&r, 4);
		get_string(&r, d.mount_name, sizeof(d.mount_name));
	}
	d.notes = !r.bad && r.left ? get_u(&r, 4) : d.number;
	d.guest_bytes = !r.bad && r.left ? get_u(&r, 8) : 0;
	if (r.bad)
		return -EIO;
	*out = d;
	return 0;
}

void record_encode_pool(struct record *w, const struct pool_record *r)
{
	w->len = 0;
	put_u(w, r->number, 4);
	put_bytes(w, r->name, strlen(r->name));
	put_bytes(w, r->dir, strlen(r->dir));
	if (!pool_id_is_known(&r->id))
		return; /* as before pools had any */
	memcpy(w->bytes + w->len, r->id.bytes, sizeof(r->id.bytes));
	w->len += sizeof(r->id.bytes);
}

int record_decode_pool(const void *bytes, size_t len, struct pool_record *out)
{
	struct reader r = { .at = bytes, .left = len };

	out->number = get_u(&r, 4);
	get_string(&r, out->name, sizeof(out->name));
	get_string(&r, out->dir, sizeof(out->dir));
	out->id = (struct pool_id){ 0 };
	if (!r.bad && r.left)
		for (size_t i = 0; i < sizeof(out->id.bytes); i++)
			out->id.bytes[i] = get_u(&r, 1);
	return r.bad ? -EIO : 0;
}

enum { MOMENT_FLAG_TICK = 1, MOMENT_FLAG_DROPPED = 2, MOMENT_FLAG_HIDDEN = 4 };

void record_encode_moment(struct record *w, const struct moment_record *r)
{
	w->len = 0;
	put_u(w, r->generation, 8);
	put_u(w, r->time_ms, 8);
	put_u(w, r->size, 8);
	put_u(w, r->names, 4);
	put_u(w,
	      (r->tick ? MOMENT_FLAG_TICK : 0) | (r->dropped ? MOMENT_FLAG_DROPPED : 0) |
		      (r->hidden ? MOMENT_FLAG_HIDDEN : 0),
	      4);
}

int record_decode_moment(const void *bytes, size_t len, struct moment_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct moment_record m = { 0 };
	uint32_t flags;

	m.generation = get_u(&r, 8);
	m.time_ms = get_u(&r, 8);
	m.size = get_u(&r, 8);
	m.names = get_u(&r, 4);
	flags = get_u(&r, 4);
	m.tick = flags & MOMENT_FLAG_TICK;
	m.dropped = flags & MOMENT_FLAG_DROPPED;
	m.hidden = flags & MOMENT_FLAG_HIDDEN;
	if (r.bad)
		return -EIO;
	*out = m;
	return 0;
}

void record_encode_track(struct record *w, const struct track_record *r)
{
	w->len = 0;
	put_u(w, r->block_size, 4);
	put_u(w, r->settled, 8);
	put_u(w, r->window_s, 8);
	put_u(w, r->granularity_ms, 8);
	put_u(w, r->limit, 8);
	put_u(w, r->restore_from, 8);
	put_u(w, r->restore_before, 8);
	put_u(w, r->swept, 8);
	if (r->gone)
		put_u(w, true, 1);
}

int record_decode_track(const void *bytes, size_t len, struct track_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct track_record t = { 0 };

	t.block_size = get_u(&r, 4);
	t.settled = get_u(&r, 8);
	t.window_s = get_u(&r, 8);
	t.granularity_ms = get_u(&r, 8);
	t.limit = get_u(&r, 8);
	t.restore_from = get_u(&r, 8);
	t.restore_before = get_u(&r, 8);
	if (!r.bad && r.left) /* there was a time without it */
		t.swept = get_u(&r, 8);
	if (!r.bad && r.left)
		t.gone = get_u(&r, 1);
	if (r.bad)
		return -EIO;
	*out = t;
	return 0;
}

void record_encode_snapshot(struct record *w, const struct snapshot_record *r)
{
	w->len = 0;
	put_u(w, r->number, 4);
	put_u(w, r->disk, 4);
	put_u(w, r->generation, 8);
	put_u(w, r->sync_time_ms, 8);
	put_u(w, r->copy_state, 1);
	put_bytes(w, r->name, strlen(r->name));
	put_bytes(w, r->hold, strlen(r->hold));
	if (!r->overlay)
		return; /* as before there were any */
	put_u(w, r->overlay, 4);
	put_u(w, r->overlay_failed, 1);
}

int record_decode_snapshot(const void *bytes, size_t len, struct snapshot_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct snapshot_record s = { 0 };

	s.number = get_u(&r, 4);
	s.disk = get_u(&r, 4);
	s.generation = get_u(&r, 8);
	s.sync_time_ms = get_u(&r, 8);
	s.copy_state = get_u(&r, 1);
	get_string(&r, s.name, sizeof(s.name));
	get_string(&r, s.hold, sizeof(s.hold));
	if (!r.bad && r.left) {
		s.overlay = get_u(&r, 4);
		s.overlay_failed = get_u(&r, 1);
	}
	if (r.bad)
		return -EIO;
	*out = s;
	return 0;
}

void record_encode_origin(struct record *w, const struct origin_record *r)
{
	w->len = 0;
	put_u(w, r->source, 4);
	put_u(w, r->generation, 8);
	put_u(w, r->size, 8);
	put_u(w, r->filled, 8);
}

int record_decode_origin(const void *bytes, size_t len, struct origin_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct origin_record o = { 0 };

	o.source = get_u(&r, 4);
	o.generation = get_u(&r, 8);
	o.size = get_u(&r, 8);
	o.filled = get_u(&r, 8);
	if (r.bad)
		return -EIO;
	*out = o;
	return 0;
}

void record_encode_clone(struct record *w, const struct clone_record *r)
{
	w->len = 0;
	put_u(w, r->number, 4);
	put_u(w, r->source, 4);
	put_u(w, r->target, 4);
	put_u(w, r->generation, 8);
	put_u(w, r->time_ms, 8);
	put_u(w, r->size, 8);
	put_u(w, r->copy_state, 1);
	put_u(w, r->priority, 1);
	put_u(w, r->methodology, 1);
	put_u(w, r->share, 1);
	put_bytes(w, r->name, strlen(r->name));
	put_u(w, r->replaces, 4);
}

static bool is_clone(const struct clone_record *c)
{
	return c->number && enum_name(copy_states, c->copy_state) &&
	       enum_name(copy_priorities, c->priority) &&
	       enum_name(copy_methodologies, c->methodology) && c->name[0] && !strchr(c->name, '/');
}

int record_decode_clone(const void *bytes, size_t len, struct clone_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct clone_record c = { 0 };

	c.number = get_u(&r, 4);
	c.source = get_u(&r, 4);
	c.target = get_u(&r, 4);
	c.generation = get_u(&r, 8);
	c.time_ms = get_u(&r, 8);
	c.size = get_u(&r, 8);
	c.copy_state = get_u(&r, 1);
	c.priority = get_u(&r, 1);
	c.methodology = get_u(&r, 1);
	c.share = get_u(&r, 1);
	get_string(&r, c.name, sizeof(c.name));
	if (r.left) /* what was recorded before there was Detach has none */
		c.replaces = get_u(&r, 4);
	if (r.bad || !is_clone(&c))
		return -EIO;
	*out = c;
	return 0;
}

enum { GROUP_VERSION = 1, GROUP_FLAG_CONSISTENT = 1, GROUP_FLAG_PENDING = 2 };

/* Another version is none that we can read: what it adds may change what the rest means. */
enum {
	PAIR_VERSION = 1,
	PAIR_VERSION_ASYNC = 2, /* its target may show a moment */
	PAIR_VERSION_ADAPTIVE = 3,
	PAIR_VERSION_AT_FLUSH = 4, /* synchronous, and acknowledges at flush */
	PAIR_VERSION_BACK = 5,     /* asynchronous, but while it goes back */
	PAIR_FLAG_STOPS = 1,
	PAIR_FLAG_MANUAL = 2,
	PAIR_FLAG_FIRST = 4,
	PAIR_FLAG_MOVES = 8,
	PAIR_FLAG_WHOLE = 16,
	PAIR_FLAG_DIVERGED = 32,
	PAIR_FLAG_BACK = 64,
	PAIR_FLAG_RESTORES = 128,
	PAIR_FLAG_STEADY = 256,
	PAIR_FLAG_WRITTEN = 512,
	PAIR_FLAG_REWRITTEN = 4096,
	PAIR_FLAG_VERIFIES = 8192,
	PAIR_FLAG_ADAPTIVE = 16384, /* of that version */
	PAIR_FLAG_FULL = 32768,
	PAIR_FLAG_THIN = 65536,
	PAIR_FLAG_READ_ONLY = 131072,
	PAIR_FLAG_PENDING = 262144
};

static uint32_t pair_version(const struct pair_record *p)
{
	if (p->back && p->mode == MODE_ASYNCHRONOUS)
		return PAIR_VERSION_BACK;
	if (p->adaptive)
		return PAIR_VERSION_ADAPTIVE;
	if (p->at_flush && p->mode == MODE_SYNCHRONOUS)
		return PAIR_VERSION_AT_FLUSH;
	return p->mode == MODE_ASYNCHRONOUS ? PAIR_VERSION_ASYNC : PAIR_VERSION;
}

void record_encode_pair(struct record *w, const struct pair_record *r)
{
	uint32_t version = pair_version(r);

	w->len = 0;
	put_u(w, version, 1);
	put_u(w, r->number, 4);
	put_u(w, r->source, 4);
	put_u(w, r->target, 4);
	put_u(w, r->sync_time_ms, 8);
	put_u(w, r->verified_ms, 8);
	put_u(w, r->copy_state, 1);
	put_u(w, r->mode, 1);
	put_u(w, r->priority, 1);
	put_u(w,
	      (r->stops_host_io ? PAIR_FLAG_STOPS : 0) | (r->manual ? PAIR_FLAG_MANUAL : 0) |
		      (r->first ? PAIR_FLAG_FIRST : 0) | (r->moves ? PAIR_FLAG_MOVES : 0) |
		      (r->whole ? PAIR_FLAG_WHOLE : 0) | (r->diverged ? PAIR_FLAG_DIVERGED : 0) |
		      (r->back ? PAIR_FLAG_BACK : 0) | (r->restores ? PAIR_FLAG_RESTORES : 0) |
		      (r->steady ? PAIR_FLAG_STEADY : 0) | (r->written ? PAIR_FLAG_WRITTEN : 0) |
		      (r->rewritten ? PAIR_FLAG_REWRITTEN : 0) |
		      (r->verifies ? PAIR_FLAG_VERIFIES : 0) |
		      (r->read_only ? PAIR_FLAG_READ_ONLY : 0) |
		      (r->pending ? PAIR_FLAG_PENDING : 0) |
		      (r->provisioning == PROVISION_FULL ? PAIR_FLAG_FULL : 0) |
		      (r->provisioning == PROVISION_THIN ? PAIR_FLAG_THIN : 0) |
		      (r->adaptive && version == PAIR_VERSION_BACK ? PAIR_FLAG_ADAPTIVE : 0),
	      4);
	put_bytes(w, r->name, strlen(r->name));
	if (version != PAIR_VERSION) {
		put_u(w, r->objective_s, 4);
		put_u(w, r->shows, 8);
	}
	if (r->adaptive)
		put_u(w, r->skew_limit, 8);
	if (version != PAIR_VERSION && r->of)
		put_u(w, r->of, 8);
}

static bool is_pair(const struct pair_record *p)
{
	return p->number && p->source && p->target && p->source != p->target &&
	       enum_name(copy_states, p->copy_state) && enum_name(create_modes, p->mode) &&
	       enum_name(copy_priorities, p->priority) && p->name[0] && !strchr(p->name, '/');
}

int record_decode_pair(const void *bytes, size_t len, struct pair_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct pair_record p = { 0 };
	uint32_t flags, version = get_u(&r, 1);

	if (version < PAIR_VERSION || version > PAIR_VERSION_BACK)
		return -EIO;
	p.number = get_u(&r, 4);
	p.source = get_u(&r, 4);
	p.target = get_u(&r, 4);
	p.sync_time_ms = get_u(&r, 8);
	p.verified_ms = get_u(&r, 8);
	p.copy_state = get_u(&r, 1);
	p.mode = get_u(&r, 1);
	p.priority = get_u(&r, 1);
	flags = get_u(&r, 4);
	p.stops_host_io = flags & PAIR_FLAG_STOPS;
	p.manual = flags & PAIR_FLAG_MANUAL;
	p.first = flags & PAIR_FLAG_FIRST;
	p.moves = flags & PAIR_FLAG_MOVES;
	p.whole = flags & PAIR_FLAG_WHOLE;
	p.diverged = flags & PAIR_FLAG_DIVERGED;
	p.back = flags & PAIR_FLAG_BACK;
	p.restores = flags & PAIR_FLAG_RESTORES;
	p.steady = flags & PAIR_FLAG_STEADY;
	p.written = flags & PAIR_FLAG_WRITTEN;
	p.adaptive = version == PAIR_VERSION_ADAPTIVE || flags & PAIR_FLAG_ADAPTIVE;
	p.at_flush = version == PAIR_VERSION_AT_FLUSH;
	p.rewritten = flags & PAIR_FLAG_REWRITTEN;
	p.verifies = flags & PAIR_FLAG_VERIFIES;
	p.read_only = flags & PAIR_FLAG_READ_ONLY;
	p.pending = flags & PAIR_FLAG_PENDING;
	if (flags & (PAIR_FLAG_FULL | PAIR_FLAG_THIN))
		p.provisioning = flags & PAIR_FLAG_FULL ? PROVISION_FULL : PROVISION_THIN;
	get_string(&r, p.name, sizeof(p.name));
	if (version != PAIR_VERSION) {
		p.objective_s = get_u(&r, 4);
		p.shows = get_u(&r, 8);
	}
	if (p.adaptive)
		p.skew_limit = get_u(&r, 8);
	if (version != PAIR_VERSION && r.left) /* an older program did not record it */
		p.of = get_u(&r, 8);
	if (r.bad || !is_pair(&p) || version != pair_version(&p) ||
	    (p.at_flush && p.mode != MODE_SYNCHRONOUS))
		return -EIO;
	*out = p;
	return 0;
}

void record_encode_group(struct record *w, const struct group_record *r)
{
	w->len = 0;
	put_u(w, GROUP_VERSION, 1);
	put_u(w, r->number, 4);
	put_u(w,
	      (r->consistent ? GROUP_FLAG_CONSISTENT : 0) | (r->pending ? GROUP_FLAG_PENDING : 0),
	      4);
	put_bytes(w, r->name, strlen(r->name));
}

int record_decode_group(const void *bytes, size_t len, struct group_record *out)
{
	struct reader r = { .at = bytes, .left = len };
	struct group_record g = { 0 };
	uint32_t flags;

	if (get_u(&r, 1) != GROUP_VERSION)
		return -EIO;
	g.number = get_u(&r, 4);
	flags = get_u(&r, 4);
	g.consistent = flags & GROUP_FLAG_CONSISTENT;
	g.pending = flags & GROUP_FLAG_PENDING;
	get_string(&r, g.name, sizeof(g.name));
	if (r.bad)
		return -EIO;
	*out = g;
	return 0;
}

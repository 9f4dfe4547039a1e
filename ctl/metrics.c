// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prometheus text format 0.0.4. All lines of a metric stand together, so each
 * metric of disks is a walk over all of them. A disk that was never used costs
 * no lines for the times of its requests: with a thousand disks those are most
 * of the text.
 */
#include "inner.h"

#include <inttypes.h>
#include <string.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "facts.h"
#include "utf8.h"

/* What the operations of one disk were, beside its facts. */
struct counters {
	uint64_t count[DISK_OP_MAX], errors[DISK_OP_MAX], bytes[DISK_OP_MAX];
	uint64_t nanoseconds[DISK_OP_MAX];
	uint64_t times[DISK_OP_MAX][DISK_TIME_BOUNDS + 1];
};

struct disk_metrics {
	char *label; /* escaped */
	enum disk_state state;
	struct counters n;
	struct past_facts past;
};

struct metrics {
	struct text *out;
	struct disk_metrics *disks;
	size_t disk_count;
};

static void add_head(struct text *out, const char *name, const char *type, const char *help)
{
	text_addf(out, "# HELP tandemfs_%s %s\n# TYPE tandemfs_%s %s\n", name, help, name, type);
}

/*
 * A label's value is UTF-8, names are bytes: one that belongs to no character
 * becomes U+FFFD and its two hexadecimal digits, so that labels stay different.
 */
static void add_label_value(struct text *out, const char *s)
{
	while (*s) {
		uint32_t code;
		size_t len = utf8_char(s, &code);

		if (len == 0) {
			text_addf(out, "\xef\xbf\xbd%02x", (unsigned char)*s);
			len = 1;
		} else if (code == '\n') {
			text_add(out, "\\n", 2);
		} else {
			if (code == '"' || code == '\\')
				text_add(out, "\\", 1);
			text_add(out, s, len);
		}
		s += len;
	}
}

static void read_counters(const struct disk *d, struct counters *n)
{
	for (int op = 0; op < DISK_OP_MAX; op++) {
		const struct disk_op_counters *from = &d->ops[op];

		n->count[op] = from->count;
		n->errors[op] = from->errors;
		n->bytes[op] = from->bytes;
		n->nanoseconds[op] = from->nanoseconds;
		for (int i = 0; i <= DISK_TIME_BOUNDS; i++)
			n->times[op][i] = from->times[i];
	}
}

static bool collect_disk(struct disk *d, struct disk_metrics *out)
{
	struct text label = { 0 };
	struct disk_facts facts;

	disk_facts(d, &facts);
	out->state = facts.state;
	read_counters(d, &out->n);
	disk_past(d, &out->past);
	add_label_value(&label, facts.label);
	out->label = label.bytes;
	return text_ok(&label) && label.bytes;
}

static bool collect(struct metrics *m, struct tandem *t)
{
	size_t count;
	struct disk **disks = tandem_disks(t, &count);
	bool ok;

	if (!disks)
		return count == 0;
	m->disks = calloc(count + 1, sizeof(*m->disks));
	ok = m->disks;
	for (size_t i = 0; ok && i < count; i++) {
		ok = collect_disk(disks[i], &m->disks[i]);
		m->disk_count = i + 1;
	}
	disks_free(disks, count);
	return ok;
}

static void discard(struct metrics *m)
{
	for (size_t i = 0; i < m->disk_count; i++)
		free(m->disks[i].label);
	free(m->disks);
}

static void add_states(const struct metrics *m)
{
	add_head(m->out, "disk_state", "gauge",
		 "1 for the state the disk is in, 0 for the others.");
	for (size_t i = 0; i < m->disk_count; i++) {
		for (unsigned s = DISK_STATE_INVALID_VALUE + 1; s < DISK_STATE_MAX; s++)
			text_addf(m->out, "tandemfs_disk_state{disk=\"%s\",state=\"%s\"} %d\n",
				  m->disks[i].label, disk_state_name(s), m->disks[i].state == s);
	}
}

static void add_bytes(const struct metrics *m, const char *name, enum disk_op op, const char *help)
{
	add_head(m->out, name, "counter", help);
	for (size_t i = 0; i < m->disk_count; i++)
		text_addf(m->out, "tandemfs_%s{disk=\"%s\"} %" PRIu64 "\n", name, m->disks[i].label,
			  m->disks[i].n.bytes[op]);
}

/* `offset` of a uint64_t[DISK_OP_MAX] in struct counters. */
static void add_per_op(const struct metrics *m, const char *name, size_t offset, const char *help)
{
	add_head(m->out, name, "counter", help);
	for (size_t i = 0; i < m->disk_count; i++) {
		const char *base = (const char *)&m->disks[i].n + offset;
		const uint64_t *per_op = (const uint64_t *)base;

		for (int op = 0; op < DISK_OP_MAX; op++)
			text_addf(m->out, "tandemfs_%s{disk=\"%s\",op=\"%s\"} %" PRIu64 "\n", name,
				  m->disks[i].label, disk_op_name(op), per_op[op]);
	}
}

static void add_histogram(struct text *out, const char *label, const char *op,
			  const uint64_t *times, uint64_t nanoseconds)
{
	uint64_t sum = 0;

	for (int i = 0; i <= DISK_TIME_BOUNDS; i++) {
		sum += times[i];
		text_addf(out, "tandemfs_disk_request_seconds_bucket{disk=\"%s\",op=\"%s\",le=\"",
			  label, op);
		if (i < DISK_TIME_BOUNDS)
			text_addf(out, "%g", disk_time_bounds_us[i] / 1e6);
		else
			text_addf(out, "+Inf");
		text_addf(out, "\"} %" PRIu64 "\n", sum);
	}
	text_addf(out,
		  "tandemfs_disk_request_seconds_sum{disk=\"%s\",op=\"%s\"} %" PRIu64 ".%09" PRIu64
		  "\n",
		  label, op, nanoseconds / 1000000000, nanoseconds % 1000000000);
	/* Of the buckets, not of `count`: read at another instant, the two could disagree. */
	text_addf(out, "tandemfs_disk_request_seconds_count{disk=\"%s\",op=\"%s\"} %" PRIu64 "\n",
		  label, op, sum);
}

static void add_times(const struct metrics *m)
{
	add_head(m->out, "disk_request_seconds", "histogram",
		 "How long requests of clients took, from our first sight of them.");
	for (size_t i = 0; i < m->disk_count; i++) {
		const struct disk_metrics *d = &m->disks[i];

		for (int op = 0; op < DISK_OP_MAX; op++) {
			if (d->n.count[op] > 0)
				add_histogram(m->out, d->label, disk_op_name(op), d->n.times[op],
					      d->n.nanoseconds[op]);
		}
	}
}

/* Of disks that have a past, a field of it. */
static void add_past(const struct metrics *m, const char *name, const char *help,
		     uint64_t (*value)(const struct past_facts *past))
{
	add_head(m->out, name, "gauge", help);
	for (size_t i = 0; i < m->disk_count; i++) {
		if (m->disks[i].past.tracked)
			text_addf(m->out, "tandemfs_%s{disk=\"%s\"} %" PRIu64 "\n", name,
				  m->disks[i].label, value(&m->disks[i].past));
	}
}

static uint64_t snapshots(const struct past_facts *past)
{
	return past->snapshots;
}

static uint64_t history_bytes(const struct past_facts *past)
{
	return past->bytes;
}

static uint64_t unsettled_bytes(const struct past_facts *past)
{
	return past->unsettled;
}

static void add_oldest(const struct metrics *m)
{
	add_head(m->out, "disk_history_oldest_timestamp_seconds", "gauge",
		 "When the oldest moment of kept history was.");
	for (size_t i = 0; i < m->disk_count; i++) {
		uint64_t ms = m->disks[i].past.oldest_ms;

		if (ms)
			text_addf(m->out,
				  "tandemfs_disk_history_oldest_timestamp_seconds{disk=\"%s\"} "
				  "%" PRIu64 ".%03u\n",
				  m->disks[i].label, ms / 1000, (unsigned)(ms % 1000));
	}
}

static void add_rate(struct text *out, bool known, int64_t per_hour)
{
	if (known)
		text_addf(out, "%g\n", per_hour / 3600.0);
	else
		text_addf(out, "NaN\n");
}

static void add_growths(const struct metrics *m)
{
	add_head(m->out, "disk_history_growth_bytes_per_second", "gauge",
		 "How fast what old contents of the disk take grows; NaN: not known yet.");
	for (size_t i = 0; i < m->disk_count; i++) {
		const struct past_facts *past = &m->disks[i].past;

		if (!past->tracked)
			continue;
		text_addf(m->out, "tandemfs_disk_history_growth_bytes_per_second{disk=\"%s\"} ",
			  m->disks[i].label);
		add_rate(m->out, past->growth_known, past->growth.per_hour);
	}
}

static void add_pasts(const struct metrics *m)
{
	add_past(m, "disk_snapshots", "Snapshots of the disk.", snapshots);
	add_past(m, "disk_history_bytes", "What old contents of the disk take in the store.",
		 history_bytes);
	add_growths(m);
	add_past(m, "disk_unsettled_bytes", "Written, durable, and not in the image yet.",
		 unsettled_bytes);
	add_oldest(m);
}

static void add_disks(const struct metrics *m)
{
	add_states(m);
	add_bytes(m, "disk_read_bytes_total", DISK_OP_READ, "Bytes that clients read.");
	add_bytes(m, "disk_written_bytes_total", DISK_OP_WRITE, "Bytes that clients wrote.");
	add_per_op(m, "disk_operations_total", offsetof(struct counters, count),
		   "Requests of clients.");
	add_per_op(m, "disk_errors_total", offsetof(struct counters, errors),
		   "Requests of clients that failed.");
	add_times(m);
	add_pasts(m);
}

static void add_whole(struct text *out, const struct facts *f)
{
	add_head(out, "build_info", "gauge", "Always 1; the labels tell what runs.");
	text_addf(out, "tandemfs_build_info{version=\"%s\"} 1\n", TANDEMFS_VERSION);
	add_head(out, "health", "gauge", "0 is OK, 1 WARN, 2 FAIL, as in status.");
	text_addf(out, "tandemfs_health %d\n", (int)facts_health(f));
}

static void add_replica_label(struct text *out, const char *name, const struct replica_facts *r)
{
	text_addf(out, "tandemfs_%s{replica=\"", name);
	add_label_value(out, r->label);
}

static void add_copy_states(struct text *out, const struct facts *f)
{
	add_head(out, "replica_copy_state", "gauge",
		 "1 for the CopyState the relationship is in, 0 for the others.");
	for (size_t i = 0; i < f->clone_count; i++) {
		const struct replica_facts *r = &f->clones[i];

		for (const struct enum_value *v = copy_states; v->name; v++) {
			if (v->number == COPY_MIXED || v->number == COPY_NOT_APPLICABLE)
				continue; /* of groups; of nothing */
			add_replica_label(out, "replica_copy_state", r);
			text_addf(out, "\",state=\"%s\"} %d\n", v->name,
				  r->copy_state == v->number);
		}
	}
}

/* Of mirrors. */
static void add_verified(struct text *out, const struct facts *f)
{
	bool any = false;

	for (size_t i = 0; i < f->clone_count; i++) {
		uint64_t ms = f->clones[i].verified_ms;

		if (!ms)
			continue;
		if (!any)
			add_head(out, "replica_verified_timestamp_seconds", "gauge",
				 "When the last proof began that both disks are the same.");
		any = true;
		add_replica_label(out, "replica_verified_timestamp_seconds", &f->clones[i]);
		text_addf(out, "\"} %" PRIu64 ".%03u\n", ms / 1000, (unsigned)(ms % 1000));
	}
}

/* Of asynchronous mirrors. */
static void add_objectives(struct text *out, const struct facts *f)
{
	bool any = false;

	for (size_t i = 0; i < f->clone_count; i++) {
		if (f->clones[i].sync_mode != MODE_ASYNCHRONOUS)
			continue;
		if (!any)
			add_head(out, "replica_rpo_seconds", "gauge",
				 "How old the target of a mirror may be.");
		any = true;
		add_replica_label(out, "replica_rpo_seconds", &f->clones[i]);
		text_addf(out, "\"} %u\n", f->clones[i].objective_s);
	}
}

/* Of mirrors that were ever in step. */
static void add_lags(struct text *out, const struct facts *f)
{
	bool any = false;
	uint64_t lag;

	for (size_t i = 0; i < f->clone_count; i++) {
		if (!replica_lag(&f->clones[i], f->time_ms, &lag))
			continue;
		if (!any)
			add_head(out, "replica_lag_seconds", "gauge",
				 "How old the target of a mirror is.");
		any = true;
		add_replica_label(out, "replica_lag_seconds", &f->clones[i]);
		text_addf(out, "\"} %" PRIu64 ".%03u\n", lag / 1000, (unsigned)(lag % 1000));
	}
}

/* Of clones and mirrors: a thousand snapshots have nothing that would change. */
static void add_replicas(struct text *out, const struct facts *f)
{
	bool any = false;

	if (!f->clone_count)
		return;
	add_copy_states(out, f);
	add_head(out, "replica_synced_ratio", "gauge", "How much is copied; 1 is Synchronized.");
	for (size_t i = 0; i < f->clone_count; i++) {
		add_replica_label(out, "replica_synced_ratio", &f->clones[i]);
		text_addf(out, "\"} %g\n", f->clones[i].percent / 100.0);
	}
	for (size_t i = 0; i < f->clone_count; i++) {
		if (f->clones[i].sync_type != SYNC_MIRROR)
			continue;
		if (!any)
			add_head(out, "replica_behind_bytes", "gauge",
				 "What the target of a mirror lacks.");
		any = true;
		add_replica_label(out, "replica_behind_bytes", &f->clones[i]);
		text_addf(out, "\"} %" PRIu64 "\n", f->clones[i].behind);
	}
	add_lags(out, f);
	add_objectives(out, f);
	add_verified(out, f);
}

static void add_group_gauge(struct text *out, const struct facts *f, const char *name,
			    const char *help, size_t offset)
{
	if (f->group_count)
		add_head(out, name, "gauge", help);
	for (size_t i = 0; i < f->group_count; i++) {
		text_addf(out, "tandemfs_%s{group=\"", name);
		add_label_value(out, f->groups[i].name);
		text_addf(out, "\"} %zu\n",
			  *(const size_t *)((const char *)&f->groups[i] + offset));
	}
}

static void add_groups(struct text *out, const struct facts *f)
{
	add_group_gauge(out, f, "group_disks", "Disks of the group.",
			offsetof(struct group_facts, disks));
	add_group_gauge(out, f, "group_absent_disks", "Those that are not in the mount.",
			offsetof(struct group_facts, absent));
}

static void add_growth(struct text *out, const struct store_facts *s)
{
	add_head(out, "store_growth_bytes_per_second", "gauge",
		 "How fast what old contents of all disks take grows; NaN: not known yet.");
	text_addf(out, "tandemfs_store_growth_bytes_per_second ");
	add_rate(out, s->growth_known, s->growth);
	add_head(out, "store_full_seconds", "gauge",
		 "How long it takes at that growth until no space is left; NaN: not known yet.");
	if (s->full_in_s != UINT64_MAX)
		text_addf(out, "tandemfs_store_full_seconds %" PRIu64 "\n", s->full_in_s);
	else
		text_addf(out, "tandemfs_store_full_seconds %s\n",
			  s->growth_known ? "+Inf" : "NaN");
}

static void add_space(struct text *out, const struct tandem *t, const struct facts *f)
{
	struct statvfs st;
	bool any = false;

	if (!fstatvfs(t->state_dirfd, &st)) {
		add_head(out, "store_free_bytes", "gauge",
			 "Space left in the file system of the state directory.");
		text_addf(out, "tandemfs_store_free_bytes %" PRIu64 "\n",
			  (uint64_t)st.f_bavail * st.f_frsize);
	}
	add_growth(out, &f->store);
	add_head(out, "store_space_low", "gauge",
		 "1 while there is so little of it that old content is given up.");
	text_addf(out, "tandemfs_store_space_low %d\n", f->space_low);
	for (size_t i = 0; i < f->pool_count; i++) {
		const struct pool_facts *p = &f->pools[i];

		if (!p->status.space_known)
			continue;
		if (!any)
			add_head(out, "pool_free_bytes", "gauge",
				 "Space left for images; the pool without a name is DISKDIR.");
		any = true;
		text_addf(out, "tandemfs_pool_free_bytes{pool=\"");
		add_label_value(out, p->name);
		text_addf(out, "\"} %" PRIu64 "\n", p->status.free);
	}
}

static void add_command(void *arg, const char *operation, unsigned value, const char *name,
			uint64_t count)
{
	text_addf(arg, "tandemfs_commands_total{operation=\"%s\",result=\"%s\"} %" PRIu64 "\n",
		  operation, name, count);
}

int metrics_render(struct ctl *c, uint32_t object, struct text *out)
{
	struct metrics m = { .out = out };
	struct facts f;
	int err = facts_collect(c->tandem, &f);

	if (err)
		return err;
	if (!collect(&m, c->tandem))
		out->failed = true;
	add_whole(out, &f);
	add_disks(&m);
	add_replicas(out, &f);
	add_groups(out, &f);
	add_space(out, c->tandem, &f);
	add_head(out, "commands_total", "counter", "Commands by how they ended.");
	ledger_each_count(c->ledger, add_command, out);
	discard(&m);
	facts_free(&f);
	return 0;
}

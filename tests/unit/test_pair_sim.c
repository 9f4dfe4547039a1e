// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random lives of a mirror, under a clock that the test moves: a guest writes, files fail and come
 * back, every operation is asked for, and the daemon dies, over and over. After each event what is
 * said of the mirror is compared with what both sides hold, and those with a model. A life is a
 * process; the model is in memory that all lives of a sequence share.
 *
 * TANDEMFS_SIM_SEED=N does sequence N only, and says what happens in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_clock.h"
#include "faulty.h"
#include "pair_model.h"
#include "pairs_inner.h"
#include "replica_facts.h"
#include "replica_operations.h"
#include "snapshots_inner.h"
#include "temp_tandem.h"
#include "unit.h"

#define SEQUENCES 1000
#define EVENTS 30
#define SECOND 1000000000ull
#define REGION_BLOCKS (MARKS_REGION / MODEL_BLOCK)

/* What was being done when the daemon died. */
struct pending {
	enum { PENDING_NONE, PENDING_WRITE, PENDING_OPERATION, PENDING_MAKE } kind;
	unsigned first, count;
	uint16_t stamp;
	enum replica_operation op;
	struct pair_facts before;
};

static struct world {
	struct model model;
	struct pending pending;
	uint64_t seed;
	_Atomic uint64_t passed;
	unsigned sequence, events; /* still to come */
	bool over;
	uint32_t source; /* its number */
	uint32_t number; /* of the mirror; 0: there is none */
	unsigned made;
	bool has_past; /* one side has, or had */
	char away[64]; /* the target's file, which is called something else; "": it is there */
	uint64_t sync_time_ms;
	size_t length;
	char trace[8192];
} * world;

static struct disk *source; /* open for writing; or NULL */
static struct why why;
static unsigned source_faults, target_faults;

/* ---- what happened ---- */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	size_t room = sizeof(world->trace) - world->length;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(world->trace + world->length, room, format, args);
	va_end(args);
	if (n > 0)
		world->length += (size_t)n < room ? (size_t)n : room - 1;
	if (getenv("TANDEMFS_SIM_SEED"))
		fprintf(stderr, "%s", world->trace + world->length - n);
}

#define HOLDS(is, ...)                                                                             \
	do {                                                                                       \
		if (!(is)) {                                                                       \
			char said[600];                                                            \
			snprintf(said, sizeof(said), __VA_ARGS__);                                 \
			ck_abort_msg("TANDEMFS_SIM_SEED=%u:%s: %s", world->sequence, world->trace, \
				     said);                                                        \
		}                                                                                  \
	} while (0)

static unsigned below(unsigned bound)
{
	return unit_below(&world->seed, bound);
}

static const char *state_name(enum copy_state state)
{
	return enum_name(copy_states, state);
}

/* ---- what is said ---- */

static struct pair_facts facts(void)
{
	struct pair_facts f;

	HOLDS(!pair_numbered(temp.t, world->number, &f), "the mirror is gone");
	return f;
}

static struct pair *the_pair(void)
{
	return pair_of_number(temp.t->pairs, world->number);
}

/* Its keeper waits for time to pass, or for somebody to tell it something. */
static bool is_at_rest(void *arg)
{
	struct pair *p = the_pair();
	bool poked;

	(void)arg;
	pthread_mutex_lock(&p->lock);
	poked = p->poke;
	pthread_mutex_unlock(&p->lock);
	return !poked && clock_is_waited_for(&p->poked) && !atomic_load(&p->verify);
}

static bool rests_now(void *arg)
{
	if (is_at_rest(arg))
		return true;
	clock_pass(SECOND / 1000); /* it may wait for its turn */
	return false;
}

static void settle(void)
{
	if (world->number)
		HOLDS(unit_until(rests_now, NULL, 20), "its keeper does not come to rest");
}

/* ---- what both hold ---- */

static bool read_disk(struct disk *d, uint16_t *values)
{
	static char bytes[MODEL_SIZE];
	size_t done = 0;
	bool read;

	faulty_spare_me(true);
	read = d && !disk_open(d, false);
	if (read) {
		read = !disk_read(d, bytes, sizeof(bytes), 0, 0, &done) && done == sizeof(bytes);
		disk_close(d);
	}
	faulty_spare_me(false);
	if (read)
		pair_model_read(bytes, values);
	return read;
}

/* Whatever image it is in. */
static struct disk *the_source(void)
{
	return tandem_disk_numbered(temp.t, world->source);
}

static bool read_source(uint16_t *values)
{
	struct disk *d = the_source();
	bool read = read_disk(d, values);

	disk_unref(d);
	return read;
}

/* Also of one that is hidden: what is in the file is what it holds, if neither has a past. */
static bool read_file(const char *name, uint16_t *values)
{
	static char bytes[MODEL_SIZE];
	int fd = open(temp_path(name), O_RDONLY | O_CLOEXEC);
	bool read;

	if (fd < 0)
		return false;
	faulty_spare_me(true);
	read = pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes);
	faulty_spare_me(false);
	close(fd);
	if (read)
		pair_model_read(bytes, values);
	return read;
}

static bool read_target(const struct pair_facts *f, uint16_t *values)
{
	struct disk *d = temp_disk(f->target);
	bool read = read_disk(d, values);

	disk_unref(d);
	if (read || world->has_past || f->first)
		return read;
	return read_file(world->away[0] ? world->away : f->target, values);
}

/* ---- is it true ---- */

static void check_source(void)
{
	uint16_t holds[MODEL_BLOCKS];
	unsigned b;

	if (read_source(holds))
		HOLDS(pair_model_is(&world->model, world->model.now, holds, &b),
		      "block %u of the source holds %u", b, holds[b]);
}

static uint64_t property(const struct replica_facts *r, const char *name)
{
	const struct property *p = replica_properties;

	while (strcmp(p->name, name) != 0)
		p++;
	return p->number(r);
}

static void check_words(const struct pair_facts *f)
{
	bool synchronized = f->state == COPY_SYNCHRONIZED;
	struct replica_facts r;

	replica_facts_of_pair(f, &r);
	HOLDS(property(&r, "SyncMaintained") == synchronized, "SyncMaintained while it is %s",
	      state_name(f->state));
	HOLDS((r.percent == 100) == synchronized, "%u percent while it is %s", r.percent,
	      state_name(f->state));
	HOLDS(f->sync_time_ms >= world->sync_time_ms, "SyncTime goes back by %d ms",
	      (int)(world->sync_time_ms - f->sync_time_ms));
	HOLDS(f->sync_time_ms <= clock_ms(), "SyncTime is to come");
	HOLDS(f->sync_time_ms || !synchronized, "it is Synchronized, and was never");
	world->sync_time_ms = f->sync_time_ms;
}

struct sides {
	bool marked[MODEL_BLOCKS];
	uint16_t source[MODEL_BLOCKS], target[MODEL_BLOCKS];
};

/* Marks first: what is copied while we look is the same afterwards. */
static bool look(const struct pair_facts *f, struct sides *s)
{
	struct marks *marks = the_pair()->leg.marks;
	uint64_t run;

	for (unsigned b = 0; b < MODEL_BLOCKS; b++)
		s->marked[b] = marks_differs(marks, b * MODEL_BLOCK, MODEL_BLOCK, &run);
	return read_target(f, s->target) && read_source(s->source);
}

/*
 * All that differs is marked; and nothing does where it is said to be the same. What is said to be on
 * its way may differ for that long, and is no more than that.
 */
static void check_marks(const struct pair_facts *f, const struct sides *s)
{
	bool same = f->state == COPY_SYNCHRONIZED && f->mode == MODE_SYNCHRONOUS;
	uint64_t sent = 0;

	for (unsigned b = 0; b < MODEL_BLOCKS; b++) {
		if (s->source[b] == s->target[b])
			continue;
		if (sent < f->sent && (same || !s->marked[b])) {
			sent += MODEL_BLOCK;
			continue;
		}
		HOLDS(!same, "it is Synchronized, and block %u is %u and %u", b, s->source[b],
		      s->target[b]);
		HOLDS(s->marked[b] || f->shows,
		      "it is %s, and block %u, which is %u and %u, is not "
		      "marked",
		      state_name(f->state), b, s->source[b], s->target[b]);
	}
}

/* What is called whole is a moment of the source, not older than it may be. */
static void check_whole(const struct pair_facts *f, const uint16_t *target)
{
	struct model *m = &world->model;
	unsigned low = m->low;

	if (f->mode == MODE_ASYNCHRONOUS && pair_model_at(m, f->sync_time_ms) > low)
		low = pair_model_at(m, f->sync_time_ms);
	if (f->whole && !f->back)
		HOLDS(pair_model_find(m, low, target) >= 0,
		      "its target is called whole, and is none of moments %u to %u", low, m->now);
	if (f->mode == MODE_ASYNCHRONOUS && f->whole)
		m->low = low;
	if (f->state == COPY_SYNCHRONIZED && f->mode == MODE_SYNCHRONOUS && !f->sent)
		m->low = m->now;
}

/* Somebody had it open when the next moment was complete, or has. */
static bool shows_older(void)
{
	struct pair *p = the_pair();
	bool older;

	pthread_mutex_lock(&p->changing);
	older = p->read != 0;
	pthread_mutex_unlock(&p->changing);
	return older;
}

static void check_pair(void)
{
	bool rests = is_at_rest(NULL) && !shows_older();
	struct pair_facts f = facts();
	struct sides s;

	check_words(&f);
	if (f.first || !look(&f, &s)) {
		HOLDS(f.state != COPY_SYNCHRONIZED, "it is Synchronized, and cannot be read");
		return;
	}
	if (rests || f.mode == MODE_SYNCHRONOUS)
		check_marks(&f, &s);
	/* Nor is it one of its moments as long as something is on its way. */
	if (!f.sent && (rests || (f.mode == MODE_SYNCHRONOUS && f.state == COPY_SYNCHRONIZED)))
		check_whole(&f, s.target);
}

static void check(void)
{
	check_source();
	if (world->number)
		check_pair();
}

/* ---- the guest ---- */

static void open_source(void)
{
	source = the_source();
	if (source && disk_open(source, true)) {
		disk_unref(source);
		source = NULL;
	}
}

static void close_source(void)
{
	if (!source)
		return;
	disk_close(source);
	disk_unref(source);
	source = NULL;
}

static void open_or_close(void)
{
	note(source ? " close" : " open");
	if (source)
		close_source();
	else
		open_source();
}

static bool has_room(unsigned first, unsigned count)
{
	struct model *m = &world->model;

	for (unsigned b = first; b < first + count; b++)
		if (m->images[m->now].count[b] > MODEL_CHOICES - 2)
			return false;
	return m->now + 2 < MODEL_WRITES;
}

/* A crash may leave it done or not. */
static void end_write(bool answered)
{
	struct pending *w = &world->pending;

	pair_model_write(&world->model, w->first, w->count, w->stamp, answered, clock_ms());
	w->kind = PENDING_NONE;
}

static void guest_writes(void)
{
	static _Alignas(4096) char bytes[8 * MODEL_BLOCK];
	unsigned first = below(MODEL_BLOCKS - 8), count = 1 + below(8), how = below(6);
	int err;

	if (!source || !has_room(first, count))
		return;
	world->pending = (struct pending){ PENDING_WRITE, first, count, .stamp = 0 };
	if (how)
		world->pending.stamp = pair_model_stamp(&world->model);
	pair_model_fill(bytes, count, world->pending.stamp);
	note(" %s(%u+%u", how ? "write" : "punch", first, count);
	err = how ? disk_write(source, bytes, count * MODEL_BLOCK, first * MODEL_BLOCK,
			       how % 2 ? IO_DIRECT : 0)
		  : disk_zero(source, first * MODEL_BLOCK, count * MODEL_BLOCK,
			      below(2) ? ZERO_PUNCH : ZERO_KEEP);
	end_write(!err);
	note(err ? ")%d" : ")", err);
}

static void guest_flushes(void)
{
	int err = source ? disk_flush(source) : 0;

	note(err ? " flush%d" : " flush", err);
	if (source && !err && world->number)
		HOLDS(!facts().sent, "a flush is answered, and not all is there");
}

static void set_acknowledge(void)
{
	struct pair_settings s = { .has_acknowledge = true, .at_flush = below(3) };
	struct pair_facts was;
	int err;

	if (!world->number)
		return;
	was = facts();
	err = tandem_set_pair(temp.t, world->number, &s, false, &why);
	note(" %s%d", s.at_flush ? "at-flush" : "at-write", err);
	HOLDS(facts().at_flush == (err ? was.at_flush : s.at_flush), "it acknowledges otherwise");
	HOLDS(err || s.at_flush || !facts().sent, "it acknowledges at write, and not all is there");
}

/* Who may write it makes it another disk. */
static void target_is_written(void)
{
	static char bytes[MODEL_BLOCK];
	struct disk *d;
	int err = -EIO;

	if (!world->number)
		return;
	d = temp_disk(facts().target);
	pair_model_fill(bytes, 1, pair_model_stamp(&world->model));
	if (d && !disk_open(d, true)) {
		err = disk_write(d, bytes, sizeof(bytes), below(MODEL_BLOCKS) * MODEL_BLOCK, 0);
		disk_close(d);
	}
	disk_unref(d);
	note(" skew%s", err ? "-" : "");
	HOLDS(err || facts().state == COPY_SKEWED, "its target was written while it is %s",
	      state_name(facts().state));
}

/* ---- faults ---- */

static const char *image_of(bool of_source)
{
	static struct pair_facts f;

	f = facts();
	return of_source ? f.source : f.target;
}

static void break_file(bool of_source)
{
	static const unsigned kinds[] = { FAULT_WRITE, FAULT_FLUSH, FAULT_FULL,
					  FAULT_READ | FAULT_WRITE | FAULT_FLUSH };
	unsigned faults = kinds[below(4)];
	const char *name;
	struct stat st;

	if (!world->number || world->away[0] || facts().first)
		return;
	name = image_of(of_source);
	if (!name[0] || stat(temp_path(name), &st))
		return;
	faulty_file(of_source, temp_path(name), faults);
	*(of_source ? &source_faults : &target_faults) = faults;
	note(" %s=%u", of_source ? "source" : "target", faults);
}

static void accept_source(void)
{
	struct disk *d = the_source();
	int err = d && disk_state(d) == DISK_FAILED
			  ? tandem_accept_disk(temp.t, d, true, false, &why)
			  : -ENOENT;

	if (err != -ENOENT)
		note(" accept%d", err);
	disk_unref(d);
}

static void accept_target(void)
{
	struct disk *d = world->number ? temp_disk(facts().target) : NULL;

	if (d && disk_state(d) == DISK_FAILED)
		note(" accept-target%d", tandem_accept_disk(temp.t, d, true, false, &why));
	disk_unref(d);
}

static void heal(void)
{
	note(" heal");
	faulty_heal();
	source_faults = target_faults = 0;
}

static void hide_target(void)
{
	const char *name;

	if (!world->number || world->away[0] || facts().first)
		return;
	name = image_of(false);
	if (!name[0] || source_faults || target_faults)
		return;
	note(" vanish");
	snprintf(world->away, sizeof(world->away), "%.40s.away", name);
	if (rename(temp_path(name), temp_path(world->away)))
		world->away[0] = '\0';
	temp_rescan();
}

static void show_target(void)
{
	char name[sizeof(world->away)];

	if (!world->away[0])
		return;
	note(" return");
	snprintf(name, sizeof(name), "%.*s", (int)strlen(world->away) - 5, world->away);
	ck_assert_int_eq(rename(temp_path(world->away), temp_path(name)), 0);
	world->away[0] = '\0';
	temp_rescan();
}

/* ---- operations ---- */

/* The source is in the target's image. */
static void take_over(const struct pair_facts *was)
{
	struct model *m = &world->model;
	uint16_t holds[MODEL_BLOCKS];
	unsigned low = m->low;
	int found;

	HOLDS(read_source(holds), "its source cannot be read");
	if (!was->whole && was->state != COPY_SYNCHRONIZED) {
		pair_model_adopt(m, holds);
		return;
	}
	if (was->mode == MODE_ASYNCHRONOUS)
		low = pair_model_at(m, was->sync_time_ms) > low
			      ? pair_model_at(m, was->sync_time_ms)
			      : low;
	else if (was->state == COPY_SYNCHRONIZED || was->state == COPY_UNSYNCHRONIZED)
		low = m->now;
	found = pair_model_find(m, low, holds);
	HOLDS(found >= 0, "it took over what is none of moments %u to %u", low, m->now);
	pair_model_become(m, found);
}

static void follow(enum replica_operation op, const struct pair_facts *was)
{
	struct pair_facts f;

	if (pair_numbered(temp.t, world->number, &f)) {
		world->number = 0;
		world->away[0] = '\0'; /* it is no target any more */
		world->sync_time_ms = 0;
		return;
	}
	world->has_past = world->has_past || f.mode == MODE_ASYNCHRONOUS || f.adaptive;
	if ((op == OP_FAILOVER && !was->back && was->state != COPY_FAILEDOVER) ||
	    op == OP_RESTORE_FROM_REPLICA ||
	    (op == OP_REVERSE_ROLES && (was->state == COPY_FRACTURED || was->state == COPY_SPLIT)))
		take_over(was);
	if (op == OP_SPLIT)
		world->model.low = world->model.now;
}

/* As it was; or what a fault, which it may have found, makes of that. */
static void check_refused(const struct pair_facts *was, bool rested, int err)
{
	bool faulty = source_faults || target_faults || world->away[0];
	struct pair_facts f = facts();

	if (f.state != was->state && rested)
		HOLDS(faulty && (f.state == COPY_BROKEN || f.state == COPY_UNSYNCHRONIZED ||
				 (was->back && f.state == COPY_FAILEDOVER)),
		      "refused with %d (%s), it is %s and was %s", err, why.message,
		      state_name(f.state), state_name(was->state));
	HOLDS((f.mode == was->mode || (was->adaptive && !rested)) && f.adaptive == was->adaptive &&
		      (f.first == was->first || !rested) && f.manual == was->manual &&
		      f.stops_host_io == was->stops_host_io && f.moves == was->moves &&
		      f.at_flush == was->at_flush &&
		      (f.objective_s == was->objective_s || f.mode != was->mode) &&
		      !strcmp(f.source, was->source) && (!strcmp(f.target, was->target) || !rested),
	      "refused with %d (%s), and not what it was: mode %u, was %u; adaptive %d, was %d; "
	      "objective %u, was %u; its keeper %s",
	      err, why.message, f.mode, was->mode, f.adaptive, was->adaptive, f.objective_s,
	      was->objective_s, rested ? "rested" : "was busy");
	HOLDS(faulty || !rested || f.whole == was->whole, "refused with %d (%s), it is %swhole",
	      err, why.message, f.whole ? "" : "not ");
}

static bool is_reset(enum replica_operation op)
{
	return op == OP_RESET_TO_SYNC || op == OP_RESET_TO_ASYNC || op == OP_RESET_TO_ADAPTIVE;
}

static int do_operation(enum replica_operation op, bool force)
{
	bool rested = is_at_rest(NULL);
	struct pair_facts was = facts();
	uint8_t next;
	int err = replica_operation_check(SYNC_MIRROR, op, was.state, was.whole, force, &next,
					  &why);

	if (err || (next == STAYS && !is_reset(op)))
		return err;
	note(" %s%s(%s", enum_name(replica_operations, op), force ? "!" : "",
	     state_name(was.state));
	world->pending = (struct pending){ PENDING_OPERATION, .op = op, .before = was };
	err = tandem_operate_pair(temp.t, world->number, op, was.state, force, false, &why);
	world->pending.kind = PENDING_NONE;
	note(err ? ")%d" : ")", err);
	if (err)
		check_refused(&was, rested, err);
	else
		follow(op, &was);
	return err;
}

static void make(void)
{
	static const enum sync_mode modes[] = { MODE_SYNCHRONOUS, MODE_SYNCHRONOUS,
						MODE_SYNCHRONOUS, MODE_ASYNCHRONOUS,
						MODE_ADAPTIVE };
	char name[32];
	struct pair_request q = {
		.target = name,
		.mode = modes[below(5)],
		.skew_limit = 2 * MARKS_REGION,
		.manual = !below(4),
		.stops_host_io = !below(6),
		.state = below(5) ? 0 : COPY_INITIALIZED,
		.mode_bits = 0600,
	};
	struct pair_facts f;
	struct disk *d = the_source();
	int err = -ENOENT;

	snprintf(name, sizeof(name), "b%u.img", ++world->made);
	world->has_past = world->has_past || q.mode != MODE_SYNCHRONOUS;
	q.at_flush = q.mode == MODE_SYNCHRONOUS && below(2);
	note(" make(%s%s%s%s%s", enum_name(create_modes, q.mode), q.manual ? " manual" : "",
	     q.stops_host_io ? " stops" : "", q.at_flush ? " at-flush" : "",
	     q.state ? " initialized" : "");
	world->pending.kind = PENDING_MAKE;
	if (d)
		err = tandem_mirror(temp.t, d, &q, &f, &why);
	world->pending.kind = PENDING_NONE;
	note(err ? ")%d" : ")", err);
	if (!err)
		world->number = f.number;
	if (!err)
		world->model.low = 0;
	disk_unref(d);
}

static void some_operation(void)
{
	if (!world->number) {
		make();
		return;
	}
	if (below(4))
		settle();
	/* Most are refused by the table, which leads nowhere. */
	for (unsigned i = 0; i < 6; i++) {
		enum replica_operation op = OP_ABORT + below(OP_MAX - OP_ABORT);

		if ((op == OP_DETACH || op == OP_DISSOLVE) && below(3))
			continue;
		if (!do_operation(op, !below(3)))
			return;
	}
}

static void verify(void)
{
	uint32_t job;

	if (!world->number || tandem_verify_pair(temp.t, world->number, false, &job, &why))
		return;
	note(" verify");
	settle();
	HOLDS(!facts().mended, "Verify found that it differed");
}

/* ---- a daemon ---- */

static void resolve(void)
{
	struct pending was = world->pending;
	struct pair_facts f;

	world->pending.kind = PENDING_NONE;
	if (was.kind == PENDING_WRITE) {
		world->pending = was;
		end_write(false);
	} else if (was.kind == PENDING_MAKE) {
		for (uint32_t n = 1; n < 2000 && !world->number; n++)
			if (!pair_numbered(temp.t, n, &f))
				world->number = n;
		world->model.low = 0;
	} else if (was.kind == PENDING_OPERATION) {
		bool gone = pair_numbered(temp.t, world->number, &f);

		if (gone || strcmp(f.source, was.before.source) != 0)
			follow(was.op, &was.before);
	}
}

static void start(void)
{
	HOLDS(!tandem_open(&temp.options, &temp.t, &why), "%s", why.message);
	tandem_settle(temp.t, &why); /* which a disk that is Failed cannot be */
	ck_assert_int_eq(snapshots_start(temp.t), 0);
	if (!world->source)
		world->source = temp_number("a.img");
	/* That it had everything later than recorded is not known any more. */
	world->sync_time_ms = 0;
	resolve();
	pairs_start(temp.t);
	open_source();
}

static void restart(void)
{
	note(" restart");
	heal();
	accept_source();
	accept_target();
	close_source();
	temp_close();
	start();
}

static void pass_time(void)
{
	static const uint64_t spans[] = { SECOND / 100, SECOND, 3 * SECOND, 40 * SECOND };
	uint64_t span = spans[below(4)];

	note(" +%ums", (unsigned)(span / 1000000));
	clock_pass(span);
}

static void event(void)
{
	unsigned n = below(100);

	if (n < 30)
		guest_writes();
	else if (n < 36)
		guest_flushes();
	else if (n < 60)
		some_operation();
	else if (n < 64)
		target_is_written();
	else if (n < 69)
		break_file(n < 66);
	else if (n < 73)
		heal();
	else if (n < 75)
		hide_target();
	else if (n < 78)
		show_target();
	else if (n < 80)
		accept_source();
	else if (n < 82)
		open_or_close();
	else if (n < 83)
		set_acknowledge();
	else if (n < 85)
		verify();
	else if (n < 94)
		pass_time();
	else if (n < 96)
		restart();
	else if (n < 98)
		faulty_die_at(below(12));
	else
		raise(SIGKILL);
}

/* ---- a good end ---- */

static const enum replica_operation onward[COPY_STATE_MAX] = {
	[COPY_INITIALIZED] = OP_ACTIVATE,     [COPY_PREPARED] = OP_ACTIVATE,
	[COPY_INACTIVE] = OP_ACTIVATE,        [COPY_SUSPENDED] = OP_RESUME,
	[COPY_FRACTURED] = OP_RESYNC_REPLICA, [COPY_SPLIT] = OP_RESYNC_REPLICA,
	[COPY_ABORTED] = OP_RESYNC_REPLICA,   [COPY_SKEWED] = OP_RESYNC_REPLICA,
	[COPY_BROKEN] = OP_RESYNC_REPLICA,    [COPY_FAILEDOVER] = OP_FAILBACK,
};

static void go_on(void)
{
	enum copy_state state = facts().state;

	if (onward[state])
		do_operation(onward[state], true);
	clock_pass(SECOND);
	settle();
	check();
}

/* Nothing is wrong any more: it can be what it should be, and gets there. */
static void end_well(void)
{
	note(" END");
	faulty_die_at(-1);
	heal();
	show_target();
	accept_source();
	accept_target();
	if (!source)
		open_source();
	HOLDS(source != NULL, "its source cannot be opened");
	settle();
	for (unsigned i = 0; world->number && i < 150 && facts().state != COPY_SYNCHRONIZED; i++)
		go_on();
	if (world->number)
		HOLDS(facts().state == COPY_SYNCHRONIZED, "it stays %s: %s",
		      state_name(facts().state), why.message);
	clock_pass(61 * SECOND);
	settle();
	check();
	if (world->number && facts().mode == MODE_ASYNCHRONOUS)
		HOLDS(world->model.low == world->model.now, "its target stays behind");
}

static void live(void)
{
	clock_begin(&world->passed);
	start();
	check();
	while (world->events) {
		world->events--;
		event();
		if (below(2))
			settle();
		check();
	}
	end_well();
	close_source();
	temp_close();
	start();
	settle();
	check();
	close_source();
	temp_close();
	world->over = true;
	_exit(0);
}

/* ---- sequences ---- */

static void run_sequence(unsigned n)
{
	memset(world, 0, sizeof(*world));
	world->seed = world->sequence = n;
	world->events = EVENTS;
	pair_model_begin(&world->model);
	temp_tandem_begin();
	temp_make("a.img", MODEL_SIZE);
	while (!world->over) {
		pid_t pid = fork();
		int status;

		if (!pid)
			live();
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status))
			exit(WEXITSTATUS(status)); /* it has said why */
		HOLDS(WIFEXITED(status) || WTERMSIG(status) == SIGKILL, "signal %d",
		      WTERMSIG(status));
		if (WIFSIGNALED(status))
			note(" CRASH");
	}
	unit_remove(temp.dir);
}

static void prepare(void)
{
	setenv("TANDEMFS_IO_URING", "off", 1); /* what it does never fails: see faulty.h */
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	ck_assert(world != MAP_FAILED);
}

/* Each in a process of its own, with a time-out of its own. */
#define PARTS 8

static void run_part(unsigned part)
{
	unsigned count = unit_scaled(SEQUENCES);
	const char *only = getenv("TANDEMFS_SIM_SEED");

	if (only && part == 0)
		run_sequence(atoi(only));
	for (unsigned n = part; !only && n < count; n += PARTS)
		run_sequence(n + 1);
}

#define PART(n)                   \
	START_TEST(sequences_##n) \
	{                         \
		run_part(n);      \
	}                         \
	END_TEST

PART(0)
PART(1)
PART(2)
PART(3)
PART(4)
PART(5)
PART(6)
PART(7)

UNIT_MAIN("simulated mirrors", prepare, NULL, sequences_0, sequences_1, sequences_2, sequences_3,
	  sequences_4, sequences_5, sequences_6, sequences_7)

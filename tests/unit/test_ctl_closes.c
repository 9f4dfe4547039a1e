// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A command that overtakes the close before it, without FUSE: who has the disk open closes it a
 * moment after the command was given.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "close_wait.h"
#include "snapshots.h"
#include "temp_ctl.h"
#include "unit.h"

#define LATE_MS 30

/* ---- who closes late ---- */

struct opened {
	struct disk *d; /* a reference */
	uint64_t generation;
	unsigned ms;
	pthread_t thread;
};

static void close_it(struct opened *o)
{
	if (o->generation)
		moment_close(o->d, o->generation);
	else
		disk_close(o->d);
	disk_unref(o->d);
}

static void *close_after(void *arg)
{
	struct opened *o = arg;

	usleep(o->ms * 1000);
	close_it(o);
	return NULL;
}

static void begin_to_close(struct opened *o, unsigned ms)
{
	o->ms = ms;
	ck_assert_int_eq(pthread_create(&o->thread, NULL, close_after, o), 0);
}

static void join(struct opened *o)
{
	pthread_join(o->thread, NULL);
}

/* "a.img" for writing, "<a.img" for reading; "a.img@one" its moment, "+a.img@one" its overlay. */
static struct opened open_by(const char *what)
{
	struct opened o = { 0 };
	bool written = !strchr("<+", what[0]);
	const char *label = what + (strchr("<+", what[0]) != NULL);
	struct snapshot_facts s;

	if (!strchr(label, '@')) {
		o.d = tandem_disk_labelled(tandem, label);
		ck_assert_msg(o.d && !disk_open(o.d, written), "%s", what);
		return o;
	}
	ck_assert_msg(!snapshot_labelled(tandem, label, &s), "%s", label);
	if (what[0] == '+') {
		o.d = snapshot_overlay(tandem, s.number);
		ck_assert_msg(o.d && !disk_open(o.d, true), "%s", what);
		return o;
	}
	o.d = tandem_disk_numbered(tandem, s.disk);
	o.generation = s.generation;
	ck_assert_msg(!moment_open(o.d, o.generation), "%s", what);
	return o;
}

/* Refused as long as it is open; done if it is closed a moment later, and so is its plan. */
static void overtakes(const char *path, const char *text, const char *what, const char *says)
{
	struct opened o = open_by(what);
	char plan[200];

	ck_assert_int_eq(command(path, text), -EBUSY);
	expect(says);
	close_it(&o);
	snprintf(plan, sizeof(plan), "Plan %s", text);
	for (int i = 0; i < 2; i++) {
		const char *words = i ? text : plan;

		o = open_by(what);
		begin_to_close(&o, LATE_MS);
		ck_assert_msg(!command(path, words), "%s after a close: %s", words, out.bytes);
		join(&o);
	}
}

/* ---- one disk ---- */

START_TEST(of_a_disk)
{
	make("a.img", 1 << 20);
	make("b.img", 1 << 20);
	start();
	overtakes("disks/a.img/control", "Resize Size=64K Force", "a.img",
		  "\nMessage: the disk is open; only a closed one can shrink\n");
	overtakes("disks/a.img/control", "Set ReadOnly=true", "a.img",
		  "\nMessage: the disk is open\nMessageID: tandemfs.Busy\n");
	overtakes("control", "DeleteDisk Name=a.img", "<a.img",
		  "\nMessage: a.img is open (1)\nMessageID: tandemfs.Busy\n");
	ck_assert_int_eq(command("control", "CreateDisk Name=p.vhd Size=4M"), 0);
	overtakes("control", "CreateDisk Name=c.vhd Parent=p.vhd", "p.vhd",
		  "\nMessage: p.vhd is open for writing\n");
	ck_assert_str_eq(list("disks"), "b.img/ c.vhd/ p.vhd/ ");
}
END_TEST

START_TEST(of_a_pool)
{
	char path[200], text[300];

	snprintf(path, sizeof(path), "%s/pool", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	make("pool/x.img", 1 << 20);
	start();
	snprintf(text, sizeof(text), "AddPool Name=p Dir=%s", path);
	ck_assert_int_eq(command("control", text), 0);
	overtakes("control", "RemovePool Name=p", "p:x.img", "\nMessage: p:x.img is open (1)\n");
	ck_assert_str_eq(list("pools"), "");
}
END_TEST

START_TEST(of_a_name)
{
	struct why why = { 0 };
	struct opened o;
	struct disk *d;

	make("a.img", 1 << 20);
	make("b.img", 1 << 20);
	start();
	d = tandem_disk_labelled(tandem, "a.img");
	o = open_by("a.img");
	ck_assert_int_eq(tandem_rename_disk(tandem, d, NULL, "c.img", 0, &why), -EBUSY);
	ck_assert_str_eq(why.message, "a.img is open (1)");
	begin_to_close(&o, LATE_MS);
	ck_assert_int_eq(tandem_rename_disk(tandem, d, NULL, "c.img", 0, NULL), 0);
	join(&o);
	o = open_by("c.img");
	begin_to_close(&o, LATE_MS);
	ck_assert_int_eq(tandem_delete_patiently(tandem, d, NULL, false), 0);
	join(&o);
	disk_unref(d);
	ck_assert_str_eq(list("disks"), "b.img/ ");
}
END_TEST

/* ---- its past ---- */

static void write_to(const char *label)
{
	struct opened o = open_by(label);

	ck_assert_int_eq(disk_write(o.d, "x", 1, 0, 0), 0);
	close_it(&o);
}

START_TEST(of_a_restore)
{
	make("a.img", 1 << 20);
	start();
	ck_assert_int_eq(command("disks/a.img/control", "snapshot one"), 0);
	write_to("a.img");
	overtakes("disks/a.img/control", "RestoreTo At=one", "<a.img",
		  "\nMessage: a.img is open (1): who has it open would see it change\n");
}
END_TEST

START_TEST(of_its_past)
{
	make("a.img", 1 << 20);
	start();
	ck_assert_int_eq(command("disks/a.img/control", "snapshot one"), 0);
	ck_assert_int_eq(command("disks/a.img/control", "snapshot two"), 0);
	overtakes("replicas/a.img@one/control", "ResyncReplica", "a.img@one",
		  "\nMessage: a.img@one is open\n");
	overtakes("replicas/a.img@one/control", "Deactivate", "a.img@one",
		  "\nMessage: a.img@one is open\n");
	ck_assert_int_eq(command("replicas/a.img@one/control", "Activate ReadOnly=false"), 0);
	overtakes("replicas/a.img@one/control", "Activate ReadOnly=true", "+a.img@one",
		  " is open (1)\n");
	overtakes("disks/a.img/control", "unsnapshot two", "a.img@two",
		  "\nMessage: a.img@two is open\n");
	ck_assert_int_eq(command("replicas/a.img@one/control", "Activate ReadOnly=false"), 0);
	overtakes("control", "DeleteDisk Name=a.img Force", "+a.img@one",
		  "\nMessage: a.img is open (1)\n");
	ck_assert_str_eq(list("disks"), "");
}
END_TEST

static void count_opener(struct disk *d, int more)
{
	pthread_mutex_lock(&d->lock);
	d->openers += more;
	pthread_mutex_unlock(&d->lock);
}

static void *end_close(void *arg)
{
	usleep(LATE_MS * 1000);
	count_opener(arg, -1);
	closes_tell(tandem);
	return NULL;
}

/* What is written to a snapshot keeps its disk open, and lets go of that before it is closed itself. */
START_TEST(of_an_overlay)
{
	struct snapshot_facts s;
	struct disk *over;
	pthread_t thread;

	make("a.img", 1 << 20);
	start();
	ck_assert_int_eq(command("disks/a.img/control", "snapshot one"), 0);
	ck_assert_int_eq(command("replicas/a.img@one/control", "Activate ReadOnly=false"), 0);
	ck_assert_int_eq(snapshot_labelled(tandem, "a.img@one", &s), 0);
	over = snapshot_overlay(tandem, s.number);
	count_opener(over, 1);
	ck_assert_int_eq(command("control", "DeleteDisk Name=a.img Force"), -EBUSY);
	expect("\nMessage: the snapshot one is being made\n");
	ck_assert_int_eq(pthread_create(&thread, NULL, end_close, over), 0);
	ck_assert_int_eq(command("control", "DeleteDisk Name=a.img Force"), 0);
	pthread_join(thread, NULL);
	disk_unref(over);
}
END_TEST

/* ---- mirrors ---- */

static bool is_synchronized(void *replica)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/CopyState", (char *)replica);
	return !strcmp(cat(path), "Synchronized\n");
}

static void await_synchronized(char *replica)
{
	ck_assert(unit_until(is_synchronized, replica, 20));
}

START_TEST(of_a_mirror)
{
	static char m[] = "replicas/m", control[] = "replicas/m/control";

	make("a.img", 1 << 20);
	make("b.img", 1 << 20);
	start();
	overtakes(
		"disks/a.img/control",
		"CreateReplica SyncType=Mirror TargetStorageVolume=b.img TargetElementSupplier=1 ElementName=m",
		"<b.img", "\nMessage: b.img is open\n");
	await_synchronized(m);
	overtakes(control, "ReverseRoles", "<b.img", "\nMessage: b.img is open\n");
	overtakes(control, "Failover", "<a.img", "\nMessage: a.img is open\n");
	ck_assert_int_eq(command(control, "Failback"), 0);
	await_synchronized(m);
	ck_assert_int_eq(command(control, "Split"), 0);
	write_to("b.img");
	overtakes(control, "RestoreFromReplica", "<b.img",
		  "\nMessage: b.img is open, and a.img is not what it is now\n");
	await_synchronized(m);
	ck_assert_int_eq(command(control, "Split"), 0);
	overtakes(control, "ResyncReplica", "a.img", "\nMessage: a.img is open for writing\n");
}
END_TEST

/* ---- groups ---- */

START_TEST(of_a_group)
{
	static char control[] = "groups/db/control", m[] = "replicas/m";

	make("a.img", 1 << 20);
	make("b.img", 1 << 20);
	start();
	ck_assert_int_eq(command("control", "CreateGroup Name=db"), 0);
	ck_assert_int_eq(command(control, "AddDisk Name=a.img"), 0);
	ck_assert_int_eq(command(control, "AddDisk Name=b.img"), 0);
	ck_assert_int_eq(command(control, "snapshot one"), 0);
	write_to("b.img");
	overtakes(control, "RestoreTo At=one", "<b.img", "\nMessage: b.img is open (1)");
	overtakes(control, "unsnapshot one", "b.img@one", "\nMessage: b.img@one is open\n");
	ck_assert_int_eq(command("disks/a.img/control",
				 "CreateReplica SyncType=Mirror TargetStorageVolume=t.img "
				 "ElementName=m"),
			 0);
	await_synchronized(m);
	ck_assert_int_eq(command(control, "AddSyncPair Name=m"), 0);
	overtakes(control, "Failover", "<t.img", "\nMessage: m: t.img is open\n");
	ck_assert_str_eq(cat("replicas/m/CopyState"), "Failedover\n");
}
END_TEST

/* ---- how long ---- */

static uint64_t refused_after(const char *path, const char *text)
{
	uint64_t began = unit_now_ms();

	ck_assert_int_eq(command(path, text), -EBUSY);
	return unit_now_ms() - began;
}

/* One that is under way is waited for for longer; one that does not come is not. */
START_TEST(how_long)
{
	struct opened o;
	uint64_t took;

	make("a.img", 1 << 20);
	start();
	o = open_by("a.img");
	took = refused_after("control", "DeleteDisk Name=a.img");
	ck_assert_msg(took >= 250 && took < 1500 * unit_patience(), "%u ms", (unsigned)took);
	/* Other refusals do not wait. */
	took = refused_after("disks/a.img/control", "Accept Force");
	ck_assert_msg(took < 200 * unit_patience(), "%u ms", (unsigned)took);
	pthread_mutex_lock(&o.d->lock);
	o.d->closing = true;
	pthread_mutex_unlock(&o.d->lock);
	begin_to_close(&o, 700);
	ck_assert_int_eq(command("control", "DeleteDisk Name=a.img"), 0);
	join(&o);
	/* However often it was tried, it was one command. */
	cat("events");
	ck_assert_ptr_null(
		strstr(strstr(strstr(out.bytes, "CommandRefused") + 1, "CommandRefused") + 1,
		       "CommandRefused"));
}
END_TEST

static atomic_bool is_refused;

static void *delete (void *arg)
{
	struct text ignored = { 0 };
	const char text[] = "DeleteDisk Name=a.img";

	if (node_command(ctl, *(struct node *)arg, text, strlen(text), &root, &ignored, NULL))
		atomic_store(&is_refused, true);
	text_free(&ignored);
	return NULL;
}

START_TEST(nobody_else_waits)
{
	struct node control;
	struct opened o;
	pthread_t thread;

	make("a.img", 1 << 20);
	start();
	o = open_by("a.img");
	control = at("control");
	ck_assert_int_eq(pthread_create(&thread, NULL, delete, &control), 0);
	usleep(30000);
	ck_assert_int_eq(command("control", "Rescan"), 0);
	ck_assert_int_eq(command("disks/a.img/control", "snapshot x"), 0);
	ck_assert(!atomic_load(&is_refused) || unit_patience() > 1);
	pthread_join(thread, NULL);
	ck_assert(atomic_load(&is_refused));
	close_it(&o);
}
END_TEST

UNIT_MAIN("ctl_closes", setup, teardown, of_an_overlay, of_a_disk, of_a_pool, of_a_name,
	  of_a_restore, of_its_past, of_a_mirror, of_a_group, how_long, nobody_else_waits)

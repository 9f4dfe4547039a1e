// SPDX-License-Identifier: GPL-2.0-or-later
/* What an administrator does with snapshots: all of it, or nothing and a reason. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "past_disk.h"
#include "unit.h"

#define SIZE (64 * PAST_BLOCK)

static struct past_disk p, other;
static struct why why;

static void begin(void)
{
	temp_open();
	ck_assert_int_eq(snapshots_start(temp.t), 0);
}

static void setup(void)
{
	temp_tandem_begin();
	temp.options.block_size = PAST_BLOCK;
	begin();
	past_disk_begin(&p, "a.img", SIZE);
	past_disk_begin(&other, "b.img", SIZE);
	past_write(&p, 0, SIZE, 1);
	past_write(&other, 0, SIZE, 1);
}

static void teardown(void)
{
	past_disk_end(&p);
	past_disk_end(&other);
	temp_tandem_end();
}

/* With a restart between. */
static void again(void)
{
	past_disk_let_go(&p);
	past_disk_let_go(&other);
	temp_close();
	begin();
	past_disk_again(&p);
	past_disk_again(&other);
}

static int take(const char *name)
{
	return tandem_snapshot(temp.t, &p.d, 1, name, false, NULL, &why);
}

static struct snapshot_facts facts_of(uint32_t number)
{
	struct snapshot_facts f;

	ck_assert_int_eq(snapshot_numbered(temp.t, number, &f), 0);
	return f;
}

static size_t moments(struct past_disk *q)
{
	struct moment_record *list;
	size_t count;

	if (!atomic_load(&q->d->history))
		return 0;
	ck_assert_int_eq(history_moments(atomic_load(&q->d->history), &list, &count), 0);
	free(list);
	return count;
}

static bool count_one(void *arg, const struct snapshot_facts *f)
{
	char label[sizeof(f->label)];
	struct disk *d = tandem_disk_numbered(temp.t, f->disk);

	snprintf(label, sizeof(label), "%s@%s", d->label, f->name);
	disk_unref(d);
	ck_assert_str_eq(f->label, label);
	++*(unsigned *)arg;
	return true;
}

static unsigned listed(struct disk *d)
{
	unsigned count = 0;

	snapshots_list(temp.t, d, count_one, &count);
	return count;
}

START_TEST(makes)
{
	uint64_t version = snapshots_version(temp.t);
	struct snapshot_facts f, found;
	struct past_moment *m;

	m = past_snapshot(&p, "one");
	f = facts_of(m->number);
	ck_assert_str_eq(f.label, "a.img@one");
	ck_assert_uint_eq(f.state, SNAPSHOT_SYNCHRONIZED);
	ck_assert_uint_eq(f.size, SIZE);
	ck_assert_uint_gt(f.time_ms, 1600000000000u);
	ck_assert_str_eq(f.hold, "");
	ck_assert_uint_gt(snapshots_version(temp.t), version);
	ck_assert_uint_eq(temp_events("StateChanged replicas/a.img@one From=- To=Synchronized"), 1);
	ck_assert_int_eq(snapshot_labelled(temp.t, "a.img@one", &found), 0);
	ck_assert_uint_eq(found.number, f.number);
	ck_assert_int_eq(snapshot_named(temp.t, p.d, "one", &found), 0);
	ck_assert_int_eq(snapshot_named(temp.t, other.d, "one", &found), -ENOENT);
	ck_assert_int_eq(snapshot_labelled(temp.t, "a.img@two", &found), -ENOENT);
	ck_assert_int_eq(snapshot_labelled(temp.t, "one", &found), -ENOENT);
	past_write(&p, 0, SIZE / 2, 2);
	past_check_all(&p);
	ck_assert_int_eq(take("one"), -EEXIST);
	ck_assert_int_eq(tandem_snapshot(temp.t, &other.d, 1, "one", false, NULL, &why), 0);
	ck_assert_uint_eq(listed(NULL), 2);
	ck_assert_uint_eq(listed(p.d), 1);
}
END_TEST

START_TEST(names)
{
	static const char *const bad[] = { ".a",  "-a",  "a/b",   "a@b", "a:b",  "a..b",
					   "now", "NOW", "Force", "g12", "a\nb", "\xff" };
	static const char *const good[] = { "a", "g", "g1x", "a b", "\xc3\xa4", "1" };
	char longest[202];

	memset(longest, 'x', 201);
	longest[201] = '\0';
	ck_assert_int_eq(take(longest), -EINVAL);
	for (size_t i = 0; i < UNIT_LENGTH(bad); i++)
		ck_assert_msg(take(bad[i]) == -EINVAL, "%s", bad[i]);
	ck_assert_uint_eq(listed(NULL) + moments(&p), 0);
	for (size_t i = 0; i < UNIT_LENGTH(good); i++)
		ck_assert_msg(take(good[i]) == 0, "%s: %s", good[i], why.message);
	ck_assert_int_eq(take(longest + 1), 0);
}
END_TEST

START_TEST(made_up)
{
	static const char *const free_ones[] = { "a.img-1", "a.img-2", "a.img-4", "a.img-5" };

	ck_assert_int_eq(take("a.img-3"), 0);
	ck_assert_int_eq(take("a.img-x"), 0);
	ck_assert_int_eq(take("a.img-07"), 0);
	for (size_t i = 0; i < UNIT_LENGTH(free_ones); i++)
		ck_assert_str_eq(past_snapshot(&p, i % 2 ? "" : NULL)->name, free_ones[i]);
	past_delete(&p, 1);
	ck_assert_str_eq(past_snapshot(&p, NULL)->name, "a.img-2");
}
END_TEST

START_TEST(groups)
{
	struct disk *both[] = { p.d, other.d };
	struct snapshot_facts f[2];

	ck_assert_int_eq(tandem_snapshot(temp.t, &other.d, 1, "taken", false, NULL, &why), 0);
	ck_assert_int_eq(tandem_snapshot(temp.t, both, 2, "taken", false, NULL, &why), -EEXIST);
	ck_assert_ptr_nonnull(strstr(why.message, "b.img"));
	ck_assert_uint_eq(listed(p.d) + moments(&p), 0);
	ck_assert_int_eq(tandem_snapshot(temp.t, both, 2, "all", true, NULL, &why), 0);
	ck_assert_uint_eq(listed(p.d) + moments(&p), 0);
	ck_assert_int_eq(tandem_snapshot(temp.t, both, 2, "all", false, f, &why), 0);
	past_keep(&p, &f[0]);
	past_keep(&other, &f[1]);
	ck_assert_uint_eq(f[0].generation, f[1].generation);
	ck_assert_str_eq(f[1].label, "b.img@all");
	past_write(&p, 0, SIZE, 2);
	past_write(&other, 0, SIZE, 3);
	past_check_all(&p);
	past_check_all(&other);
	ck_assert_int_eq(tandem_snapshot(temp.t, both, 0, "none", false, NULL, &why), -EINVAL);
}
END_TEST

START_TEST(only_of_what_is_served)
{
	struct disk *both[] = { other.d, p.d };

	disk_set_state(p.d, DISK_CHANGED, "for a test");
	ck_assert_int_eq(tandem_snapshot(temp.t, both, 2, "x", false, NULL, &why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "Changed"));
	ck_assert_uint_eq(listed(NULL) + moments(&other), 0);
	disk_set_state(p.d, DISK_READ_ONLY, "");
	ck_assert_int_eq(tandem_snapshot(temp.t, both, 2, "x", false, NULL, &why), 0);
}
END_TEST

START_TEST(holds)
{
	uint32_t number = past_snapshot(&p, "one")->number;

	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, "backup", true, &why), 0);
	ck_assert_str_eq(facts_of(number).hold, "");
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, "", false, &why), -EINVAL);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, "a\nb", false, &why), -EINVAL);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, "backup", false, &why), 0);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, "other", false, &why), -EBUSY);
	again();
	ck_assert_str_eq(facts_of(number).hold, "backup");
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, number, true, false, &why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why.message, "backup"));
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, true, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, NULL, false, &why), 0);
	past_check_all(&p);
	past_delete(&p, 0);
	ck_assert_int_eq(tandem_hold_snapshot(temp.t, number, "x", false, &why), -ENOENT);
}
END_TEST

START_TEST(renews)
{
	struct past_moment *m = past_snapshot(&p, "one");
	uint32_t number = m->number;

	past_write(&p, 0, SIZE, 2);
	ck_assert_int_eq(moment_open(p.d, m->generation), 0);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, false, &why), -EBUSY);
	moment_close(p.d, m->generation);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, true, &why), 0);
	ck_assert_uint_eq(facts_of(number).generation, m->generation);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, false, &why), 0);
	ck_assert_uint_gt(facts_of(number).generation, m->generation);
	past_forget(&p, 0);
	{
		struct snapshot_facts f = facts_of(number);

		past_keep(&p, &f);
	}
	ck_assert_uint_eq(moments(&p), 1);
	past_write(&p, 0, PAST_BLOCK, 3);
	again();
	past_check_all(&p);
	ck_assert_uint_eq(facts_of(number).number, number);
	ck_assert_uint_eq(listed(NULL), 1);
	past_delete(&p, 0);
	ck_assert(past_is_empty(&p));
}
END_TEST

START_TEST(deactivates)
{
	uint32_t number = past_snapshot(&p, "one")->number;
	uint64_t time = facts_of(number).time_ms;

	past_write(&p, 0, SIZE, 2);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, false, true, &why), 0);
	ck_assert_uint_eq(facts_of(number).state, SNAPSHOT_SYNCHRONIZED);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, false, false, &why), 0);
	ck_assert_uint_eq(temp_events("replicas/a.img@one From=Synchronized To=Inactive"), 1);
	past_forget(&p, 0);
	ck_assert(past_is_empty(&p));
	again();
	ck_assert_uint_eq(facts_of(number).state, SNAPSHOT_INACTIVE);
	ck_assert_uint_eq(facts_of(number).generation, 0);
	ck_assert_uint_eq(facts_of(number).time_ms, time);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, false, false, &why), -EBUSY);
	ck_assert_int_eq(tandem_renew_snapshot(temp.t, number, false, false, &why), 0);
	ck_assert_uint_eq(facts_of(number).state, SNAPSHOT_SYNCHRONIZED);
	ck_assert_uint_eq(temp_events("replicas/a.img@one From=Inactive To=Synchronized"), 1);
	ck_assert_int_eq(tandem_deactivate_snapshot(temp.t, number, false, false, &why), 0);
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, number, false, false, &why), 0);
	ck_assert_uint_eq(listed(NULL), 0);
}
END_TEST

/* Two names of one moment: it goes with the second. */
START_TEST(names_a_moment)
{
	uint64_t g = past_snapshot(&p, "one")->generation;
	struct snapshot_facts f;

	past_write(&p, 0, SIZE, 2);
	ck_assert_int_eq(tandem_snapshot_at(temp.t, p.d, "two", g + 1, false, &f, &why), -ENOENT);
	ck_assert_int_eq(tandem_snapshot_at(temp.t, p.d, "one", g, false, &f, &why), -EEXIST);
	ck_assert_int_eq(tandem_snapshot_at(temp.t, p.d, "two", g, true, &f, &why), 0);
	ck_assert_uint_eq(listed(NULL), 1);
	ck_assert_int_eq(tandem_snapshot_at(temp.t, p.d, "two", g, false, &f, &why), 0);
	ck_assert_uint_eq(f.generation, g);
	ck_assert_uint_eq(moments(&p), 1);
	again();
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, p.kept[0].number, false, false, &why), 0);
	past_check_all(&p);
	ck_assert_int_eq(tandem_delete_snapshot(temp.t, f.number, false, false, &why), 0);
	past_forget(&p, 0);
	ck_assert(past_is_empty(&p));
	ck_assert_int_eq(moment_open(p.d, g), -ENOENT);
}
END_TEST

/* ---- what a guest pays ---- */

/* Of the image of p, by whom. */
static _Atomic unsigned flushed_here, flushed_elsewhere;
static pthread_t tester;
static ino_t image;

int fdatasync(int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
	struct stat st;

	if (image && !fstat(fd, &st) && st.st_ino == image)
		atomic_fetch_add(pthread_equal(pthread_self(), tester) ? &flushed_here
								       : &flushed_elsewhere,
				 1);
	return real(fd);
}

static void *writes(void *arg)
{
	_Atomic bool *goes_on = arg;
	char byte = 0;

	for (uint64_t n = 0; atomic_load(goes_on); n++)
		ck_assert_int_eq(disk_write(p.d, &byte, 1, n * 7919 % SIZE, 0), 0);
	return NULL;
}

/* Under load, whatever waits to be written. */
START_TEST(flushes_the_image_once_at_most)
{
	unsigned count = 20 + unit_scaled(100);
	_Atomic bool goes_on = true;
	pthread_t writer;
	struct stat st;

	ck_assert_int_eq(stat(temp_path("a.img"), &st), 0);
	ck_assert_int_eq(take(NULL), 0);
	past_open(&p);
	tester = pthread_self();
	image = st.st_ino;
	ck_assert_int_eq(pthread_create(&writer, NULL, writes, &goes_on), 0);
	for (unsigned i = 0; i < count; i++) {
		unsigned before = atomic_load(&flushed_here);

		ck_assert_int_eq(take(NULL), 0);
		ck_assert_uint_le(atomic_load(&flushed_here) - before, 1);
	}
	/* The settler has its own; and still. */
	ck_assert_uint_le(atomic_load(&flushed_here) + atomic_load(&flushed_elsewhere), count);
	atomic_store(&goes_on, false);
	pthread_join(writer, NULL);
	image = 0;
	past_close(&p);
}
END_TEST

START_TEST(many)
{
	unsigned count = unit_scaled(500);
	uint64_t began = unit_now_ms();

	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(take(NULL), 0);
	ck_assert_msg(unit_now_ms() - began < 20ull * (count + 100) * unit_patience(),
		      "%u took %llu ms", count, (unsigned long long)(unit_now_ms() - began));
	ck_assert_uint_eq(listed(p.d), count);
	again();
	ck_assert_uint_eq(listed(p.d), count);
	ck_assert_uint_eq(snapshots_count(p.d), count);
	ck_assert_int_eq(take("a.img-1"), -EEXIST);
}
END_TEST

UNIT_MAIN("snapshots", setup, teardown, makes, names, made_up, groups, only_of_what_is_served,
	  holds, renews, deactivates, names_a_moment, many, flushes_the_image_once_at_most)

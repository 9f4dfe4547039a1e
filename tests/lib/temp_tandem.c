// SPDX-License-Identifier: GPL-2.0-or-later
#include "temp_tandem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw.h"
#include "unit.h"

struct temp_tandem temp;

void temp_tandem_begin(void)
{
	memset(&temp, 0, sizeof(temp));
	snprintf(temp.dir, sizeof(temp.dir), "%s", unit_dir());
	temp.options = (struct tandem_options){ .disk_dir = temp.dir, .requests_per_disk = 16 };
}

void temp_tandem_end(void)
{
	temp_close();
}

void temp_open(void)
{
	struct why why = { 0 };

	ck_assert_msg(!tandem_open(&temp.options, &temp.t, &why), "%s", why.message);
	/* A stop is clean only after everything was in order. What can only be read may lack writes. */
	if (tandem_settle(temp.t, &why))
		ck_assert_msg(temp.options.read_only, "%s", why.message);
}

void temp_close(void)
{
	tandem_close(temp.t);
	temp.t = NULL;
}

void temp_rescan(void)
{
	struct why why = { 0 };

	ck_assert_msg(!tandem_rescan(temp.t, false, &why), "%s", why.message);
	temp_check_tables();
}

void temp_settle(struct disk *d)
{
	pthread_mutex_lock(&temp.t->discovery);
	scan_settle(temp.t, d);
	pthread_mutex_unlock(&temp.t->discovery);
}

int temp_refused(struct why *why)
{
	struct tandem *t = NULL;
	int err = tandem_open(&temp.options, &t, why);

	ck_assert_int_ne(err, 0);
	ck_assert_ptr_null(t);
	ck_assert_str_ne(why->message, "");
	return err;
}

void temp_open_and_crash(void)
{
	struct why why = { 0 };
	struct tandem *t;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(tandem_open(&temp.options, &t, &why) ? 1 : 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* ---- files ---- */

const char *temp_path(const char *name)
{
	static char paths[4][PATH_MAX + NAME_MAX + 2];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", temp.dir, name);
	return path;
}

void temp_make(const char *name, uint64_t size)
{
	int fd = open(temp_path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

void temp_scribble(const char *name)
{
	struct timespec times[2] = { { 0, UTIME_OMIT }, { 0 } };
	int fd = open(temp_path(name), O_WRONLY | O_CLOEXEC);
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	/* A file system's clock may tick more slowly than we write. */
	times[1] = st.st_mtim;
	times[1].tv_sec++;
	ck_assert_int_eq(futimens(fd, times), 0);
	close(fd);
}

/* ---- disks ---- */

struct disk *temp_disk(const char *label)
{
	return tandem_disk_labelled(temp.t, label);
}

const char *temp_state(const char *label)
{
	struct disk *d = temp_disk(label);
	const char *name = d ? disk_state_name(disk_state(d)) : "";

	disk_unref(d);
	return name;
}

const char *temp_reason(const char *label)
{
	static struct disk_facts facts;
	struct disk *d = temp_disk(label);

	memset(&facts, 0, sizeof(facts));
	if (d)
		disk_facts(d, &facts);
	disk_unref(d);
	return facts.reason;
}

uint32_t temp_number(const char *label)
{
	struct disk *d = temp_disk(label);
	uint32_t number;

	ck_assert_msg(d != NULL, "there is no disk %s", label);
	number = d->number;
	disk_unref(d);
	return number;
}

size_t temp_count(void)
{
	size_t count;
	struct disk **disks = tandem_disks(temp.t, &count);

	disks_free(disks, count);
	return count;
}

void temp_check_tables(void)
{
	struct tandem *t = temp.t;

	pthread_rwlock_rdlock(&t->table);
	for (size_t i = 0; i < t->disk_count; i++) {
		const struct disk *d = t->by_label[i], *n = t->by_number[i];

		ck_assert_msg(!i || strcmp(t->by_label[i - 1]->label, d->label) < 0,
			      "%s is not after %s", d->label, t->by_label[i - 1]->label);
		ck_assert_msg(!i || t->by_number[i - 1]->number < n->number,
			      "%s and %s have the numbers %u and %u", t->by_number[i - 1]->label,
			      n->label, t->by_number[i - 1]->number, n->number);
		for (size_t k = 0; k < i && i < 64; k++)
			ck_assert_msg(memcmp(t->by_label[k]->id, d->id, sizeof(d->id)) != 0,
				      "%s and %s have one id", t->by_label[k]->label, d->label);
	}
	pthread_rwlock_unlock(&t->table);
}

/* ---- events ---- */

static unsigned count_lines(struct events *e, uint64_t after, const char *text)
{
	uint64_t last;
	size_t len;
	char *lines = events_after(e, after, 0, &len, &last), *save;
	unsigned n = 0;

	for (char *l = lines ? strtok_r(lines, "\n", &save) : NULL; l;
	     l = strtok_r(NULL, "\n", &save))
		n += strstr(l, text) != NULL;
	free(lines);
	return n;
}

unsigned temp_events(const char *text)
{
	return count_lines(temp.t->events, temp.seen, text);
}

void temp_forget(void)
{
	temp.seen = events_last(temp.t->events);
}

static bool there_is(void *text)
{
	return temp_events(text) > 0;
}

bool temp_event_comes(const char *text)
{
	return unit_until(there_is, (void *)text, 10);
}

/* ---- bare ---- */

struct tandem *bare_tandem(void)
{
	struct tandem *t = calloc(1, sizeof(*t));

	t->requests_per_disk = 16;
	t->lock_fd = -1;
	t->state_dirfd = open(unit_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(events_open(t->state_dirfd, &t->events), 0);
	ck_assert_int_eq(watch_new(t, &t->watch), 0);
	pthread_mutex_init(&t->discovery, NULL);
	pthread_mutex_init(&t->closes_lock, NULL);
	pthread_mutex_init(&t->settings_lock, NULL);
	pthread_cond_init(&t->closed, NULL);
	pthread_rwlock_init(&t->table, NULL);
	return t;
}

void bare_tandem_free(struct tandem *t)
{
	tandem_close(t);
}

struct disk *bare_disk(struct tandem *t, struct file *file)
{
	const uint8_t id[16] = { 1 };
	char reason[IMAGE_REASON];
	struct image_around around = { 0 };
	struct image *img;
	struct pool *p;
	struct disk *d;

	ck_assert_int_eq(image_open(file, &raw_format, &around, &img, reason), 0);
	ck_assert_int_eq(pool_new(0, "", "/nowhere", &p), 0);
	ck_assert_int_eq(disk_new(t, p, "a.img", 1, id, img, &d), 0);
	pool_unref(p);
	d->state = DISK_READY;
	d->listed = true;
	return d;
}

unsigned bare_events(struct tandem *t, const char *text)
{
	return count_lines(t->events, 0, text);
}

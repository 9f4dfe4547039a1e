// SPDX-License-Identifier: GPL-2.0-or-later
#include "cut_disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define IN_BLOCK (CUT_BLOCK / CUT_SECTOR)

struct cut_disks *cut;
struct disk *cut_open[CUT_DISKS];

static const char *const labels[CUT_DISKS] = { "a.img", "b.img" };
static uint64_t *seed;
static struct why why;

void cut_begin(void)
{
	cut = power_cut_memory(sizeof(*cut));
	setenv("TANDEMFS_IO_URING", "off", 1);
}

void cut_seed(uint64_t *from)
{
	seed = from;
}

unsigned cut_below(unsigned bound)
{
	return unit_below(seed, bound);
}

void cut_make(void)
{
	memset(cut, 0, sizeof(*cut));
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		int fd = open(temp_path(labels[i]), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		if (fd < 0 || ftruncate(fd, CUT_SIZE) || close(fd))
			power_cut_wrong("no image");
	}
}

void cut_start(void)
{
	temp.options.block_size = CUT_BLOCK;
	if (tandem_open(&temp.options, &temp.t, &why))
		power_cut_wrong("it does not start: %s", why.message);
	tandem_settle(temp.t, &why);
	if (snapshots_start(temp.t))
		power_cut_wrong("snapshots do not start");
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		cut_open[i] = temp_disk(labels[i]);
		if (!cut_open[i] || disk_open(cut_open[i], true))
			power_cut_wrong("%s does not open", labels[i]);
	}
}

void cut_stop(void)
{
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		disk_close(cut_open[i]);
		disk_unref(cut_open[i]);
	}
	tandem_close(temp.t);
}

void cut_made(void)
{
	for (unsigned n = 0; n < cut->count; n++)
		cut->taken[n].began = cut->taken[n].ended = 0;
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		struct cut_content *c = &cut->of[i];

		for (unsigned n = 0; n <= c->count; n++)
			c->began[n] = 0;
		c->floors = 1;
		c->floor[0].has = c->count;
		c->floor[0].ended = 0;
	}
}

/* ---- who lives ---- */

uint16_t *cut_next(struct cut_content *c)
{
	unsigned n = c->count + 1;

	if (n == CUT_IMAGES)
		return NULL;
	memcpy(c->images[n], c->images[n - 1], sizeof(c->images[n]));
	c->began[n] = power_cut_now();
	c->count = n;
	return c->images[n];
}

void cut_take_back(struct cut_content *c)
{
	c->count--;
}

void cut_reached(struct cut_content *c, unsigned image)
{
	unsigned n = c->floors;

	if (n == CUT_FLOORS)
		return;
	c->floor[n].has = image;
	c->floor[n].ended = power_cut_now();
	c->floors = n + 1;
}

static void fill(char *buf, unsigned sectors, uint16_t stamp)
{
	for (size_t at = 0; at < sectors * CUT_SECTOR; at += sizeof(stamp))
		memcpy(buf + at, &stamp, sizeof(stamp));
}

/* Of whole blocks, or of any sectors. */
static void choose(unsigned *first, unsigned *count)
{
	unsigned most;

	*first = cut_below(CUT_SECTORS);
	*count = 1 + cut_below(3 * IN_BLOCK);
	if (cut_below(2)) {
		*first -= *first % IN_BLOCK;
		*count = IN_BLOCK * (1 + cut_below(cut_below(4) ? 3 : CUT_SECTORS / IN_BLOCK));
	}
	most = CUT_SECTORS - *first;
	*count = *count < most ? *count : most;
}

void cut_write(struct disk *d, struct cut_content *c)
{
	static _Alignas(4096) char buf[CUT_SIZE];
	uint16_t stamp = cut_below(8) ? ++cut->stamp : 0, *image = cut_next(c);
	unsigned first, count;
	int err;

	if (!image)
		return;
	choose(&first, &count);
	for (unsigned s = first; s < first + count; s++)
		image[s] = stamp;
	fill(buf, count, stamp);
	if (stamp)
		err = disk_write(d, buf, count * CUT_SECTOR, first * CUT_SECTOR,
				 cut_below(2) ? IO_DIRECT : 0);
	else
		err = disk_zero(d, first * CUT_SECTOR, count * CUT_SECTOR, ZERO_PUNCH);
	if (err)
		power_cut_wrong("a write fails: %d", err);
}

void cut_flush(struct disk *d, struct cut_content *c)
{
	unsigned has = c->count;

	if (disk_flush(d))
		power_cut_wrong("a flush fails");
	cut_reached(c, has);
}

struct cut_taken *cut_taking(void)
{
	struct cut_taken *s = &cut->taken[cut->count];

	if (cut->count == CUT_TAKEN)
		return NULL;
	*s = (struct cut_taken){ .began = power_cut_now(),
				 .ended = CUT_NEVER,
				 .goes = CUT_NEVER,
				 .gone = CUT_NEVER };
	for (unsigned i = 0; i < CUT_DISKS; i++)
		s->images[i] = cut->of[i].count;
	cut->count++;
	return s;
}

void cut_took(struct cut_taken *s, const struct snapshot_facts made[CUT_DISKS])
{
	s->ended = power_cut_now();
	snprintf(s->name, sizeof(s->name), "%s", made[0].name);
	for (unsigned i = 0; i < CUT_DISKS; i++) {
		s->numbers[i] = made[i].number;
		s->generations[i] = made[i].generation;
	}
}

void cut_take(void)
{
	struct cut_taken *s = cut_taking();
	struct snapshot_facts made[CUT_DISKS];
	char name[16];
	int err;

	if (!s)
		return;
	snprintf(name, sizeof(name), "s%u", cut->count);
	err = tandem_snapshot(temp.t, cut_open, CUT_DISKS, name, false, made, &why);
	if (!err)
		cut_took(s, made);
	else if (err == -EBUSY)
		cut->count--;
	else
		power_cut_wrong("no snapshot: %s", why.message);
}

struct cut_taken *cut_any(void)
{
	struct cut_taken *s = cut->count ? &cut->taken[cut_below(cut->count)] : NULL;

	return s && s->goes == CUT_NEVER ? s : NULL;
}

void cut_delete(void)
{
	struct cut_taken *s = cut_any();
	int err;

	if (!s)
		return;
	s->goes = power_cut_now();
	err = tandem_delete_snapshots(temp.t, s->numbers, CUT_DISKS, false, false, &why);
	if (!err)
		s->gone = power_cut_now();
	else if (err == -EBUSY)
		s->goes = CUT_NEVER;
	else
		power_cut_wrong("it is not deleted: %s", why.message);
}

void cut_settle(void)
{
	if (tandem_settle_disk(temp.t, cut_open[cut_below(CUT_DISKS)], &why))
		power_cut_wrong("it does not settle: %s", why.message);
}

/* ---- who looks ---- */

unsigned cut_first(const struct cut_content *c, uint64_t calls)
{
	unsigned first = 0;

	for (unsigned n = 0; n < c->floors; n++)
		if (c->floor[n].ended <= calls)
			first = c->floor[n].has;
	return first;
}

unsigned cut_last(const struct cut_content *c, uint64_t calls)
{
	unsigned last = 0;

	while (last < c->count && c->began[last + 1] < calls)
		last++;
	return last;
}

bool cut_fits(const struct cut_content *c, const char *bytes, unsigned first, unsigned last,
	      unsigned *sector)
{
	for (unsigned s = 0; s < CUT_SECTORS; s++) {
		const char *is = bytes + s * CUT_SECTOR;
		unsigned n = first;
		uint16_t value;

		memcpy(&value, is, sizeof(value));
		while (n <= last && c->images[n][s] != value)
			n++;
		if (n > last || memcmp(is, is + 2, CUT_SECTOR - 2) != 0) {
			*sector = s;
			return false;
		}
	}
	return true;
}

void cut_read(struct disk *d, char *bytes)
{
	size_t done;

	if (disk_read(d, bytes, CUT_SIZE, 0, 0, &done) || done != CUT_SIZE)
		power_cut_wrong("it cannot be read");
}

static bool is_content(unsigned i, const struct snapshot_facts *f, unsigned image)
{
	static char bytes[CUT_SIZE];
	unsigned sector;
	size_t done;
	bool right;

	if (moment_open(cut_open[i], f->generation))
		return false;
	right = !moment_read(cut_open[i], f->generation, bytes, CUT_SIZE, 0, &done) &&
		done == CUT_SIZE && cut_fits(&cut->of[i], bytes, image, image, &sector);
	moment_close(cut_open[i], f->generation);
	return right;
}

static void check_one(const struct cut_taken *s, uint64_t calls)
{
	struct snapshot_facts f[CUT_DISKS];
	unsigned there = 0;

	for (unsigned i = 0; i < CUT_DISKS; i++) {
		if (snapshot_named(temp.t, cut_open[i], s->name, &f[there]))
			continue;
		if (f[there].state != SNAPSHOT_SYNCHRONIZED &&
		    !(f[there].state == SNAPSHOT_SKEWED && f[there].writable))
			power_cut_wrong("%s of %s is of state %d", s->name, labels[i],
					f[there].state);
		if (!is_content(i, &f[there], s->images[i]))
			power_cut_wrong("%s of %s is not what it was", s->name, labels[i]);
		there++;
	}
	if (there == 1)
		power_cut_wrong("%s is of one disk only", s->name);
	if (there && f[0].generation != f[1].generation)
		power_cut_wrong("%s is of two moments", s->name);
	if (!there && s->ended <= calls && s->goes >= calls)
		power_cut_wrong("%s is gone", s->name);
	if (there && s->gone <= calls)
		power_cut_wrong("%s was deleted, and is back", s->name);
	if (there && s->began > calls)
		power_cut_wrong("%s was never made", s->name);
}

void cut_check_taken(uint64_t calls)
{
	for (unsigned n = 0; n < cut->count; n++)
		check_one(&cut->taken[n], calls);
}

void cut_write_over(void)
{
	static _Alignas(4096) char buf[CUT_SIZE];
	struct snapshot_facts made[CUT_DISKS];

	if (tandem_snapshot(temp.t, cut_open, CUT_DISKS, NULL, false, made, &why))
		power_cut_wrong("no snapshot afterwards: %s", why.message);
	for (unsigned i = 0; i < CUT_DISKS; i++)
		if (disk_write(cut_open[i], buf, CUT_SIZE, 0, 0) ||
		    tandem_settle_disk(temp.t, cut_open[i], &why))
			power_cut_wrong("it cannot be written over");
}

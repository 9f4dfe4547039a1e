// SPDX-License-Identifier: GPL-2.0-or-later
#include "past_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

static struct why why;

void past_disk_begin(struct past_disk *p, const char *label, uint64_t size)
{
	*p = (struct past_disk){ .size = size, .seed = 1 };
	snprintf(p->label, sizeof(p->label), "%s", label);
	p->now = calloc(1, size);
	temp_make(label, size);
	temp_rescan();
	past_disk_again(p);
}

void past_disk_again(struct past_disk *p)
{
	p->d = temp_disk(p->label);
	ck_assert_msg(p->d != NULL, "there is no disk %s", p->label);
}

void past_disk_let_go(struct past_disk *p)
{
	past_close(p);
	disk_unref(p->d);
	p->d = NULL;
}

void past_disk_end(struct past_disk *p)
{
	past_disk_let_go(p);
	while (p->count)
		past_forget(p, p->count - 1);
	free(p->now);
}

void past_open(struct past_disk *p)
{
	if (!p->open)
		ck_assert_int_eq(disk_open(p->d, true), 0);
	p->open = true;
}

void past_close(struct past_disk *p)
{
	if (p->open)
		disk_close(p->d);
	p->open = false;
}

void past_write(struct past_disk *p, uint64_t off, uint64_t len, uint8_t byte)
{
	bool was = p->open;

	past_open(p);
	memset(p->now + off, byte, len);
	if (byte)
		ck_assert_int_eq(disk_write(p->d, p->now + off, len, off, 0), 0);
	else
		ck_assert_int_eq(disk_zero(p->d, off, len, ZERO_PUNCH), 0);
	if (!was)
		past_close(p);
}

void past_scribble(struct past_disk *p)
{
	static const uint64_t longest[] = { 1, 3, 17 };
	uint64_t max = longest[unit_below(&p->seed, 3)] * PAST_BLOCK;
	uint64_t off = unit_below(&p->seed, p->size), len = 1 + unit_below(&p->seed, max);

	if (unit_below(&p->seed, 2)) {
		off &= ~(uint64_t)(PAST_BLOCK - 1);
		len = (len + PAST_BLOCK - 1) & ~(uint64_t)(PAST_BLOCK - 1);
	}
	if (len > p->size - off)
		len = p->size - off;
	past_write(p, off, len, unit_below(&p->seed, 6) ? unit_random(&p->seed) | 1 : 0);
}

struct past_moment *past_keep(struct past_disk *p, const struct snapshot_facts *f)
{
	struct past_moment *m = &p->kept[p->count++];

	*m = (struct past_moment){ .number = 0 };
	ck_assert_uint_le(p->count, PAST_KEPT);
	snprintf(m->name, sizeof(m->name), "%.31s", f->name);
	m->number = f->number;
	m->generation = f->generation;
	m->bytes = malloc(p->size);
	memcpy(m->bytes, p->now, p->size);
	return m;
}

struct past_moment *past_snapshot(struct past_disk *p, const char *name)
{
	struct snapshot_facts f;
	int err = tandem_snapshot(temp.t, &p->d, 1, name, false, &f, &why);

	ck_assert_msg(!err, "%s", why.message);
	return past_keep(p, &f);
}

void past_forget(struct past_disk *p, size_t i)
{
	free(p->kept[i].bytes);
	free(p->kept[i].over);
	p->kept[i] = p->kept[--p->count];
}

void past_delete(struct past_disk *p, size_t i)
{
	int err = tandem_delete_snapshot(temp.t, p->kept[i].number, false, false, &why);

	ck_assert_msg(!err, "%s", why.message);
	past_forget(p, i);
}

static struct disk *open_over(const struct past_moment *m)
{
	struct disk *over = snapshot_overlay(temp.t, m->number);

	ck_assert_msg(over != NULL, "%s has no overlay", m->name);
	ck_assert_int_eq(disk_open(over, true), 0);
	return over;
}

static void close_over(struct disk *over)
{
	disk_close(over);
	disk_unref(over);
}

void past_overlay(struct past_moment *m, uint64_t size)
{
	m->over = malloc(size);
	memcpy(m->over, m->bytes, size);
}

void past_write_over(struct past_moment *m, uint64_t off, uint64_t len, uint8_t byte)
{
	struct disk *over = open_over(m);

	memset(m->over + off, byte, len);
	if (byte)
		ck_assert_int_eq(disk_write(over, m->over + off, len, off, 0), 0);
	else
		ck_assert_int_eq(disk_zero(over, off, len, ZERO_PUNCH), 0);
	close_over(over);
}

void past_forget_overlay(struct past_moment *m)
{
	free(m->over);
	m->over = NULL;
}

static void compare(const struct past_disk *p, const char *what, const uint8_t *is,
		    const uint8_t *should)
{
	uint64_t i = 0;

	if (!memcmp(is, should, p->size))
		return;
	while (is[i] == should[i])
		i++;
	ck_abort_msg("%s of %s: byte %llu (block %llu) is %u, not %u", what, p->label,
		     (unsigned long long)i, (unsigned long long)i / PAST_BLOCK, is[i], should[i]);
}

void past_check_now(struct past_disk *p)
{
	uint8_t *buf = malloc(p->size);
	bool was = p->open;
	size_t done;

	past_open(p);
	ck_assert_int_eq(disk_read(p->d, buf, p->size, 0, 0, &done), 0);
	ck_assert_uint_eq(done, p->size);
	compare(p, "now", buf, p->now);
	free(buf);
	if (!was)
		past_close(p);
}

void past_check(struct past_disk *p, const struct past_moment *m)
{
	uint8_t *buf = malloc(p->size);
	size_t done;

	ck_assert_int_eq(moment_open(p->d, m->generation), 0);
	ck_assert_int_eq(moment_read(p->d, m->generation, buf, p->size + 1, 0, &done), 0);
	ck_assert_uint_eq(done, p->size);
	compare(p, m->name, buf, m->bytes);
	moment_close(p->d, m->generation);
	if (m->over) {
		struct disk *over = open_over(m);

		ck_assert_int_eq(disk_read(over, buf, p->size, 0, 0, &done), 0);
		ck_assert_uint_eq(done, p->size);
		compare(p, m->name, buf, m->over);
		close_over(over);
	}
	free(buf);
}

void past_check_all(struct past_disk *p)
{
	for (size_t i = 0; i < p->count; i++)
		past_check(p, &p->kept[i]);
	past_check_now(p);
}

/* The file that is appended to has its head, and its space ahead. */
#define LEFT_MOST ((4u << 20) + 4096)

struct left {
	struct past_disk *p;
	struct version_totals versions;
	uint64_t bytes; /* of the store */
};

static bool nothing_left(void *arg)
{
	struct left *l = arg;
	struct disk *d = l->p->d;
	struct history_facts f;

	ck_assert_int_eq(version_totals(temp.t->catalogue, d->number, &l->versions), 0);
	history_facts(atomic_load(&d->history), &f);
	l->bytes = f.bytes;
	return !l->versions.count && !l->versions.bytes && l->bytes <= LEFT_MOST;
}

static int print_segment(void *arg, uint64_t segment, const struct version_totals *totals)
{
	(void)arg;
	fprintf(stderr, "segment %llx: %llu versions\n", (unsigned long long)segment,
		(unsigned long long)totals->count);
	return 0;
}

static void print_left(const struct left *l)
{
	const struct past_disk *p = l->p;
	struct segments *store = history_store(atomic_load(&p->d->history));

	fprintf(stderr, "%s has %llu versions of %llu bytes, and its store %llu bytes\n", p->label,
		(unsigned long long)l->versions.count, (unsigned long long)l->versions.bytes,
		(unsigned long long)l->bytes);
	for (uint64_t n = 0; (n = segments_number_from(store, n + 1));)
		fprintf(stderr, "segment %llx: %llu bytes\n", (unsigned long long)n,
			(unsigned long long)segments_allocated_in(store, n));
	version_segments(temp.t->catalogue, p->d->number, print_segment, NULL);
}

bool past_is_empty(struct past_disk *p)
{
	struct left l = { .p = p };
	bool empty = unit_until(nothing_left, &l, 10);

	if (!empty)
		print_left(&l);
	return empty;
}

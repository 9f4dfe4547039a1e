// SPDX-License-Identifier: GPL-2.0-or-later
/* The log of VHDX: which entries count, whoever wrote them, and what becomes of them. */
#include "vhdx_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "unit.h"
#include "vhdx.h"
#include "vhdx_build.h"

#define MIB ((uint64_t)1 << 20)
#define PAGE 4096
#define LOG_PAGES 256
/* A place that nothing else is about: the end of the block table. */
#define FREE_AT (BUILD_BAT_AT + BUILD_MIB / 2)

static struct vhdx_build b;
static char reason[IMAGE_REASON];
static uint8_t page_a[PAGE], page_b[PAGE], page_c[PAGE];

static void setup(void)
{
	build_start(&b, 8 * MIB, 1 << 20, 512, 0);
	build_log_guid(&b, 0x77);
	for (int i = 0; i < PAGE; i++) {
		page_a[i] = 'a' + i % 5;
		page_b[i] = 'k' + i % 5;
		page_c[i] = 'r' + i % 5;
	}
}

static void teardown(void)
{
	build_end(&b);
}

/* ---- reading ---- */

/* What the log of the built file says; the reason is empty when it was read. */
static int replay(struct vhdx_overlay *o, bool *lost)
{
	struct vhdx_layout l;
	struct file *f = build_file(&b);
	int err;

	memset(&l, 0, sizeof(l));
	*o = (struct vhdx_overlay){ .file_size = b.size, .end = b.size };
	*lost = false;
	reason[0] = '\0';
	err = vhdx_read_headers(f, b.size, &l, reason);
	if (!err)
		err = vhdx_log_replay(f, &l.header, o, lost, reason);
	f->ops->close(f);
	if (err)
		ck_assert(reason[0]);
	return err;
}

/* After the replay this page is there, or `nothing` of the log counts. */
static void ck_page(uint64_t at, const uint8_t *page)
{
	struct vhdx_overlay o;
	struct file *f = build_file(&b);
	uint8_t found[PAGE];
	bool lost;

	ck_assert_msg(!replay(&o, &lost), "%s", reason);
	ck_assert(!lost);
	ck_assert_int_eq(vhdx_overlay_read(&o, f, found, PAGE, at), 0);
	ck_assert_mem_eq(found, page, PAGE);
	vhdx_overlay_clear(&o);
	f->ops->close(f);
}

static void ck_nothing(void)
{
	struct vhdx_overlay o;
	bool lost;

	ck_assert_msg(!replay(&o, &lost), "%s", reason);
	ck_assert(lost);
	ck_assert_uint_eq(o.count, 0);
	vhdx_overlay_clear(&o);
}

static void ck_refused(void)
{
	struct vhdx_overlay o;
	bool lost;

	ck_assert_int_ne(replay(&o, &lost), 0);
	vhdx_overlay_clear(&o);
}

static uint32_t entry_of(uint32_t at, uint64_t sequence, uint32_t tail, uint64_t where,
			 const uint8_t *page)
{
	const struct build_change c = { where, page, page ? 0 : PAGE };

	return build_log_entry(&b, at, sequence, tail, &c, 1);
}

START_TEST(none)
{
	struct vhdx_overlay o;
	bool lost;

	ck_nothing();
	entry_of(0, 1, 0, FREE_AT, page_a);
	build_log_guid(&b, 0);
	ck_assert_int_eq(replay(&o, &lost), 0);
	ck_assert(!lost && !o.count);
}
END_TEST

START_TEST(one)
{
	for (uint32_t at = 0; at < LOG_PAGES; at += 3) {
		entry_of(at, 1 + at, at, FREE_AT, page_a);
		ck_page(FREE_AT, page_a);
	}
}
END_TEST

/* The later of two wins, whatever the place they are at. */
START_TEST(a_sequence)
{
	for (uint32_t at = 0; at < LOG_PAGES; at += 3) {
		uint32_t next = entry_of(at, 100, at, FREE_AT, page_a);

		next = entry_of(next, 101, at, FREE_AT, page_b);
		next = entry_of(next, 102, at, FREE_AT + PAGE, page_c);
		ck_page(FREE_AT, page_b);
		ck_page(FREE_AT + PAGE, page_c);
		memset(build_log_page(&b, at), 0, PAGE);
		memset(build_log_page(&b, at + 2), 0, PAGE);
		memset(build_log_page(&b, at + 4), 0, PAGE);
	}
}
END_TEST

START_TEST(what_does_not_count)
{
	uint32_t next;

	/* Before the newest one's tail. */
	next = entry_of(10, 5, 10, FREE_AT, page_a);
	entry_of(next, 6, next, FREE_AT + PAGE, page_b);
	{
		struct vhdx_overlay o;
		bool lost;

		ck_assert_int_eq(replay(&o, &lost), 0);
		ck_assert_uint_eq(o.count, 1);
		vhdx_overlay_clear(&o);
	}
	/* Of another log. */
	next = entry_of(30, 50, 30, FREE_AT, page_c);
	build_log_page(&b, 30)[32]++;
	build_log_seal(&b, 30);
	ck_page(FREE_AT + PAGE, page_b);
	/* Older than the newest. */
	entry_of(40, 4, 40, FREE_AT + PAGE, page_c);
	ck_page(FREE_AT + PAGE, page_b);
	/* Newest, but something between its tail and it is missing. */
	entry_of(60, 9, 10, FREE_AT + PAGE, page_c);
	ck_page(FREE_AT + PAGE, page_b);
	/* Its tail is an entry that does not lead to it. */
	entry_of(70, 10, 40, FREE_AT + PAGE, page_c);
	ck_page(FREE_AT + PAGE, page_b);
	/* Its tail is no entry. */
	entry_of(80, 11, 81, FREE_AT + PAGE, page_c);
	entry_of(90, 12, 200, FREE_AT + PAGE, page_c);
	ck_page(FREE_AT + PAGE, page_b);
	/* No sequence is 0. */
	entry_of(100, 0, 100, FREE_AT + PAGE, page_c);
	ck_page(FREE_AT + PAGE, page_b);
}
END_TEST

/* Where an entry's own tail leads to counts for the newest one only, and never twice. */
START_TEST(tails_in_a_cycle)
{
	/* Apart, each from the other on leads nowhere. */
	entry_of(10, 5, 20, FREE_AT, page_a);
	entry_of(20, 6, 10, FREE_AT + PAGE, page_b);
	ck_nothing();
	/* Side by side, from the older one on the newer one is reached. */
	entry_of(12, 6, 10, FREE_AT + PAGE, page_b);
	entry_of(10, 5, 12, FREE_AT, page_a);
	entry_of(20, 4, 20, FREE_AT, page_c);
	ck_page(FREE_AT, page_a);
	ck_page(FREE_AT + PAGE, page_b);
	/* The other way round from neither; an old one that is whole counts. */
	entry_of(10, 7, 12, FREE_AT, page_a);
	ck_page(FREE_AT, page_c);
}
END_TEST

/* Entries of two pages, from this page on until the ring is full. */
static void fill_ring(uint32_t from, uint64_t sequence, bool counts_up)
{
	for (uint32_t i = 0; i < LOG_PAGES / 2; i++, sequence += counts_up) {
		uint32_t at = (from + 2 * i) % LOG_PAGES, before = at + LOG_PAGES - 2;

		/* Each one's tail is the one before it, and the first's the last. */
		entry_of(at, sequence, before, FREE_AT + (uint64_t)i % 100 * PAGE,
			 i < 100 ? page_a : page_b);
	}
}

/* So many changes are made by what counts. */
static void ck_count(size_t count)
{
	struct vhdx_overlay o;
	bool lost;

	ck_assert_msg(!replay(&o, &lost), "%s", reason);
	ck_assert(!lost);
	ck_assert_uint_eq(o.count, count);
	vhdx_overlay_clear(&o);
}

START_TEST(a_full_ring)
{
	const uint64_t newest = 7 + LOG_PAGES / 2 - 1;

	/* All the same age: behind each is not what should follow. */
	fill_ring(100, 7, false);
	ck_nothing();
	/* The newest's tail is the one before it: the others are done with. */
	fill_ring(100, 7, true);
	ck_count(2);
	/* The whole ring, from the page behind the newest on. */
	entry_of(98, newest, 100, FREE_AT + 99 * PAGE, page_c);
	ck_count(LOG_PAGES / 2);
	ck_page(FREE_AT, page_b);
	ck_page(FREE_AT + 50 * PAGE, page_a);
	ck_page(FREE_AT + 99 * PAGE, page_c);
	/* From the newest's tail on the ring comes back to that: then the one before it counts. */
	entry_of(98, 6, 100, FREE_AT + 99 * PAGE, page_c);
	entry_of(96, newest, 98, FREE_AT + 99 * PAGE, page_c);
	ck_count(2);
	ck_page(FREE_AT + 25 * PAGE, page_b);
}
END_TEST

/* As long as so many pages, whatever they hold. */
static void stretch_entry(uint32_t at, uint32_t pages)
{
	put_le32(build_log_page(&b, at) + 8, pages * PAGE);
	build_log_seal(&b, at);
}

/* Each is whole and the next one follows, but they go round and over their own first. */
START_TEST(longer_than_the_ring)
{
	for (uint32_t second = 100; second <= 150; second += 50) {
		teardown();
		setup();
		entry_of(50, 3, 0, FREE_AT, page_c);
		entry_of(0, 1, 50, FREE_AT, page_a);
		stretch_entry(0, second);
		entry_of(second, 2, 50, FREE_AT, page_b);
		stretch_entry(second, LOG_PAGES + 50 - second);
		ck_nothing();
		/* The second one is the newest, and ends where the first one begins. */
		entry_of(second, 2, 0, FREE_AT, page_b);
		stretch_entry(second, LOG_PAGES - second);
		ck_page(FREE_AT, page_b);
	}
}
END_TEST

START_TEST(zeros)
{
	struct build_change c[] = { { FREE_AT, page_a, 0 },
				    { FREE_AT + PAGE, page_b, 0 },
				    { FREE_AT, NULL, 3 * PAGE },
				    { FREE_AT + 2 * PAGE, page_c, 0 },
				    { FREE_AT + 9 * PAGE, NULL, 0 } };
	uint8_t nothing[PAGE] = { 0 };

	build_log_entry(&b, 250, 3, 250, c, 5);
	ck_page(FREE_AT, nothing);
	ck_page(FREE_AT + PAGE, nothing);
	ck_page(FREE_AT + 2 * PAGE, page_c);
}
END_TEST

/* More descriptors than fit behind the head. */
START_TEST(many_pages)
{
	struct build_change c[200];

	for (int i = 0; i < 200; i++)
		c[i] = (struct build_change){ FREE_AT + (uint64_t)i % 100 * PAGE,
					      i < 100 ? page_a : page_b, 0 };
	build_log_entry(&b, 199, 7, 199, c, 200);
	ck_page(FREE_AT, page_b);
	ck_page(FREE_AT + 99 * PAGE, page_b);
}
END_TEST

/* The newest entry with one sector not written, or cut off there: the one before counts. */
START_TEST(torn)
{
	struct build_change c[3] = { { FREE_AT, page_b, 0 },
				     { FREE_AT + PAGE, page_c, 0 },
				     { FREE_AT + 2 * PAGE, NULL, PAGE } };
	uint32_t first = 253, second = entry_of(first, 8, first, FREE_AT, page_a), i;
	static uint8_t before[BUILD_MIB], after[BUILD_MIB];
	uint8_t *log = b.bytes + BUILD_LOG_AT;

	entry_of(second + 2, 3, second + 2, FREE_AT, page_c);
	memcpy(before, log, BUILD_MIB);
	build_log_entry(&b, second, 9, second, c, 3);
	memcpy(after, log, BUILD_MIB);
	ck_page(FREE_AT, page_b);
	for (i = 0; i < 3 * PAGE / 512; i++) {
		uint64_t at = ((uint64_t)second * PAGE + i * 512) % BUILD_MIB;

		if (!memcmp(before + at, after + at, 512))
			continue;
		memcpy(log + at, before + at, 512);
		ck_page(FREE_AT, page_a);
		memcpy(log + at, after + at, 512);
	}
	memcpy(log, before, BUILD_MIB);
	for (i = 0; i < 3 * PAGE / 512; i++) {
		uint64_t at = ((uint64_t)second * PAGE + i * 512) % BUILD_MIB;

		ck_page(FREE_AT, memcmp(log, after, BUILD_MIB) ? page_a : page_b);
		memcpy(log + at, after + at, 512);
	}
	ck_page(FREE_AT, page_b);
}
END_TEST

/* ---- what is wrong ---- */

static void reset(uint32_t *at)
{
	teardown();
	setup();
	*at = 17;
	entry_of(*at, 1, *at, FREE_AT, page_a);
}

START_TEST(bad_heads)
{
	/* An offset in the head, its length, a value: no entry then. */
	static const struct {
		unsigned at, bytes;
		uint64_t value;
	} bad[] = {
		{ 0, 4, 0 },           { 8, 4, 0 },           { 8, 4, 4095 },
		{ 8, 4, 8191 },        { 8, 4, 0xfffff000 },  { 8, 4, 257 * PAGE },
		{ 12, 4, 1 },          { 12, 4, 256 * PAGE }, { 12, 4, 0xfffff000 },
		{ 16, 8, 2 },          { 24, 4, 0 + 2 },      { 24, 4, 0xffffffff },
		{ 24, 4, 0x7fffffff }, { 64, 4, 0 },          { 64 + 24, 8, 2 },
		{ PAGE, 4, 0 },        { PAGE + 4, 4, 1 },    { 2 * PAGE - 4, 4, 2 },
	};

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++) {
		uint32_t at;
		uint8_t *p;

		reset(&at);
		p = build_log_page(&b, at) + bad[i].at;
		if (bad[i].bytes == 4)
			put_le32(p, bad[i].value);
		else
			put_le64(p, bad[i].value);
		if (get_le32(build_log_page(&b, at) + 8) <= 256 * PAGE)
			build_log_seal(&b, at);
		ck_nothing();
	}
}
END_TEST

START_TEST(bad_targets)
{
	static const struct {
		uint64_t at, zeros; /* zeros 0: a page */
	} bad[] = {
		{ 0, 0 },
		{ 0, 4096 },
		{ BUILD_HEADER(0), 0 },
		{ BUILD_HEADER(1), 4096 },
		{ 0, 16 * MIB },
		{ BUILD_REGIONS(0) - PAGE, 2 * PAGE },
		{ BUILD_LOG_AT, 0 },
		{ BUILD_LOG_AT + MIB - PAGE, 2 * PAGE },
		{ BUILD_LOG_AT - PAGE, 3 * MIB },
		{ FREE_AT + 1, 0 },
		{ FREE_AT + 512, 0 },
		{ FREE_AT, 512 },
		{ FREE_AT, UINT64_MAX },
		{ FREE_AT, UINT64_MAX - 4095 },
		{ UINT64_MAX - 4095, 0 },
		{ BUILD_DATA_AT, 0 }, /* the file ends here */
		{ FREE_AT, 64 * MIB },
		{ (uint64_t)1 << 62, 0 },
	};

	for (size_t i = 0; i < UNIT_LENGTH(bad); i++) {
		struct build_change c = { bad[i].at, bad[i].zeros ? NULL : page_a, bad[i].zeros };

		build_log_entry(&b, 5, 1, 5, &c, 1);
		ck_refused();
	}
}
END_TEST

START_TEST(bad_lengths)
{
	uint32_t at;
	uint8_t *head;

	reset(&at);
	head = build_log_page(&b, at);
	put_le64(head + 48, b.size + 1);
	build_log_seal(&b, at);
	ck_refused();
	ck_assert(strstr(reason, "shorter"));
	put_le64(head + 48, b.size);
	put_le64(head + 56, UINT64_MAX);
	build_log_seal(&b, at);
	ck_refused();
	/* Longer is fine: the rest reads as zeros. */
	put_le64(head + 56, b.size + 8 * MIB);
	put_le64(head + 64 + 16, b.size + MIB);
	build_log_seal(&b, at);
	ck_page(b.size + MIB, page_a);
}
END_TEST

/* Each page of a large log begins an entry as long as the log. */
START_TEST(all_claim_everything)
{
	for (uint32_t i = 0; i < LOG_PAGES; i++) {
		entry_of(i, 1, i, FREE_AT, page_a);
		put_le32(build_log_page(&b, i) + 8, BUILD_MIB);
	}
	ck_refused();
}
END_TEST

START_TEST(a_huge_log)
{
	for (int i = 0; i < 2; i++) {
		put_le32(b.bytes + BUILD_HEADER(i) + 68, 0xfff00000);
		put_le64(b.bytes + BUILD_HEADER(i) + 72, BUILD_LOG_AT);
	}
	build_seal(&b);
	ck_refused();
}
END_TEST

/* Whatever the log holds: it is read, or refused, or not there. */
START_TEST(noise)
{
	uint64_t seed = 5;

	for (unsigned i = 0; i < unit_scaled(2000); i++) {
		struct build_change c[4] = { { FREE_AT, page_a, 0 },
					     { FREE_AT + PAGE, NULL, PAGE },
					     { FREE_AT + 3 * PAGE, page_b, 0 },
					     { FREE_AT, page_c, 0 } };
		uint32_t at = unit_below(&seed, LOG_PAGES), next;
		struct vhdx_overlay o;
		bool lost;

		next = build_log_entry(&b, at, 1, at, c, unit_below(&seed, 5));
		build_log_entry(&b, next, 2, at, c, unit_below(&seed, 5));
		for (int k = 0; k < 3; k++) {
			uint8_t *p = build_log_page(&b, at + (k ? 0 : unit_below(&seed, 4)));

			p[unit_below(&seed, k ? 192 : PAGE)] = unit_random(&seed);
		}
		if (get_le32(build_log_page(&b, at) + 8) <= BUILD_MIB)
			build_log_seal(&b, at);
		replay(&o, &lost);
		vhdx_overlay_clear(&o);
	}
}
END_TEST

/* ---- writing ---- */

/* Ours is read back; the last entry counts, also when the one behind it is torn. */
START_TEST(our_entries)
{
	struct vhdx_log log = { .file = NULL };
	struct vhdx_header h = { .log_at = BUILD_LOG_AT, .log_length = BUILD_MIB };
	struct vhdx_overlay o = { .file_size = b.size, .end = b.size };
	struct file *f = build_file(&b);
	uint8_t *page, found[PAGE];
	bool lost;

	ck_assert_int_eq(vhdx_log_start(&log, f, BUILD_LOG_AT, b.size), 0);
	memcpy(h.log, log.guid, 16);
	ck_assert_int_eq(vhdx_log_replay(f, &h, &o, &lost, reason), 0);
	ck_assert(!lost && !o.count);
	for (int round = 1; round < 6; round++) {
		ck_assert_int_eq(vhdx_log_begin(&log), 0);
		for (int i = 0; i < VHDX_LOG_PAGES; i++) {
			ck_assert_int_eq(vhdx_log_page(&log, FREE_AT + i * PAGE, &page), 0);
			memset(page, round, PAGE);
		}
		ck_assert_int_eq(vhdx_log_page(&log, FREE_AT, &page), 0);
		ck_assert_int_eq(page[5], round);
		ck_assert_int_eq(vhdx_log_page(&log, BUILD_BAT_AT, &page), -E2BIG);
		ck_assert_int_eq(vhdx_log_commit(&log, b.size, b.size), 0);
		ck_assert_int_eq(vhdx_log_replay(f, &h, &o, &lost, reason), 0);
		ck_assert_uint_eq(o.count, VHDX_LOG_PAGES);
		for (int i = 0; i < VHDX_LOG_PAGES; i++) {
			ck_assert_uint_eq(o.patches[i].at, FREE_AT + (uint64_t)i * PAGE);
			ck_assert(o.patches[i].data[0] == round &&
				  o.patches[i].data[PAGE - 1] == round);
			ck_assert_int_eq(f->ops->read(f, found, PAGE, o.patches[i].at, 0), 0);
			ck_assert(found[0] == round && found[7] == round &&
				  found[PAGE - 1] == round);
		}
		vhdx_overlay_clear(&o);
	}
	vhdx_log_end(&log);
	f->ops->close(f);
}
END_TEST

/* ---- as an image ---- */

static int open_image(struct file *f, struct image **img)
{
	struct image_around around = { 0 };

	return image_open(f, &vhdx_format, &around, img, reason);
}

/* Of the disk's first byte: in which of the three blocks in the file is it? */
static int first_byte(struct image *img)
{
	uint8_t byte;

	ck_assert_int_eq(vhdx_format.read(img, &byte, 1, 0, 0), 0);
	return byte;
}

/*
 * Three entries: each gives block 0 another place; the newest one's tail is the
 * first. The newest is where our first one goes.
 */
static void build_history(void)
{
	uint8_t page[PAGE];
	uint32_t first = LOG_PAGES - 4, next = first;

	build_resize(&b, BUILD_DATA_AT + 3 * MIB);
	for (int i = 0; i < 3; i++) {
		memset(b.bytes + BUILD_DATA_AT + i * MIB, 'A' + i, MIB);
		memset(page, 0, PAGE);
		put_le64(page, (BUILD_DATA_AT + i * MIB) | 6);
		next = entry_of(next, 20 + i, first, BUILD_BAT_AT, page);
	}
}

START_TEST(an_image_with_a_log)
{
	struct image *img;
	struct file *f;

	build_history();
	f = build_file(&b);
	ck_assert_msg(!open_image(f, &img), "%s", reason);
	ck_assert_int_eq(first_byte(img), 'C');
	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	ck_assert_uint_eq(fake_calls(f, FAKE_WRITE), 0);
	ck_assert_uint_eq(fake_calls(f, FAKE_ZERO), 0);
	ck_assert_uint_eq(fake_calls(f, FAKE_RESIZE), 0);
	image_close(img);
}
END_TEST

static void cut_replay(void)
{
	bool done = false;

	for (unsigned n = 1; !done; n++)
		for (uint64_t seed = 0; seed < 12; seed++) {
			struct file *f = build_file(&b), *cut;
			struct image *img, *after;
			uint8_t byte = 'z';
			int err;

			ck_assert_int_eq(open_image(f, &img), 0);
			fake_fail(f, seed % 2 ? FAKE_FLUSH : FAKE_WRITE, n, 1000, EIO);
			err = vhdx_format.write(img, &byte, 1, 5 * MIB, 0);
			cut = fake_crashed(f, seed);
			ck_assert_msg(!open_image(cut, &after), "%s", reason);
			ck_assert_msg(!after->complaint[0], "%s", after->complaint);
			ck_assert_int_eq(first_byte(after), 'C');
			image_close(after);
			image_close(img);
			done = !err && seed % 2;
		}
}

/* A power cut at any step of the replay into the file leaves the newest entry's table. */
START_TEST(replay_is_cut)
{
	build_history();
	cut_replay();
	for (int i = 0; i < 3; i++) {
		put_le64(b.bytes + BUILD_HEADER(1) + 8, UINT64_MAX - i);
		build_seal(&b);
		cut_replay();
	}
}
END_TEST

START_TEST(written_after_a_replay)
{
	struct image *img;
	struct file *f;
	uint8_t byte = 'z';
	uint64_t size;
	uint8_t *bytes;

	build_history();
	f = build_file(&b);
	ck_assert_int_eq(open_image(f, &img), 0);
	ck_assert_int_eq(vhdx_format.write(img, &byte, 1, 0, 0), 0);
	ck_assert_int_eq(first_byte(img), 'z');
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	bytes = fake_crash(f, 1, &size);
	ck_assert_uint_eq(get_le64(bytes + BUILD_BAT_AT), (BUILD_DATA_AT + 2 * MIB) | 6);
	for (int i = 0; i < 2; i++)
		ck_assert_uint_eq(get_le64(bytes + BUILD_HEADER(i) + 48), 0);
	free(bytes);
	image_close(img);
}
END_TEST

/* Our own log, of a start that failed: it says no file that is longer than the one that was cut. */
START_TEST(started_again)
{
	struct image *img;
	struct file *f;
	uint8_t byte = 'z';

	build_log_guid(&b, 0);
	build_resize(&b, BUILD_DATA_AT + 3 * MIB);
	f = build_file(&b);
	ck_assert_int_eq(open_image(f, &img), 0);
	ck_assert_int_eq(vhdx_format.write(img, &byte, 1, 0, 0), 0);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	/* The log and the first header are there. */
	fake_fail(f, FAKE_WRITE, 3, 1, EIO);
	ck_assert_int_eq(vhdx_format.zero(img, 0, MIB, ZERO_PUNCH), -EIO);
	ck_assert_int_eq(vhdx_format.zero(img, 0, MIB, ZERO_PUNCH), 0);
	ck_assert_int_eq(vhdx_format.flush(img), 0);
	f = fake_crashed(f, 1);
	image_close(img);
	ck_assert_msg(!open_image(f, &img), "%s", reason);
	ck_assert_int_eq(first_byte(img), 0);
	image_close(img);
}
END_TEST

/* Region tables and metadata come through the log, too. */
START_TEST(tables_in_the_log)
{
	struct build_change c[3] = { { 0 } };
	struct image *img;
	struct vhdx_build moved;

	build_start(&moved, 8 * MIB, 1 << 20, 512, 0);
	put_le64(moved.bytes + BUILD_REGIONS(0) + 16 + 16, BUILD_DATA_AT);
	put_le64(moved.bytes + BUILD_METADATA_AT + BUILD_SIZE, 6 * MIB);
	build_seal(&moved);
	c[0] = (struct build_change){ BUILD_REGIONS(0), moved.bytes + BUILD_REGIONS(0), 0 };
	c[1] = (struct build_change){ BUILD_METADATA_AT + 65536,
				      moved.bytes + BUILD_METADATA_AT + 65536, 0 };
	c[2] = (struct build_change){ BUILD_BAT_AT, NULL, PAGE };
	build_resize(&b, BUILD_DATA_AT + 3 * MIB);
	put_le64(b.bytes + BUILD_DATA_AT, (BUILD_DATA_AT + 2 * MIB) | 6);
	memset(b.bytes + BUILD_DATA_AT + 2 * MIB, 'q', MIB);
	memset(b.bytes + BUILD_BAT_AT, 0xff, PAGE);
	build_log_entry(&b, 0, 1, 0, c, 3);
	ck_assert_msg(!open_image(build_file(&b), &img), "%s", reason);
	ck_assert_uint_eq(img->size, 6 * MIB);
	ck_assert_int_eq(first_byte(img), 'q');
	image_close(img);
	build_end(&moved);
}
END_TEST

START_TEST(data_in_the_log)
{
	struct image *img;
	struct file *f;

	build_resize(&b, BUILD_DATA_AT + 2 * MIB);
	build_bat(&b, 0, BUILD_DATA_AT, 6);
	/* Of a block, and of none. */
	entry_of(0, 1, 0, BUILD_DATA_AT + MIB - PAGE, page_a);
	f = build_file(&b);
	ck_assert_int_eq(open_image(f, &img), -EOPNOTSUPP);
	ck_assert(strstr(reason, "data of the disk"));
	f->ops->close(f);
	entry_of(0, 1, 0, BUILD_DATA_AT + MIB, page_a);
	ck_assert_int_eq(open_image(build_file(&b), &img), 0);
	image_close(img);
}
END_TEST

START_TEST(a_lost_log)
{
	struct image *img;

	ck_assert_int_eq(open_image(build_file(&b), &img), 0);
	ck_assert(strstr(img->complaint, "log"));
	ck_assert(!img->read_only);
	image_close(img);
}
END_TEST

UNIT_MAIN("vhdx_log", setup, teardown, none, one, a_sequence, what_does_not_count, tails_in_a_cycle,
	  a_full_ring, longer_than_the_ring, zeros, many_pages, torn, bad_heads, bad_targets,
	  bad_lengths, all_claim_everything, a_huge_log, noise, our_entries, an_image_with_a_log,
	  replay_is_cut, written_after_a_replay, started_again, tables_in_the_log, data_in_the_log,
	  a_lost_log)

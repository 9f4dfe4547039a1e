// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk with a past loses nothing of it, whenever the power is cut or the daemon killed.
 *
 * tests/mutants/run breaks the orders of history.h, and sees this find it. These were broken by
 * hand, once:
 *
 *   a block with pieces is written directly        this
 *   a snapshot without the log                     this
 *   bits of a block stay after a moment            this
 *   pieces of all generations over a moment        this
 *   log records behind a size that is not durable  this, at a half of it
 *   no second look for a version                   history_threads
 *   pieces of a block by place, not by generation  history_threads, at times
 *   writes under way are before what is settled    history_faults
 *
 * Found by nothing, and harmless as far as we can see: no flush of the log before
 * the versions of a disk that is no clone (what is lost was not flushed, and a version
 * too many is right; of a clone each_flush_is_needed finds it);
 * is_saved() always false (a version is never replaced); a version up to its
 * moment instead of the generation before the write.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "history_ends.h"
#include "unit.h"
#include "vhd.h"
#include "vhdx.h"

static char why[HISTORY_WHY];

/*
 * The catalogue, opened at each end, asks for space ahead, and does not mind a
 * failure. On a tmpfs that would take longer than all the rest.
 */
int fallocate(int fd, int mode, off_t off, off_t len)
{
	errno = EOPNOTSUPP;
	return -1;
}

/* A new rig now and then: it gets slower. */
static void survives_case(const struct history_case *c, unsigned ends)
{
	unsigned n, seed = 1;

	for (ends = unit_scaled(ends); ends; ends -= n) {
		n = ends < 4000 ? ends : 4000;
		ck_assert_msg(history_ends(c, 10000 * seed++, n, why), "%s", why);
	}
}

static void survives(uint32_t bs, uint64_t size, uint64_t max, unsigned ends)
{
	const struct history_case c = { .block_size = bs, .size = size, .max = max };

	survives_case(&c, ends);
}

START_TEST(blocks_of_4k)
{
	survives(4096, 20 * 4096, 20 * 4096, 25000);
}
END_TEST

START_TEST(an_odd_size)
{
	survives(4096, 15 * 4096 + 1536, 20 * 4096, 25000);
}
END_TEST

START_TEST(blocks_of_16k)
{
	survives(16384, 6 * 16384 + 5 * 512, 9 * 16384 + 512, 25000);
}
END_TEST

START_TEST(blocks_of_1m)
{
	survives(1 << 20, (1 << 20) + 20 * 512, (2 << 20) + 512, 1000);
}
END_TEST

START_TEST(in_a_vhdx)
{
	const struct history_case c = { .block_size = 16384,
					.size = (1 << 20) + 100 * 512,
					.max = (2 << 20) + 512,
					.format = &vhdx_format,
					.kind = "vhdx",
					.unit = 1 << 20 };

	survives_case(&c, 2000);
}
END_TEST

START_TEST(in_a_vhd)
{
	const struct history_case c = { .block_size = 16384,
					.size = (1 << 20) + 100 * 512,
					.max = (2 << 20) + 512,
					.format = &vhd_format,
					.kind = "vhd",
					.unit = 512 << 10 };

	survives_case(&c, 2000);
}
END_TEST

/* Of a raw source, into a raw image and into a container. */
START_TEST(of_a_clone)
{
	struct history_case c = { .block_size = 4096,
				  .size = 15 * 4096 + 1536,
				  .max = 20 * 4096,
				  .is_clone = true };

	survives_case(&c, 25000);
	c = (struct history_case){ .block_size = 16384,
				   .size = (1 << 20) + 100 * 512,
				   .max = (2 << 20) + 512,
				   .format = &vhdx_format,
				   .kind = "vhdx",
				   .unit = 1 << 20,
				   .is_clone = true };
	survives_case(&c, 2000);
}
END_TEST

/* Without any of these flushes something is lost. */
static const struct {
	enum history_file file;
	enum history_work work;
	bool is_clone;
} needed[] = {
	{ HISTORY_STORE, HISTORY_SETTLE, false },  { HISTORY_IMAGE, HISTORY_SETTLE, false },
	{ HISTORY_LOG, HISTORY_FLUSH, false },     { HISTORY_IMAGE, HISTORY_FLUSH, false },
	{ HISTORY_LOG, HISTORY_SNAPSHOT, false },  { HISTORY_IMAGE, HISTORY_SNAPSHOT, false },
	{ HISTORY_IMAGE, HISTORY_FILL, true },     { HISTORY_LOG, HISTORY_SETTLE, true },
	{ HISTORY_IMAGE, HISTORY_RESTORE, false },
};

START_TEST(each_flush_is_needed)
{
	struct history_case c = { .block_size = 4096, .size = 15 * 4096 + 1536, .max = 20 * 4096 };

	for (size_t i = 0; i < UNIT_LENGTH(needed); i++) {
		bool right = true;

		c.lose = needed[i].file;
		c.lose_in = needed[i].work;
		c.is_clone = needed[i].is_clone;
		for (uint64_t seed = 1; right && seed < 20; seed++)
			right = history_ends(&c, 10000 * seed, 4000, why);
		ck_assert_msg(!right, "number %zu", i);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { blocks_of_4k, an_odd_size,         blocks_of_16k,
				       blocks_of_1m, in_a_vhdx,           in_a_vhd,
				       of_a_clone,   each_flush_is_needed };

	if (!access("/dev/shm", W_OK))
		setenv("TMPDIR", "/dev/shm", 1);
	return unit_run("power cut history", NULL, NULL, tests, UNIT_LENGTH(tests));
}

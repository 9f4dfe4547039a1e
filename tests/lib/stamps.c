// SPDX-License-Identifier: GPL-2.0-or-later
#include "stamps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "unit.h"

#define BLOCK 4096u
#define BLOCKS (SIZE / BLOCK)

struct journal *journal;

static uint64_t place(uint64_t n)
{
	uint64_t s = n * 2654435761u + 17;

	/* Some close together, so that they are written over in one generation. */
	return unit_below(&s, 3) ? unit_below(&s, BLOCKS) : unit_below(&s, 64);
}

int stamp(uint64_t n)
{
	uint64_t buf[BLOCK / 8];
	int err;

	for (size_t i = 0; i < BLOCK / 8; i++)
		buf[i] = n;
	atomic_store(&journal->begun, n);
	err = disk_write(source, buf, BLOCK, place(n) * BLOCK, 0);
	if (!err)
		atomic_store(&journal->done, n);
	return err;
}

void stamp_some(unsigned count)
{
	while (count--)
		ck_assert_int_eq(stamp(atomic_load(&journal->done) + 1), 0);
}

uint64_t generation_of(struct disk *d)
{
	uint64_t *now = malloc(SIZE), *is = calloc(BLOCKS, 8), last = 0;
	size_t done, torn = 0, wrong = 0;

	for (size_t off = 0; off < SIZE; off += MIB) {
		ck_assert_int_eq(disk_read(d, (char *)now + off, MIB, off, 0, &done), 0);
		ck_assert_uint_eq(done, MIB);
	}
	for (size_t b = 0; b < BLOCKS; b++) {
		const uint64_t *block = now + b * (BLOCK / 8);

		torn += memcmp(block, block + 1, BLOCK - 8) != 0;
		if (block[0] > last)
			last = block[0];
	}
	for (uint64_t n = 1; n <= last; n++)
		is[place(n)] = n;
	for (size_t b = 0; b < BLOCKS; b++)
		wrong += now[b * (BLOCK / 8)] != is[b];
	ck_assert_msg(!torn && !wrong, "%s: %zu blocks are torn, %zu not of generation %d",
		      d->label, torn, wrong, (int)last);
	free(now);
	free(is);
	return last;
}

uint64_t generation_in(const char *file)
{
	struct disk *target = temp_disk(file);
	uint64_t n;

	ck_assert_int_eq(disk_open(target, false), 0);
	n = generation_of(target);
	disk_close(target);
	disk_unref(target);
	return n;
}

uint64_t target_generation(void)
{
	return generation_in("b.img");
}

static bool has_generation(void *arg)
{
	return target_generation() >= *(uint64_t *)arg;
}

void follows(void)
{
	uint64_t n = atomic_load(&journal->done);

	ck_assert_msg(unit_until(has_generation, &n, 20), "%d, not %d, error %d",
		      (int)target_generation(), (int)n, facts().error);
}

void make_async(void)
{
	struct pair_request q = { .name = "m", .mode = MODE_ASYNCHRONOUS, .objective_s = 1 };

	ck_assert_msg(!mirror("b.img", q), "%s", why.message);
}

void stamps_setup(void)
{
	setup();
	journal = mmap(NULL, sizeof(*journal), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	ck_assert(journal != MAP_FAILED);
}

void *stamper(void *arg)
{
	(void)arg;
	while (!atomic_load(&journal->stop))
		if (stamp(atomic_load(&journal->done) + 1))
			break;
	return NULL;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* The heads of images that QEMU opens: the script's base says which format. */
#include "foreign_heads.h"

#include <string.h>

#include "target.h"

static foreign_head_read *const readers[] = {
	qcow2_head_read, vmdk_head_read, vdi_head_read, parallels_head_read, qed_head_read,
};
#define READERS (sizeof(readers) / sizeof(*readers))

#define READS ((uint64_t)16 << 20)
#define MEMORY ((size_t)1 << 20)

static struct memory *build(unsigned base)
{
	return memory_new(65536);
}

static void seal(struct memory *m, unsigned unsealed)
{
}

static const struct hot_field hot[] = {
	{ .at = 0, .width = 4, .count = 32, .stride = 4 },
	{ .at = 0, .width = 8, .count = 64, .stride = 8 },
	{ .at = 0, .width = 4, .count = 128, .stride = 4 },
	/* VMDK: a header that is not aligned, and its copy at the end. */
	{ .at = 12, .width = 8, .count = 8, .stride = 8 },
	{ .at = 48, .width = 8, .count = 3, .stride = 8 },
	{ .at = 73, .width = 4 },
	{ .at = 77, .width = 2 },
	{ .space = SPACE_END, .at = 1536, .width = 4, .count = 8, .stride = 4 },
	{ .space = SPACE_END, .at = 1024, .width = 4, .count = 20, .stride = 4 },
};

static struct memory *built[READERS];

static const struct subject qemu_subject = {
	.bases = READERS,
	.build = build,
	.built = built,
	.seal = seal,
	.hot = hot,
	.hot_count = sizeof(hot) / sizeof(*hot),
};

static void check(const struct foreign_head *h)
{
	MUST(h->size && h->size % 512 == 0 && h->size <= INT64_MAX, "size %llu",
	     (unsigned long long)h->size);
	MUST(h->block_size, "no block size");
	MUST(memchr(h->complaint, '\0', IMAGE_REASON), "a complaint without an end");
	MUST(!h->read_only || h->complaint[0], "read-only without a reason");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct foreign_head head, before;
	struct script s;
	struct memory *m;
	struct file *f;
	char reason[IMAGE_REASON] = "";
	int err;

	script_read(&s, data, size);
	m = subject_make(&qemu_subject, &s);
	memory_may_read(m, READS);
	memory_fail(m, s.fail_call % MEMORY_CALLS, s.fail_nth, s.fail_times);
	f = memory_file(m, true);
	memset(&head, 0x5a, sizeof(head));
	before = head;
	work_largest();
	err = readers[s.base % READERS](f, &head, reason);
	MUST(work_largest() < MEMORY, "too much memory");
	MUST(!memory_changes(m), "the file was changed");
	if (err)
		MUST(err < 0 && reason[0] && !memcmp(&head, &before, sizeof(head)),
		     "error %d, reason %s", err, reason);
	else
		check(&head);
	f->ops->close(f);
	return 0;
}

FUZZ_MUTATIONS(qemu_subject)

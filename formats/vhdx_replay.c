// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading the log: which entries count, and what they write. The log is a ring
 * of pages; an entry begins at any of them and may go on at the ring's beginning.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "vhdx_log.h"

static_assert(sizeof(struct vhdx_log_head) == 64, "as on disk");
static_assert(sizeof(struct vhdx_log_descriptor) == 32, "as on disk");

/* The usual one has 1 MiB. */
#define LOG_MAX ((uint64_t)64 << 20)
/* Entries that claim to overlap: so many times the log is summed up, not more. */
#define LOG_SUMS 8

/* An entry that is whole; length 0: none begins at this page. In pages. */
struct entry {
	uint64_t sequence;
	uint32_t length, tail;
};

struct ring {
	const uint8_t *bytes;
	uint32_t pages;
	const uint8_t *guid;
	struct entry *entries; /* by page */
	uint64_t budget;       /* pages that may still be summed up */
};

static const uint8_t *page_at(const struct ring *r, uint64_t page)
{
	return r->bytes + page % r->pages * VHDX_PAGE;
}

static struct vhdx_log_head head_at(const struct ring *r, uint32_t page)
{
	struct vhdx_log_head h;

	memcpy(&h, page_at(r, page), sizeof(h));
	return h;
}

/* Descriptors follow the head; none lies across a page's end. */
static struct vhdx_log_descriptor descriptor_at(const struct ring *r, uint32_t page, uint64_t i)
{
	uint64_t at = sizeof(struct vhdx_log_head) + i * sizeof(struct vhdx_log_descriptor);
	struct vhdx_log_descriptor d;

	memcpy(&d, page_at(r, page + at / VHDX_PAGE) + at % VHDX_PAGE, sizeof(d));
	return d;
}

static uint64_t descriptor_pages(uint64_t count)
{
	uint64_t bytes = sizeof(struct vhdx_log_head) + count * sizeof(struct vhdx_log_descriptor);

	return (bytes + VHDX_PAGE - 1) / VHDX_PAGE;
}

static bool is_zero(const struct vhdx_log_descriptor *d)
{
	return !memcmp(d->signature, "zero", 4);
}

static bool is_data(const struct vhdx_log_descriptor *d)
{
	return !memcmp(d->signature, "desc", 4);
}

static uint32_t sum_of(const struct ring *r, uint32_t page, uint32_t length)
{
	const uint8_t *first = page_at(r, page);
	uint32_t crc = crc32c(0, first, 4);

	crc = crc32c(crc, "\0\0\0", 4);
	crc = crc32c(crc, first + 8, VHDX_PAGE - 8);
	for (uint32_t i = 1; i < length; i++)
		crc = crc32c(crc, page_at(r, (uint64_t)page + i), VHDX_PAGE);
	return crc;
}

/* Does the page of data have this sequence at both ends? */
static bool data_fits(const uint8_t *page, uint64_t sequence)
{
	uint32_t high, low;

	memcpy(&high, page + 4, 4);
	memcpy(&low, page + VHDX_PAGE - 4, 4);
	return !memcmp(page, "data", 4) && le32toh(high) == sequence >> 32 &&
	       le32toh(low) == (uint32_t)sequence;
}

/* Every descriptor and page of data is of this entry. */
static bool parts_fit(const struct ring *r, uint32_t page, const struct vhdx_log_head *h)
{
	uint64_t count = le32toh(h->count), data = descriptor_pages(count);
	uint64_t length = le32toh(h->length) / VHDX_PAGE, sequence = le64toh(h->sequence);

	if (data > length)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		struct vhdx_log_descriptor d = descriptor_at(r, page, i);

		if (le64toh(d.sequence) != sequence || (!is_zero(&d) && !is_data(&d)))
			return false;
		if (is_data(&d) &&
		    (data == length || !data_fits(page_at(r, page + data++), sequence)))
			return false;
	}
	return true;
}

/* Fills entries[page] if a whole entry begins there. */
static int look_at(struct ring *r, uint32_t page)
{
	struct vhdx_log_head h = head_at(r, page);
	uint32_t length = le32toh(h.length) / VHDX_PAGE, tail = le32toh(h.tail);

	if (memcmp(h.signature, "loge", 4) || memcmp(h.guid, r->guid, 16) || !length ||
	    length > r->pages || le32toh(h.length) % VHDX_PAGE || tail % VHDX_PAGE ||
	    tail / VHDX_PAGE >= r->pages || !h.sequence)
		return 0;
	if (length > r->budget)
		return -EINVAL;
	r->budget -= length;
	if (sum_of(r, page, length) != le32toh(h.checksum) || !parts_fit(r, page, &h))
		return 0;
	r->entries[page] = (struct entry){
		.sequence = le64toh(h.sequence),
		.length = length,
		.tail = tail / VHDX_PAGE,
	};
	return 0;
}

/* Are all entries from its tail up to `head` there? */
static bool is_complete(const struct ring *r, uint32_t head)
{
	uint64_t at = r->entries[head].tail, sequence = r->entries[at].sequence;
	uint64_t pages = 0;

	while (r->entries[at].length && r->entries[at].sequence == sequence) {
		pages += r->entries[at].length;
		if (pages > r->pages)
			return false;
		if (at == head)
			return true;
		at = (at + r->entries[at].length) % r->pages;
		sequence++;
	}
	return false;
}

/* The newest entry whose sequence is complete; false: there is none. */
static bool find_head(const struct ring *r, uint32_t *head)
{
	/* Mostly the newest one is it. */
	for (uint64_t below = UINT64_MAX; below;) {
		uint64_t best = 0;

		for (uint32_t i = 0; i < r->pages; i++)
			if (r->entries[i].length && r->entries[i].sequence > best &&
			    r->entries[i].sequence <= below) {
				best = r->entries[i].sequence;
				*head = i;
			}
		if (!best)
			return false;
		if (is_complete(r, *head))
			return true;
		below = best - 1;
	}
	return false;
}

/* ---- what it writes ---- */

static bool overlaps(uint64_t at, uint64_t length, uint64_t start, uint64_t size)
{
	return at < start + size && start < at + length;
}

static int check_target(const struct vhdx_header *h, const struct vhdx_overlay *o, uint64_t at,
			uint64_t length, char reason[IMAGE_REASON])
{
	if (at % VHDX_PAGE || length % VHDX_PAGE || at > o->end || length > o->end - at)
		return image_fail(reason, -EINVAL, "its log would write at an impossible place");
	if (at < VHDX_LOGGED_FROM || overlaps(at, length, h->log_at, h->log_length))
		return image_fail(reason, -EINVAL, "its log would write over the header or itself");
	return 0;
}

static int add_data(struct vhdx_overlay *o, const struct vhdx_log_descriptor *d,
		    const uint8_t *page)
{
	uint8_t *copy = malloc(VHDX_PAGE);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, page, VHDX_PAGE);
	memcpy(copy, &d->leading, 8);
	memcpy(copy + VHDX_PAGE - 4, &d->trailing, 4);
	return vhdx_overlay_add(o, le64toh(d->at), VHDX_PAGE, copy);
}

static int add_entry(const struct ring *r, uint32_t page, const struct vhdx_header *h,
		     struct vhdx_overlay *o, char reason[IMAGE_REASON])
{
	struct vhdx_log_head head = head_at(r, page);
	uint64_t count = le32toh(head.count), data = descriptor_pages(count);
	int err = 0;

	for (uint64_t i = 0; i < count && !err; i++) {
		struct vhdx_log_descriptor d = descriptor_at(r, page, i);
		uint64_t length = is_zero(&d) ? le64toh(d.leading) : VHDX_PAGE;

		err = check_target(h, o, le64toh(d.at), length, reason);
		if (err)
			return err;
		err = is_zero(&d) ? vhdx_overlay_add(o, le64toh(d.at), length, NULL)
				  : add_data(o, &d, page_at(r, page + data++));
	}
	return err;
}

static int add_sequence(const struct ring *r, uint32_t head, const struct vhdx_header *h,
			struct vhdx_overlay *o, char reason[IMAGE_REASON])
{
	struct vhdx_log_head newest = head_at(r, head);
	uint64_t flushed = le64toh(newest.flushed), last = le64toh(newest.last);
	uint32_t at = r->entries[head].tail;
	int err;

	if (o->file_size < flushed)
		return image_fail(reason, -EINVAL,
				  "the file is shorter than its log says: it was cut off");
	if (last > INT64_MAX)
		return image_fail(reason, -EINVAL, "its log says an impossible length");
	if (last > o->end)
		o->end = last;
	for (;; at = (at + r->entries[at].length) % r->pages) {
		err = add_entry(r, at, h, o, reason);
		if (err || at == head)
			return err;
	}
}

static int replay(struct ring *r, const struct vhdx_header *h, struct vhdx_overlay *o, bool *lost,
		  char reason[IMAGE_REASON])
{
	uint32_t head = 0;

	for (uint32_t page = 0; page < r->pages; page++)
		if (look_at(r, page))
			return image_fail(reason, -EINVAL, "its log is damaged");
	if (find_head(r, &head))
		return add_sequence(r, head, h, o, reason);
	*lost = true;
	return 0;
}

int vhdx_log_replay(struct file *file, const struct vhdx_header *h, struct vhdx_overlay *o,
		    bool *lost, char reason[IMAGE_REASON])
{
	struct ring r = { .pages = h->log_length / VHDX_PAGE, .guid = h->log };
	uint8_t *bytes = NULL;
	int err = -ENOMEM;

	*lost = false;
	if (!memcmp(h->log, vhdx_guid_none, sizeof(h->log)))
		return 0;
	if (h->log_length > LOG_MAX)
		return image_fail(reason, -EOPNOTSUPP,
				  "its log is in use and has more than %llu MiB",
				  (unsigned long long)(LOG_MAX >> 20));
	bytes = malloc(h->log_length);
	r.bytes = bytes;
	r.entries = calloc(r.pages, sizeof(*r.entries));
	r.budget = (uint64_t)r.pages * LOG_SUMS;
	if (bytes && r.entries) {
		err = file->ops->read(file, bytes, h->log_length, h->log_at, 0);
		err = err ? image_fail(reason, err, "its log cannot be read")
			  : replay(&r, h, o, lost, reason);
	}
	free(bytes);
	free(r.entries);
	return err;
}

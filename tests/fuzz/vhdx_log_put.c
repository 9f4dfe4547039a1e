// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Entries of a log, from a short description, so that mutations make whole ones:
 *
 *   0   tail's page (16 bits), what is wrong with it, descriptors more than there are,
 *       sequence (32 bits)
 *   8   how much of the file is flushed, how long it is at last: in MiB; 0: as it is
 *   16  descriptors: kind, content, pages that are zeroed (16 bits), page (32 bits),
 *       value (64 bits)
 */
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "vhdx_log.h"
#include "vhdx_subject.h"

#define HEAD 16
#define DESCRIPTOR 16
/* Pages summed up when the log is sealed. */
#define SUM_PAGES 1024

enum { WRONG_GUID = 1, WRONG_LENGTH = 2, WRONG_DATA = 4 };
enum { KIND_DATA, KIND_ZERO, KIND_OTHER, KINDS };
enum {
	CONTENT_SAME,   /* what is there already */
	CONTENT_NUMBER, /* that with one number changed */
	CONTENT_ZEROS,
	CONTENT_BYTES,
	CONTENTS
};

struct log {
	struct memory *memory;
	uint64_t at;
	uint32_t pages;
	uint8_t guid[16];
};

/* As the headers of our own images say it. */
static bool find_log(struct memory *m, struct log *log)
{
	uint8_t header[80];

	memory_get(m, VHDX_HEADER_AT(0), header, sizeof(header));
	log->memory = m;
	log->pages = get_le32(header + 68) / VHDX_PAGE;
	log->at = get_le64(header + 72);
	memcpy(log->guid, header + 48, 16);
	return log->pages && log->pages <= 4096 && log->at < memory_size(m);
}

static uint64_t page_at(const struct log *log, uint64_t page)
{
	return log->at + page % log->pages * VHDX_PAGE;
}

static void fill_page(const struct log *log, const uint8_t *d, uint8_t page[VHDX_PAGE])
{
	uint64_t value = get_le64(d + 8);

	switch (d[1] % CONTENTS) {
	case CONTENT_ZEROS:
		memset(page, 0, VHDX_PAGE);
		return;
	case CONTENT_BYTES:
		memset(page, value, VHDX_PAGE);
		return;
	}
	memory_get(log->memory, (uint64_t)get_le32(d + 4) * VHDX_PAGE, page, VHDX_PAGE);
	if (d[1] % CONTENTS == CONTENT_NUMBER)
		put_le64(page + (value >> 48) % (VHDX_PAGE / 8) * 8, value & 0xffffffffffff);
}

/* A descriptor, and the page of data that belongs to it. */
static void put_one(const struct log *log, uint64_t page, uint32_t i, const uint8_t *d,
		    uint64_t sequence, uint32_t *data)
{
	static const char *const signatures[KINDS] = { "desc", "zero", "none" };
	struct vhdx_log_descriptor out = { .at = (uint64_t)get_le32(d + 4) * VHDX_PAGE,
					   .sequence = sequence };
	uint64_t at = sizeof(struct vhdx_log_head) + i * sizeof(out);
	uint8_t bytes[VHDX_PAGE];

	memcpy(out.signature, signatures[d[0] % KINDS], 4);
	out.leading = (uint64_t)get_le16(d + 2) * VHDX_PAGE;
	if (d[0] % KINDS == KIND_DATA) {
		fill_page(log, d, bytes);
		memcpy(&out.leading, bytes, 8);
		memcpy(&out.trailing, bytes + VHDX_PAGE - 4, 4);
		memcpy(bytes, "data", 4);
		put_le32(bytes + 4, sequence >> 32);
		put_le32(bytes + VHDX_PAGE - 4, sequence);
		memory_put(log->memory, page_at(log, page + (*data)++), bytes, VHDX_PAGE);
	}
	memory_put(log->memory, page_at(log, page + at / VHDX_PAGE) + at % VHDX_PAGE, &out,
		   sizeof(out));
}

void vhdx_log_put(struct memory *m, const struct script_patch *p)
{
	uint32_t count = p->length < HEAD ? 0 : (p->length - HEAD) / DESCRIPTOR;
	uint32_t data = (sizeof(struct vhdx_log_head) + count * 32 + VHDX_PAGE - 1) / VHDX_PAGE;
	struct vhdx_log_head head = { .signature = { 'l', 'o', 'g', 'e' } };
	struct log log;

	if (p->length < HEAD || !find_log(m, &log))
		return;
	head.sequence = get_le32(p->bytes + 4);
	for (uint32_t i = 0; i < count; i++)
		put_one(&log, p->at, i, p->bytes + HEAD + i * DESCRIPTOR, head.sequence, &data);
	head.length = data * VHDX_PAGE + (p->bytes[2] & WRONG_LENGTH ? 512 : 0);
	head.tail = get_le16(p->bytes) * VHDX_PAGE;
	head.count = count + p->bytes[3];
	memcpy(head.guid, log.guid, sizeof(head.guid));
	head.guid[0] ^= p->bytes[2] & WRONG_GUID;
	head.flushed = (uint64_t)get_le32(p->bytes + 8) << 20;
	head.last = (uint64_t)get_le32(p->bytes + 12) << 20;
	if (!head.flushed)
		head.flushed = memory_size(m);
	if (!head.last)
		head.last = memory_size(m);
	memory_put(m, page_at(&log, p->at), &head, sizeof(head));
}

/* ---- sums ---- */

static void seal_entry(const struct log *log, uint32_t page, uint32_t pages)
{
	uint8_t bytes[VHDX_PAGE];
	uint32_t crc = 0;

	for (uint32_t i = 0; i < pages; i++) {
		memory_get(log->memory, page_at(log, (uint64_t)page + i), bytes, VHDX_PAGE);
		if (!i)
			put_le32(bytes + 4, 0);
		crc = crc32c(crc, bytes, VHDX_PAGE);
	}
	put_le32(bytes, crc);
	memory_put(log->memory, page_at(log, page) + 4, bytes, 4);
}

void vhdx_log_seal(struct memory *m)
{
	uint32_t budget = SUM_PAGES, pages;
	uint8_t head[16];
	struct log log;

	if (!find_log(m, &log))
		return;
	/* From the end on, so that no sum is in what was summed up before. */
	for (uint32_t page = log.pages; page-- > 0;) {
		memory_get(m, page_at(&log, page), head, sizeof(head));
		pages = get_le32(head + 8) / VHDX_PAGE;
		if (memcmp(head, "loge", 4) || !pages || pages > log.pages || pages > budget)
			continue;
		budget -= pages;
		seal_entry(&log, page, pages);
	}
}

/* ---- new ones ---- */

static uint64_t below(uint64_t *random, uint64_t n)
{
	return fuzz_random(random) % n;
}

/* Pages of the tables, mostly. */
static uint32_t target_page(uint64_t *random)
{
	switch (below(random, 6)) {
	case 0:
		return 512 + below(random, 2) * 16; /* metadata */
	case 1:
		return 48 + below(random, 32); /* region tables */
	case 2:
		return below(random, 2048);
	default:
		return 768 + below(random, 2); /* block table */
	}
}

static void invent_descriptor(uint8_t *d, uint64_t *random)
{
	uint64_t entry = below(random, 32) << 20 | (below(random, 2) ? 6 : below(random, 8));

	d[0] = below(random, 16) ? below(random, 4) == 0 : KIND_OTHER;
	d[1] = below(random, 3) ? CONTENT_NUMBER : below(random, CONTENTS);
	put_le16(d + 2, below(random, 4) ? 1 : below(random, 1024));
	put_le32(d + 4, target_page(random));
	put_le64(d + 8, below(random, 16) << 48 | entry);
}

/*
 * Of one page and one page of data, so that several follow each other: the place
 * tells the sequence.
 */
void vhdx_log_invent(struct script_patch *p, uint8_t bytes[SCRIPT_LENGTH], uint64_t *random)
{
	unsigned slot = below(random, 6), count = below(random, 4) ? 1 : below(random, 5);

	p->space = SPACE_LOG;
	p->at = slot * 2 + (below(random, 8) ? 0 : below(random, 256));
	p->length = HEAD + count * DESCRIPTOR;
	memset(bytes, 0, p->length);
	put_le16(bytes, below(random, 4) ? 0 : below(random, 2) ? p->at : below(random, 256));
	bytes[2] = below(random, 16) ? 0 : 1 << below(random, 3);
	bytes[3] = below(random, 16) ? 0 : below(random, 256);
	put_le32(bytes + 4, 10 + slot + (below(random, 8) ? 0 : below(random, 8)));
	put_le32(bytes + 8, below(random, 8) ? 0 : below(random, 16));
	put_le32(bytes + 12, below(random, 8) ? 0 : below(random, 64));
	for (unsigned i = 0; i < count; i++)
		invent_descriptor(bytes + HEAD + i * DESCRIPTOR, random);
}

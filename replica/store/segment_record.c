// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bytes of heads, little-endian. Both begin with a magic number and the
 * CRC-32C of all that follows.
 *
 *   segment  0 magic  4 CRC  8 number  16 writer  24 follows  32 durable  40 begin
 *   record   0 magic  4 CRC  8 CRC of the data  12 kind  16 place  24 offset
 *            32 length  40 generation  48 writer
 *
 * The writer is in both: a guest may put anything into its data, also what looks
 * like a record, but does not know that number.
 */
#include "segments_inner.h"

#include <string.h>

#include "bytes.h"
#include "crc32c.h"

#define SEGMENT_MAGIC 0x67537454u /* "TtSg" */
#define RECORD_MAGIC 0x63527454u  /* "TtRc" */

#define CRC_FROM 8

static void finish(uint8_t *head, uint32_t magic)
{
	put_le32(head, magic);
	put_le32(head + 4, crc32c(0, head + CRC_FROM, SEGMENT_UNIT - CRC_FROM));
}

static bool is_whole(const uint8_t *head, uint32_t magic)
{
	return get_le32(head) == magic &&
	       get_le32(head + 4) == crc32c(0, head + CRC_FROM, SEGMENT_UNIT - CRC_FROM);
}

void segment_head_put(const struct segment_head *h, uint8_t out[SEGMENT_HEAD])
{
	memset(out, 0, SEGMENT_HEAD);
	put_le64(out + 8, h->number);
	put_le64(out + 16, h->writer);
	put_le64(out + 24, h->follows);
	put_le64(out + 32, h->durable);
	put_le64(out + 40, h->begin);
	finish(out, SEGMENT_MAGIC);
}

bool segment_head_get(struct segment_head *h, uint64_t number, const uint8_t in[SEGMENT_HEAD])
{
	*h = (struct segment_head){
		.number = get_le64(in + 8),
		.writer = get_le64(in + 16),
		.follows = get_le64(in + 24),
		.durable = get_le64(in + 32),
		.begin = get_le64(in + 40),
	};
	return is_whole(in, SEGMENT_MAGIC) && h->number == number &&
	       h->follows / SEGMENT_SIZE < number && h->durable / SEGMENT_SIZE <= number &&
	       h->begin >= SEGMENT_HEAD && h->begin <= SEGMENT_ROOM && h->begin % SEGMENT_UNIT == 0;
}

uint64_t record_data(const struct record *r)
{
	return r->kind == RECORD_ZERO ? 0 : r->length;
}

uint64_t record_space(uint64_t length)
{
	return RECORD_HEAD + (length + SEGMENT_UNIT - 1) / SEGMENT_UNIT * SEGMENT_UNIT;
}

bool record_valid(const struct record *r)
{
	return (r->kind == RECORD_WRITE || r->kind == RECORD_ZERO || r->kind == RECORD_VERSION) &&
	       r->length && r->length <= INT64_MAX && r->offset <= INT64_MAX - r->length &&
	       record_data(r) <= RECORD_DATA_MAX;
}

void record_head_put(const struct record_head *h, uint8_t out[RECORD_HEAD])
{
	memset(out, 0, RECORD_HEAD);
	put_le32(out + 8, h->data_crc);
	put_le32(out + 12, h->record.kind);
	put_le64(out + 16, h->place);
	put_le64(out + 24, h->record.offset);
	put_le64(out + 32, h->record.length);
	put_le64(out + 40, h->record.generation);
	put_le64(out + 48, h->writer);
	finish(out, RECORD_MAGIC);
}

bool record_head_get(struct record_head *h, uint64_t place, const uint8_t in[RECORD_HEAD])
{
	uint64_t at = place % SEGMENT_SIZE;

	*h = (struct record_head){
		.record = { .kind = get_le32(in + 12),
			    .offset = get_le64(in + 24),
			    .length = get_le64(in + 32),
			    .generation = get_le64(in + 40) },
		.place = get_le64(in + 16),
		.writer = get_le64(in + 48),
		.data_crc = get_le32(in + 8),
	};
	return is_whole(in, RECORD_MAGIC) && h->place == place && record_valid(&h->record) &&
	       at + record_space(record_data(&h->record)) <= SEGMENT_ROOM;
}

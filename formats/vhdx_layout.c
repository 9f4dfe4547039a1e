// SPDX-License-Identifier: GPL-2.0-or-later
#include "vhdx_layout.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "crc32c.h"

/* As on disk: of the text form the first three numbers are little-endian. */
// clang-format off
#define GUID(a, b, c, d, e, f, g, h, i, j, k) \
	{ (a) & 255, (a) >> 8 & 255, (a) >> 16 & 255, (a) >> 24, (b) & 255, (b) >> 8, \
	  (c) & 255, (c) >> 8, d, e, f, g, h, i, j, k }

const uint8_t vhdx_guid_bat[16] =
	GUID(0x2dc27766u, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08);
const uint8_t vhdx_guid_metadata[16] =
	GUID(0x8b7ca206u, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e);
const uint8_t vhdx_guid_parameters[16] =
	GUID(0xcaa16737u, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b);
const uint8_t vhdx_guid_size[16] =
	GUID(0x2fa54224u, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8);
const uint8_t vhdx_guid_page83[16] =
	GUID(0xbeca12abu, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46);
const uint8_t vhdx_guid_logical[16] =
	GUID(0x8141bf1du, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f);
const uint8_t vhdx_guid_physical[16] =
	GUID(0xcda348c7u, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56);
const uint8_t vhdx_guid_locator[16] =
	GUID(0xa8d35f2du, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c);
const uint8_t vhdx_guid_locator_type[16] =
	GUID(0xb04aefb7u, 0xd19e, 0x4a81, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13);
const uint8_t vhdx_guid_none[16];
// clang-format on

int vhdx_guid_make(uint8_t guid[16])
{
	uint8_t fresh[16];

	if (getrandom(fresh, sizeof(fresh), 0) != sizeof(fresh))
		return -EIO;
	fresh[7] = (fresh[7] & 15) | 4 << 4; /* says that it is random */
	fresh[8] = (fresh[8] & 63) | 128;
	memcpy(guid, fresh, sizeof(fresh));
	return 0;
}

/* Of a structure whose own sum, at byte 4, counts as zeros. */
static uint32_t sum_of(const uint8_t *p, size_t len)
{
	uint32_t crc = crc32c(0, p, 4);

	crc = crc32c(crc, "\0\0\0", 4);
	return crc32c(crc, p + 8, len - 8);
}

static bool sum_is_right(const uint8_t *p, size_t len)
{
	uint32_t sum;

	memcpy(&sum, p + 4, 4);
	return le32toh(sum) == sum_of(p, len);
}

/* ---- headers ---- */

struct disk_header {
	char signature[4];
	uint32_t checksum;
	uint64_t sequence;
	uint8_t file_write[16], data_write[16], log[16];
	uint16_t log_version, version;
	uint32_t log_length;
	uint64_t log_at;
	uint8_t reserved[4016];
};

static_assert(sizeof(struct disk_header) == VHDX_PAGE, "as on disk");

static int read_header(struct file *file, unsigned slot, struct disk_header *d, bool *valid)
{
	int err = file->ops->read(file, d, sizeof(*d), VHDX_HEADER_AT(slot), 0);

	if (!err)
		*valid = !memcmp(d->signature, "head", 4) &&
			 sum_is_right((const uint8_t *)d, sizeof(*d));
	return err;
}

/* Which of the two counts. */
static int choose(const struct disk_header d[2], const bool valid[2], unsigned *slot,
		  char reason[IMAGE_REASON])
{
	uint64_t a = le64toh(d[0].sequence), b = le64toh(d[1].sequence);

	if (!valid[0] && !valid[1])
		return image_fail(reason, -EINVAL, "both copies of its header are damaged");
	if (valid[0] && valid[1] && a == b && memcmp(&d[0], &d[1], sizeof(d[0])))
		return image_fail(reason, -EINVAL,
				  "the copies of its header contradict each other");
	*slot = !valid[0] || (valid[1] && b > a);
	return 0;
}

static int check_header(const struct disk_header *d, uint64_t file_size, char reason[IMAGE_REASON])
{
	uint64_t at = le64toh(d->log_at), length = le32toh(d->log_length);

	if (le16toh(d->version) != 1)
		return image_fail(reason, -EINVAL, "it is of version %u of VHDX; only 1 is known",
				  le16toh(d->version));
	if (le16toh(d->log_version))
		return image_fail(reason, -EINVAL, "its log is of version %u; only 0 is known",
				  le16toh(d->log_version));
	if (!length || length % VHDX_MIB || at % VHDX_MIB || at < VHDX_MIB)
		return image_fail(reason, -EINVAL, "its log has an impossible place or length");
	if (at > file_size || length > file_size - at)
		return image_fail(reason, -EINVAL,
				  "the file ends before its log does: it was cut off");
	return 0;
}

static int check_identifier(struct file *file, uint64_t file_size, char reason[IMAGE_REASON])
{
	char id[8];
	int err;

	if (file_size < VHDX_MIB)
		return image_fail(reason, -EINVAL, "it is too short for a VHDX file");
	err = file->ops->read(file, id, sizeof(id), 0, 0);
	if (err)
		return image_fail(reason, err, "it cannot be read");
	if (memcmp(id, "vhdxfile", sizeof(id)))
		return image_fail(reason, -EINVAL, "it is not a VHDX file");
	return 0;
}

int vhdx_read_headers(struct file *file, uint64_t file_size, struct vhdx_layout *l,
		      char reason[IMAGE_REASON])
{
	struct disk_header *d;
	bool valid[2] = { false, false };
	unsigned slot = 0;
	int err = check_identifier(file, file_size, reason);

	if (err)
		return err;
	d = calloc(2, sizeof(*d));
	if (!d)
		return -ENOMEM;
	for (unsigned i = 0; i < 2 && !err; i++)
		err = read_header(file, i, &d[i], &valid[i]);
	if (err)
		image_fail(reason, err, "its header cannot be read");
	else
		err = choose(d, valid, &slot, reason);
	if (!err)
		err = check_header(&d[slot], file_size, reason);
	if (!err) {
		l->slot = slot;
		l->header.sequence = le64toh(d[slot].sequence);
		l->header.log_at = le64toh(d[slot].log_at);
		l->header.log_length = le32toh(d[slot].log_length);
		memcpy(l->header.file_write, d[slot].file_write, 16);
		memcpy(l->header.data_write, d[slot].data_write, 16);
		memcpy(l->header.log, d[slot].log, 16);
	}
	free(d);
	return err;
}

int vhdx_write_header(struct file *file, unsigned slot, const struct vhdx_header *h)
{
	struct disk_header d = {
		.signature = { 'h', 'e', 'a', 'd' },
		.sequence = htole64(h->sequence),
		.version = htole16(1),
		.log_length = htole32(h->log_length),
		.log_at = htole64(h->log_at),
	};

	memcpy(d.file_write, h->file_write, 16);
	memcpy(d.data_write, h->data_write, 16);
	memcpy(d.log, h->log, 16);
	d.checksum = htole32(sum_of((const uint8_t *)&d, sizeof(d)));
	return file->ops->write(file, &d, sizeof(d), VHDX_HEADER_AT(slot), 0);
}

/* ---- region tables ---- */

static_assert(sizeof(struct vhdx_region_head) == 16, "as on disk");
static_assert(sizeof(struct vhdx_region_entry) == 32, "as on disk");

#define REGIONS_MAX ((VHDX_TABLE - 16) / 32)

static bool regions_valid(const uint8_t *table)
{
	struct vhdx_region_head head;

	memcpy(&head, table, sizeof(head));
	return !memcmp(head.signature, "regi", 4) && le32toh(head.count) <= REGIONS_MAX &&
	       sum_is_right(table, VHDX_TABLE);
}

int vhdx_load_regions(struct file *file, const struct vhdx_overlay *o, uint8_t table[VHDX_TABLE])
{
	for (unsigned copy = 0; copy < 2; copy++) {
		int err = vhdx_overlay_read(o, file, table, VHDX_TABLE, VHDX_REGIONS_AT(copy));

		if (err || regions_valid(table))
			return err;
	}
	return -EINVAL;
}

static bool regions_whole(struct file *file, const struct vhdx_overlay *o, unsigned copy)
{
	uint8_t *table = malloc(VHDX_TABLE);
	bool whole = table &&
		     !vhdx_overlay_read(o, file, table, VHDX_TABLE, VHDX_REGIONS_AT(copy)) &&
		     regions_valid(table);

	free(table);
	return whole;
}

bool vhdx_copies_are_whole(struct file *file, const struct vhdx_overlay *o,
			   char reason[IMAGE_REASON])
{
	for (unsigned copy = 0; copy < 2; copy++) {
		struct disk_header header;
		bool valid = false;

		if (read_header(file, copy, &header, &valid) || !valid) {
			image_fail(reason, 0, "a copy of its header is damaged");
			return false;
		}
		if (!regions_whole(file, o, copy)) {
			image_fail(reason, 0, "a copy of its region table is damaged");
			return false;
		}
	}
	return true;
}

void vhdx_seal_regions(uint8_t table[VHDX_TABLE])
{
	uint32_t sum = htole32(sum_of(table, VHDX_TABLE));

	memcpy(table + 4, &sum, sizeof(sum));
}

static int compare_ranges(const void *a, const void *b)
{
	const struct vhdx_range *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

static bool overlap(struct vhdx_range *list, size_t count)
{
	qsort(list, count, sizeof(*list), compare_ranges);
	for (size_t i = 1; i < count; i++)
		if (list[i].at < list[i - 1].at + list[i - 1].length)
			return true;
	return false;
}

/* One entry: what is it? */
static int take_region(struct vhdx_layout *l, const struct vhdx_region_entry *e, uint64_t end,
		       struct vhdx_range *r, char reason[IMAGE_REASON])
{
	bool bat = !memcmp(e->guid, vhdx_guid_bat, 16);
	bool metadata = !memcmp(e->guid, vhdx_guid_metadata, 16);
	struct vhdx_range *own = bat ? &l->bat : &l->metadata;

	*r = (struct vhdx_range){ le64toh(e->at), le32toh(e->length) };
	if (!bat && !metadata && le32toh(e->required) & 1)
		return image_fail(reason, -EOPNOTSUPP,
				  "it has a region that is required and not known");
	if (r->at < VHDX_MIB || r->at % VHDX_MIB || r->length % VHDX_MIB || !r->length ||
	    r->at > INT64_MAX - r->length)
		return image_fail(reason, -EINVAL, "a region has an impossible place or length");
	if (!bat && !metadata) {
		if (l->others_count < VHDX_OTHERS)
			l->others[l->others_count++] = *r;
		else
			l->too_many_others = true;
		return 0;
	}
	if (own->length)
		return image_fail(reason, -EINVAL, "it has the same region twice");
	if (r->at > end || r->length > end - r->at)
		return image_fail(reason, -EINVAL,
				  "the file ends before its %s does: it was cut off",
				  bat ? "block table" : "metadata");
	*own = *r;
	return 0;
}

int vhdx_read_regions(struct file *file, const struct vhdx_overlay *o, struct vhdx_layout *l,
		      char reason[IMAGE_REASON])
{
	uint8_t *table = malloc(VHDX_TABLE);
	struct vhdx_range *list = calloc(REGIONS_MAX + 1, sizeof(*list));
	struct vhdx_region_head head = { .count = 0 };
	int err = -ENOMEM;

	if (!table || !list)
		goto out;
	err = vhdx_load_regions(file, o, table);
	if (err) {
		image_fail(reason, err,
			   err == -EINVAL ? "both copies of its region table are damaged"
					  : "its region table cannot be read");
		goto out;
	}
	memcpy(&head, table, sizeof(head));
	head.count = le32toh(head.count);
	for (uint32_t i = 0; i < head.count && !err; i++) {
		struct vhdx_region_entry e;

		memcpy(&e, table + sizeof(head) + i * sizeof(e), sizeof(e));
		err = take_region(l, &e, o->end, &list[i], reason);
	}
	list[head.count] = (struct vhdx_range){ l->header.log_at, l->header.log_length };
	if (!err && overlap(list, head.count + 1))
		err = image_fail(reason, -EINVAL, "its regions overlap");
	if (!err && (!l->bat.length || !l->metadata.length))
		err = image_fail(reason, -EINVAL, "it has no %s",
				 l->bat.length ? "metadata" : "block table");
out:
	free(table);
	free(list);
	return err;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "vhd_layout.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"

/* Offsets in a footer. */
enum {
	FOOTER_FEATURES = 8,
	FOOTER_VERSION = 12,
	FOOTER_HEADER = 16,
	FOOTER_TIME = 24,
	FOOTER_CREATOR = 28,
	FOOTER_ORIGINAL_SIZE = 40,
	FOOTER_SIZE = 48,
	FOOTER_GEOMETRY = 56,
	FOOTER_TYPE = 60,
	FOOTER_CHECKSUM = 64,
	FOOTER_UUID = 68,
};

/* Offsets in a header. */
enum {
	HEADER_NEXT = 8,
	HEADER_TABLE = 16,
	HEADER_VERSION = 24,
	HEADER_ENTRIES = 28,
	HEADER_BLOCK_SIZE = 32,
	HEADER_CHECKSUM = 36,
	HEADER_PARENT_UUID = 40,
	HEADER_PARENT_TIME = 56,
	HEADER_PARENT_NAME = 64,
	HEADER_LOCATORS = 576,
};
#define PARENT_NAME_BYTES 512
#define VERSION 0x00010000u
/* 2000-01-01 00:00 UTC */
#define EPOCH 946684800

static uint32_t checksum(const uint8_t *bytes, size_t len, size_t field)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i < field || i >= field + 4)
			sum += bytes[i];
	return ~sum;
}

uint32_t vhd_time(time_t t)
{
	return t < EPOCH ? 0 : t - EPOCH;
}

/* ---- footer ---- */

int vhd_footer_read(const uint8_t bytes[VHD_SECTOR], struct vhd_footer *out,
		    char reason[IMAGE_REASON])
{
	uint32_t type = get_be32(bytes + FOOTER_TYPE);

	if (memcmp(bytes, "conectix", 8))
		return image_fail(reason, -EINVAL, "there is no VHD footer at its end");
	if (get_be32(bytes + FOOTER_CHECKSUM) != checksum(bytes, VHD_SECTOR, FOOTER_CHECKSUM))
		return image_fail(reason, -EINVAL, "the checksum of its VHD footer is wrong");
	if (get_be32(bytes + FOOTER_VERSION) >> 16 != VERSION >> 16)
		return image_fail(reason, -EINVAL, "it is of an unknown version of VHD");
	if (type != VHD_FIXED && type != VHD_DYNAMIC && type != VHD_DIFFERENCING)
		return image_fail(reason, -EINVAL, "it is of an unknown type of VHD (%u)", type);
	out->type = type;
	out->size = get_be64(bytes + FOOTER_SIZE);
	out->header_offset = get_be64(bytes + FOOTER_HEADER);
	memcpy(out->uuid, bytes + FOOTER_UUID, sizeof(out->uuid));
	if (!out->size || out->size % VHD_SECTOR || out->size > VHD_SIZE_MAX)
		return image_fail(reason, -EINVAL, "its VHD footer tells an impossible size");
	return 0;
}

/* Cylinders, heads, sectors: as the specification says, for programs that want them. */
static uint32_t geometry(uint64_t size)
{
	uint64_t total = size / VHD_SECTOR, per_head;
	uint32_t heads, sectors, cylinders;

	if (total > 65535ull * 16 * 255)
		total = 65535ull * 16 * 255;
	if (total >= 65535ull * 16 * 63) {
		sectors = 255;
		heads = 16;
		per_head = total / sectors;
	} else {
		sectors = 17;
		per_head = total / sectors;
		heads = (per_head + 1023) / 1024;
		if (heads < 4)
			heads = 4;
		if (per_head >= heads * 1024 || heads > 16) {
			sectors = 31;
			heads = 16;
			per_head = total / sectors;
		}
		if (per_head >= heads * 1024) {
			sectors = 63;
			heads = 16;
			per_head = total / sectors;
		}
	}
	cylinders = per_head / heads;
	return cylinders << 16 | heads << 8 | sectors;
}

static void footer_seal(uint8_t bytes[VHD_SECTOR])
{
	put_be32(bytes + FOOTER_CHECKSUM, checksum(bytes, VHD_SECTOR, FOOTER_CHECKSUM));
}

void vhd_footer_set_size(uint8_t bytes[VHD_SECTOR], uint64_t size)
{
	put_be64(bytes + FOOTER_SIZE, size);
	put_be32(bytes + FOOTER_GEOMETRY, geometry(size));
	footer_seal(bytes);
}

void vhd_footer_write(uint8_t bytes[VHD_SECTOR], const struct vhd_footer *f, time_t now)
{
	memset(bytes, 0, VHD_SECTOR);
	memcpy(bytes, "conectix", 8);
	put_be32(bytes + FOOTER_FEATURES, 2);
	put_be32(bytes + FOOTER_VERSION, VERSION);
	put_be64(bytes + FOOTER_HEADER, f->type == VHD_FIXED ? UINT64_MAX : f->header_offset);
	put_be32(bytes + FOOTER_TIME, vhd_time(now));
	/*
	 * The creator decides whether others believe the size or the geometry, which
	 * cannot tell every size. This one stands for the size.
	 */
	memcpy(bytes + FOOTER_CREATOR, "win \0\x0a\0\0Wi2k", 12);
	put_be64(bytes + FOOTER_ORIGINAL_SIZE, f->size);
	put_be32(bytes + FOOTER_TYPE, f->type);
	memcpy(bytes + FOOTER_UUID, f->uuid, sizeof(f->uuid));
	vhd_footer_set_size(bytes, f->size);
}

/* ---- header ---- */

static void locator_read(const uint8_t *bytes, struct vhd_locator *l)
{
	l->code = get_be32(bytes);
	l->space = get_be32(bytes + 4);
	/* Some count sectors, some bytes. */
	if (l->space < VHD_SECTOR)
		l->space *= VHD_SECTOR;
	l->length = get_be32(bytes + 8);
	l->offset = get_be64(bytes + 16);
}

int vhd_header_read(const uint8_t bytes[VHD_HEADER], struct vhd_header *out,
		    char reason[IMAGE_REASON])
{
	if (memcmp(bytes, "cxsparse", 8))
		return image_fail(reason, -EINVAL, "there is no header of a dynamic VHD");
	if (get_be32(bytes + HEADER_CHECKSUM) != checksum(bytes, VHD_HEADER, HEADER_CHECKSUM))
		return image_fail(reason, -EINVAL, "the checksum of its VHD header is wrong");
	if (get_be32(bytes + HEADER_VERSION) >> 16 != VERSION >> 16)
		return image_fail(reason, -EINVAL, "its header is of an unknown version of VHD");
	out->table_offset = get_be64(bytes + HEADER_TABLE);
	out->entries = get_be32(bytes + HEADER_ENTRIES);
	out->block_size = get_be32(bytes + HEADER_BLOCK_SIZE);
	memcpy(out->parent_uuid, bytes + HEADER_PARENT_UUID, sizeof(out->parent_uuid));
	out->parent_time = get_be32(bytes + HEADER_PARENT_TIME);
	vhd_name_from_utf16(bytes + HEADER_PARENT_NAME, PARENT_NAME_BYTES, true, out->parent_name,
			    sizeof(out->parent_name));
	for (size_t i = 0; i < VHD_LOCATORS; i++)
		locator_read(bytes + HEADER_LOCATORS + 24 * i, &out->locators[i]);
	return 0;
}

void vhd_header_set_table(uint8_t bytes[VHD_HEADER], uint64_t offset, uint32_t entries)
{
	put_be64(bytes + HEADER_TABLE, offset);
	put_be32(bytes + HEADER_ENTRIES, entries);
	put_be32(bytes + HEADER_CHECKSUM, checksum(bytes, VHD_HEADER, HEADER_CHECKSUM));
}

void vhd_header_write(uint8_t bytes[VHD_HEADER], const struct vhd_header *h)
{
	memset(bytes, 0, VHD_HEADER);
	memcpy(bytes, "cxsparse", 8);
	put_be64(bytes + HEADER_NEXT, UINT64_MAX);
	put_be32(bytes + HEADER_VERSION, VERSION);
	put_be32(bytes + HEADER_BLOCK_SIZE, h->block_size);
	memcpy(bytes + HEADER_PARENT_UUID, h->parent_uuid, sizeof(h->parent_uuid));
	put_be32(bytes + HEADER_PARENT_TIME, h->parent_time);
	vhd_name_to_utf16(h->parent_name, true, bytes + HEADER_PARENT_NAME, PARENT_NAME_BYTES - 2);
	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *l = &h->locators[i];
		uint8_t *at = bytes + HEADER_LOCATORS + 24 * i;

		put_be32(at, l->code);
		put_be32(at + 4, l->space);
		put_be32(at + 8, l->length);
		put_be64(at + 16, l->offset);
	}
	vhd_header_set_table(bytes, h->table_offset, h->entries);
}

/* ---- names ---- */

static size_t utf8_of(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = 0xc0 | c >> 6;
		out[1] = 0x80 | (c & 0x3f);
		return 2;
	}
	if (c < 0x10000) {
		out[0] = 0xe0 | c >> 12;
		out[1] = 0x80 | (c >> 6 & 0x3f);
		out[2] = 0x80 | (c & 0x3f);
		return 3;
	}
	out[0] = 0xf0 | c >> 18;
	out[1] = 0x80 | (c >> 12 & 0x3f);
	out[2] = 0x80 | (c >> 6 & 0x3f);
	out[3] = 0x80 | (c & 0x3f);
	return 4;
}

void vhd_name_from_utf16(const uint8_t *bytes, size_t len, bool big, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i + 1 < len; i += 2) {
		uint32_t c = big ? get_be16(bytes + i) : get_le16(bytes + i), low;
		char utf8[4];
		size_t n;

		if (!c)
			break;
		if (c >= 0xd800 && c < 0xe000) {
			low = i + 3 >= len ? 0
			      : big        ? get_be16(bytes + i + 2)
					   : get_le16(bytes + i + 2);
			if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000) {
				c = '?';
			} else {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				i += 2;
			}
		}
		n = utf8_of(c == '\\' ? '/' : c, utf8);
		if (used + n >= size)
			break;
		memcpy(out + used, utf8, n);
		used += n;
	}
	out[used] = '\0';
}

/* The next character of UTF-8; one byte of what is none is '?'. */
static uint32_t next_character(const char **at)
{
	const uint8_t *s = (const uint8_t *)*at;
	size_t more = s[0] < 0x80 ? 0 : s[0] >> 5 == 6 ? 1 : s[0] >> 4 == 14 ? 2 : 3;
	uint32_t c = more ? s[0] & (0x3f >> more) : s[0];

	for (size_t i = 1; i <= more; i++) {
		if (s[i] >> 6 != 2) {
			(*at)++;
			return '?';
		}
		c = c << 6 | (s[i] & 0x3f);
	}
	*at += 1 + more;
	return c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? '?' : c;
}

size_t vhd_name_to_utf16(const char *name, bool big, uint8_t *out, size_t size)
{
	size_t used = 0;

	while (*name) {
		uint32_t c = next_character(&name);
		uint16_t units[2] = { c == '/' ? '\\' : c };
		size_t n = 1;

		if (c >= 0x10000) {
			units[0] = 0xd800 + ((c - 0x10000) >> 10);
			units[1] = 0xdc00 + ((c - 0x10000) & 0x3ff);
			n = 2;
		}
		if (used + 2 * n > size)
			break;
		for (size_t i = 0; i < n; i++, used += 2)
			(big ? put_be16 : put_le16)(out + used, units[i]);
	}
	return used;
}

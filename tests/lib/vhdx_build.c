// SPDX-License-Identifier: GPL-2.0-or-later
#include "vhdx_build.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"

#define PAGE 4096
#define LOG_PAGES (BUILD_MIB / PAGE)

/* As they are on disk. */
static const uint8_t bat_guid[16] =
	"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const uint8_t metadata_guid[16] =
	"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
static const uint8_t items[6][16] = {
	"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b",
	"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8",
	"\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46",
	"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f",
	"\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56",
	"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c",
};
static const uint8_t locator_type[16] =
	"\xb7\xef\x4a\xb0\x9e\xd1\x81\x4a\xb7\x89\x25\xb8\xe9\x44\x59\x13";

static void seal(uint8_t *p, size_t len)
{
	put_le32(p + 4, 0);
	put_le32(p + 4, crc32c_portable(0, p, len));
}

void build_resize(struct vhdx_build *b, uint64_t size)
{
	b->bytes = realloc(b->bytes, size);
	assert(b->bytes);
	if (size > b->size)
		memset(b->bytes + b->size, 0, size - b->size);
	b->size = size;
}

void build_seal(struct vhdx_build *b)
{
	for (int i = 0; i < 2; i++) {
		seal(b->bytes + BUILD_HEADER(i), PAGE);
		seal(b->bytes + BUILD_REGIONS(i), 65536);
	}
}

static void put_headers(struct vhdx_build *b)
{
	for (int i = 0; i < 2; i++) {
		uint8_t *h = b->bytes + BUILD_HEADER(i);

		memcpy(h, "head", 4);
		put_le64(h + 8, i + 1);
		memset(h + 16, 0xf0 + i, 16);
		memset(h + 32, 0xd0 + i, 16);
		put_le16(h + 66, 1);
		put_le32(h + 68, BUILD_MIB);
		put_le64(h + 72, BUILD_LOG_AT);
	}
}

void build_region(struct vhdx_build *b, const uint8_t guid[16], uint64_t at, uint32_t length,
		  uint32_t required)
{
	for (int i = 0; i < 2; i++) {
		uint8_t *table = b->bytes + BUILD_REGIONS(i);
		uint32_t count = get_le32(table + 8);
		uint8_t *e = table + 16 + count * 32;

		memcpy(e, guid, 16);
		put_le64(e + 16, at);
		put_le32(e + 24, length);
		put_le32(e + 28, required);
		put_le32(table + 8, count + 1);
	}
}

void build_item(struct vhdx_build *b, const uint8_t guid[16], uint32_t at, uint32_t length,
		uint32_t flags)
{
	uint8_t *table = b->bytes + BUILD_METADATA_AT, *e = table + 32 + b->entries++ * 32;

	memcpy(e, guid, 16);
	put_le32(e + 16, at);
	put_le32(e + 20, length);
	put_le32(e + 24, flags);
	put_le16(table + 10, b->entries);
}

static void put_metadata(struct vhdx_build *b, uint32_t flags)
{
	uint8_t *m = b->bytes + BUILD_METADATA_AT;

	memcpy(m, "metadata", 8);
	build_item(b, items[0], BUILD_PARAMETERS, 8, 4);
	build_item(b, items[1], BUILD_SIZE, 8, 6);
	build_item(b, items[2], BUILD_PAGE83, 16, 6);
	build_item(b, items[3], BUILD_LOGICAL, 4, 6);
	build_item(b, items[4], BUILD_PHYSICAL, 4, 6);
	if (flags & BUILD_CHILD)
		build_item(b, items[5], BUILD_LOCATOR, BUILD_LOCATOR_ROOM, 4);
	put_le32(m + BUILD_PARAMETERS, b->block);
	put_le32(m + BUILD_PARAMETERS + 4, flags);
	put_le64(m + BUILD_SIZE, b->disk);
	memset(m + BUILD_PAGE83, 0x83, 16);
	put_le32(m + BUILD_LOGICAL, b->sector);
	put_le32(m + BUILD_PHYSICAL, 4096);
}

void build_start(struct vhdx_build *b, uint64_t disk, uint32_t block, uint32_t sector,
		 uint32_t flags)
{
	*b = (struct vhdx_build){ .disk = disk, .block = block, .sector = sector };
	build_resize(b, BUILD_DATA_AT);
	memcpy(b->bytes, "vhdxfile", 8);
	put_headers(b);
	for (int i = 0; i < 2; i++)
		memcpy(b->bytes + BUILD_REGIONS(i), "regi", 4);
	build_region(b, bat_guid, BUILD_BAT_AT, BUILD_MIB, 1);
	build_region(b, metadata_guid, BUILD_METADATA_AT, BUILD_MIB, 1);
	put_metadata(b, flags);
	build_seal(b);
}

void build_end(struct vhdx_build *b)
{
	free(b->bytes);
	b->bytes = NULL;
}

void build_bat(struct vhdx_build *b, uint64_t index, uint64_t place, unsigned state)
{
	put_le64(b->bytes + BUILD_BAT_AT + index * 8, place | state);
}

static size_t put_text(uint8_t *p, const char *text)
{
	size_t n = 0;

	for (; *text; text++, n += 2)
		put_le16(p + n, (uint8_t)*text);
	return n;
}

void build_locator(struct vhdx_build *b, const char *const *pairs)
{
	uint8_t *l = b->bytes + BUILD_METADATA_AT + BUILD_LOCATOR;
	size_t count = 0, at;

	memset(l, 0, BUILD_LOCATOR_ROOM);
	memcpy(l, locator_type, 16);
	while (pairs[count])
		count++;
	put_le16(l + 18, count / 2);
	at = 20 + count / 2 * 12;
	for (size_t i = 0; i < count; i++) {
		uint8_t *e = l + 20 + i / 2 * 12;
		size_t len = put_text(l + at, pairs[i]);

		put_le32(e + i % 2 * 4, at);
		put_le16(e + 8 + i % 2 * 2, len);
		at += len;
	}
}

/* ---- the log ---- */

void build_log_guid(struct vhdx_build *b, uint8_t fill)
{
	for (int i = 0; i < 2; i++)
		memset(b->bytes + BUILD_HEADER(i) + 48, fill, 16);
	build_seal(b);
}

uint8_t *build_log_page(struct vhdx_build *b, uint32_t page)
{
	return b->bytes + BUILD_LOG_AT + page % LOG_PAGES * PAGE;
}

void build_log_seal(struct vhdx_build *b, uint32_t page)
{
	uint8_t *head = build_log_page(b, page);
	uint32_t crc = 0, pages = get_le32(head + 8) / PAGE;

	put_le32(head + 4, 0);
	for (uint32_t i = 0; i < pages; i++)
		crc = crc32c_portable(crc, build_log_page(b, page + i), PAGE);
	put_le32(head + 4, crc);
}

static void put_descriptor(struct vhdx_build *b, uint32_t page, uint64_t sequence, uint32_t i,
			   const struct build_change *c)
{
	uint32_t at = 64 + i * 32;
	uint8_t *d = build_log_page(b, page + at / PAGE) + at % PAGE;

	memcpy(d, c->page ? "desc" : "zero", 4);
	put_le64(d + 16, c->at);
	put_le64(d + 24, sequence);
	if (c->page) {
		memcpy(d + 4, c->page + PAGE - 4, 4);
		memcpy(d + 8, c->page, 8);
	} else {
		put_le64(d + 8, c->length);
	}
}

uint32_t build_log_entry(struct vhdx_build *b, uint32_t page, uint64_t sequence, uint32_t tail_page,
			 const struct build_change *changes, uint32_t count)
{
	uint32_t pages = (64 + count * 32 + PAGE - 1) / PAGE;
	uint8_t *head = build_log_page(b, page);

	for (uint32_t i = 0; i < pages; i++)
		memset(build_log_page(b, page + i), 0, PAGE);
	for (uint32_t i = 0; i < count; i++) {
		put_descriptor(b, page, sequence, i, &changes[i]);
		if (changes[i].page) {
			uint8_t *data = build_log_page(b, page + pages++);

			memcpy(data, changes[i].page, PAGE);
			memcpy(data, "data", 4);
			put_le32(data + 4, sequence >> 32);
			put_le32(data + PAGE - 4, (uint32_t)sequence);
		}
	}
	memcpy(head, "loge", 4);
	put_le32(head + 8, pages * PAGE);
	put_le32(head + 12, tail_page % LOG_PAGES * PAGE);
	put_le64(head + 16, sequence);
	put_le32(head + 24, count);
	memcpy(head + 32, b->bytes + BUILD_HEADER(1) + 48, 16);
	put_le64(head + 48, b->size);
	put_le64(head + 56, b->size);
	build_log_seal(b, page);
	return page + pages;
}

/* ---- files ---- */

struct file *build_file(const struct vhdx_build *b)
{
	return fake_file_new(b->bytes, b->size);
}

void build_save(const struct vhdx_build *b, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n = write(fd, b->bytes, b->size);

	assert(n == (ssize_t)b->size);
	close(fd);
}

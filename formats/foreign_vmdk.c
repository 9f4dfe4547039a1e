// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VMDK, little-endian: only those that are one file, a sparse extent with its
 * descriptor inside. All others name files, or are extents of one that does.
 *
 * What QEMU does with the file decides what is to be looked at: it takes the
 * descriptor to be at the second sector, up to the first NUL; with a capacity
 * of 0 it opens the extents that the descriptor names; and of a streamOptimized
 * image it believes the copy of the header at the end.
 */
#include "foreign_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

#define DESCRIPTOR_AT 1u          /* sector */
#define DESCRIPTOR_QEMU 20u       /* sectors that QEMU looks at */
#define DESCRIPTOR_MAX 128u       /* that anybody would write */
#define GRAIN_MAX 0x200000u       /* sectors */
#define DIRECTORY_MAX (32u << 20) /* entries */
#define AT_END UINT64_MAX

enum vmdk_flag { VMDK_SECOND_DIRECTORY = 1 << 1 };

struct vmdk_header {
	uint32_t version, flags, table_entries;
	uint64_t capacity, grain, descriptor_at, descriptor_size;
	uint64_t second_at, directory_at, data_at;
	uint16_t compression;
};

static void vmdk_header_get(const uint8_t *b, struct vmdk_header *h)
{
	*h = (struct vmdk_header){
		.version = get_le32(b + 4),
		.flags = get_le32(b + 8),
		.capacity = get_le64(b + 12),
		.grain = get_le64(b + 20),
		.descriptor_at = get_le64(b + 28),
		.descriptor_size = get_le64(b + 36),
		.table_entries = get_le32(b + 44),
		.second_at = get_le64(b + 48),
		.directory_at = get_le64(b + 56),
		.data_at = get_le64(b + 64),
		.compression = get_le16(b + 77),
	};
}

static int not_sparse(const uint8_t *b, char reason[IMAGE_REASON])
{
	if (!memcmp(b, "# Disk Descriptor", 17))
		return image_fail(reason, -EOPNOTSUPP,
				  "it is a VMDK descriptor, whose data is in other files");
	if (!memcmp(b, "COWD", 4))
		return image_fail(reason, -EOPNOTSUPP, "it is a VMDK of an old or ESX kind");
	return image_fail(reason, -EINVAL, "it is not a VMDK");
}

/* The last three sectors: a marker, the header's copy, the end of the stream. */
static int take_footer(struct file *f, uint64_t file_size, struct vmdk_header *h,
		       char reason[IMAGE_REASON])
{
	uint8_t b[3 * FOREIGN_SECTOR];
	const uint8_t *copy = b + FOREIGN_SECTOR, *end = copy + FOREIGN_SECTOR;
	struct vmdk_header at_end;
	int err;

	if (file_size < sizeof(b) + FOREIGN_SECTOR || file_size % FOREIGN_SECTOR)
		return image_fail(reason, -EINVAL, "it is cut off");
	err = f->ops->read(f, b, sizeof(b), file_size - sizeof(b), 0);
	if (err)
		return image_fail(reason, err, "its footer cannot be read");
	if (memcmp(copy, "KDMV", 4) || get_le32(b + 8) || get_le32(b + 12) != 3 || get_le64(end) ||
	    get_le32(end + 8) || get_le32(end + 12))
		return image_fail(reason, -EINVAL, "it is cut off");
	vmdk_header_get(copy, &at_end);
	if (at_end.capacity != h->capacity || at_end.grain != h->grain ||
	    at_end.table_entries != h->table_entries || at_end.version != h->version ||
	    at_end.compression != h->compression || at_end.descriptor_at != h->descriptor_at)
		return image_fail(reason, -EINVAL, "its header and its footer differ");
	*h = at_end;
	return 0;
}

static bool sectors_inside(uint64_t at, uint64_t bytes, uint64_t file_size)
{
	return at <= file_size / FOREIGN_SECTOR &&
	       foreign_inside(at * FOREIGN_SECTOR, bytes, file_size);
}

static int vmdk_tables(const struct vmdk_header *h, uint64_t file_size, char reason[IMAGE_REASON])
{
	uint64_t entries;

	if (!h->grain || h->grain > GRAIN_MAX || !h->table_entries || h->table_entries > 512)
		return image_fail(reason, -EINVAL, "its grain size is not one of VMDK");
	entries = foreign_divide_up(h->capacity, h->grain * h->table_entries);
	if (entries > DIRECTORY_MAX || h->capacity > INT64_MAX / FOREIGN_SECTOR)
		return image_fail(reason, -EINVAL, "the size of its disk is impossible");
	if (!h->directory_at || !sectors_inside(h->directory_at, entries * 4, file_size) ||
	    (h->flags & VMDK_SECOND_DIRECTORY &&
	     !sectors_inside(h->second_at, entries * 4, file_size)))
		return image_fail(reason, -EINVAL, "its table lies outside of the file");
	if (!sectors_inside(h->data_at, 0, file_size))
		return image_fail(reason, -EINVAL, "it is cut off");
	return 0;
}

/* ---- the descriptor ---- */

/* `key`="value" or key=value at the beginning of a line; blanks around. */
static bool line_value(const char *line, const char *key, char value[32])
{
	line += strspn(line, " \t");
	if (strncasecmp(line, key, strlen(key)))
		return false;
	line += strlen(key);
	line += strspn(line, " \t");
	if (*line++ != '=')
		return false;
	line += strspn(line, " \t\"");
	snprintf(value, 32, "%.*s", (int)strcspn(line, "\" \t\r\n"), line);
	return true;
}

/* RW 131072 SPARSE "name" */
static bool is_extent(const char *line, bool *other)
{
	static const char *const access[] = { "RW ", "RDONLY ", "NOACCESS " };
	const char *p = line + strspn(line, " \t");
	bool is = false;

	for (size_t i = 0; i < sizeof(access) / sizeof(*access); i++)
		if (!strncasecmp(p, access[i], strlen(access[i]))) {
			is = true;
			p += strlen(access[i]);
		}
	if (!is)
		return false;
	p += strspn(p, " 0123456789");
	*other = strncasecmp(p, "SPARSE ", 7) || strcspn(p, "/\\") < strcspn(p, "\r\n");
	return true;
}

static int read_lines(const char *text, char reason[IMAGE_REASON])
{
	unsigned extents = 0;
	char value[32], type[32] = "";
	bool other;

	for (const char *line = text; *line;) {
		if (line_value(line, "createType", type)) {
			/* The value is looked at below. */
		} else if (line_value(line, "parentCID", value) && strcasecmp(value, "ffffffff")) {
			return image_fail(reason, -EOPNOTSUPP, "it has a parent");
		} else if (is_extent(line, &other)) {
			extents++;
			if (other)
				return image_fail(reason, -EOPNOTSUPP,
						  "its data is in other files");
		}
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	if (strcmp(type, "monolithicSparse") && strcmp(type, "streamOptimized"))
		return image_fail(reason, -EOPNOTSUPP,
				  type[0] ? "it is a VMDK of the kind %s"
					  : "it is a VMDK of no kind%s",
				  type);
	if (extents != 1)
		return image_fail(reason, -EOPNOTSUPP, "it has %u extents instead of one", extents);
	return 0;
}

static int vmdk_descriptor(struct file *f, const struct vmdk_header *h, uint64_t file_size,
			   char reason[IMAGE_REASON])
{
	uint64_t sectors = h->descriptor_size, len;
	char *text;
	int err;

	if (h->descriptor_at != DESCRIPTOR_AT || !sectors || sectors > DESCRIPTOR_MAX)
		return image_fail(reason, -EOPNOTSUPP, "it has no descriptor of its own");
	if (sectors < DESCRIPTOR_QEMU)
		sectors = DESCRIPTOR_QEMU;
	len = sectors * FOREIGN_SECTOR;
	if (!foreign_inside(DESCRIPTOR_AT * FOREIGN_SECTOR, len, file_size))
		return image_fail(reason, -EINVAL, "it is cut off");
	text = malloc(len + 1);
	if (!text)
		return image_fail(reason, -ENOMEM, "there is no memory for its descriptor");
	text[len] = '\0';
	err = f->ops->read(f, text, len, DESCRIPTOR_AT * FOREIGN_SECTOR, 0);
	if (err)
		image_fail(reason, err, "its descriptor cannot be read");
	/* Anywhere, in a comment too: that is how QEMU looks for it. */
	else if (strcasestr(text, "parentFileNameHint"))
		err = image_fail(reason, -EOPNOTSUPP, "it has a parent");
	else
		err = read_lines(text, reason);
	free(text);
	return err;
}

int vmdk_head_read(struct file *f, struct foreign_head *out, char reason[IMAGE_REASON])
{
	struct foreign_head head = { 0 };
	uint8_t b[FOREIGN_SECTOR];
	struct vmdk_header h;
	uint64_t file_size;
	int err = foreign_begin(f, b, sizeof(b), &file_size, reason);

	if (err)
		return err;
	if (memcmp(b, "KDMV", 4))
		return not_sparse(b, reason);
	if (file_size < sizeof(b) || memcmp(b + 73, "\n \r\n", 4))
		return image_fail(reason, -EINVAL, "its header is damaged");
	vmdk_header_get(b, &h);
	if (h.version < 1 || h.version > 3 || h.compression > 1)
		return image_fail(reason, -EOPNOTSUPP, "it is a VMDK of version %u", h.version);
	if (!h.capacity)
		return image_fail(reason, -EOPNOTSUPP, "its data is in other files");
	err = h.directory_at == AT_END ? take_footer(f, file_size, &h, reason) : 0;
	if (!err)
		err = vmdk_tables(&h, file_size, reason);
	if (!err)
		err = vmdk_descriptor(f, &h, file_size, reason);
	if (!err)
		err = foreign_size(&head, h.capacity * FOREIGN_SECTOR, reason);
	if (err)
		return err;
	head.block_size = h.grain * FOREIGN_SECTOR;
	if (h.compression)
		foreign_only_read(&head, "a streamOptimized VMDK can only be read");
	else if (h.version == 3)
		foreign_only_read(&head, "its changes are tracked, so it can only be read");
	*out = head;
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* qcow2, VDI, Parallels and QED. */
#include "foreign_inner.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"

int foreign_begin(struct file *f, uint8_t *head, size_t len, uint64_t *file_size,
		  char reason[IMAGE_REASON])
{
	struct file_stat st;
	int err = f->ops->stat(f, &st);

	if (err)
		return image_fail(reason, err, "its size cannot be read");
	memset(head, 0, len);
	err = f->ops->read(f, head, st.size < len ? st.size : len, 0, 0);
	if (err)
		return image_fail(reason, err, "its first bytes cannot be read");
	*file_size = st.size;
	return 0;
}

bool foreign_inside(uint64_t at, uint64_t len, uint64_t file_size)
{
	return at <= file_size && len <= file_size - at;
}

int foreign_size(struct foreign_head *h, uint64_t size, char reason[IMAGE_REASON])
{
	h->size = size / FOREIGN_SECTOR * FOREIGN_SECTOR;
	if (!h->size)
		return image_fail(reason, -EINVAL, "it has a disk of no size");
	if (h->size > INT64_MAX)
		return image_fail(reason, -EINVAL, "the size of its disk is impossible");
	return 0;
}

void foreign_only_read(struct foreign_head *h, const char *why)
{
	h->read_only = true;
	image_fail(h->complaint, 0, "%s", why);
}

/* ---- qcow2: big-endian ---- */

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */
#define QCOW2_V2_LENGTH 72u
#define QCOW2_V3_LENGTH 104u
#define QCOW2_L1_MAX (4u << 20)
#define QCOW2_REFCOUNTS_MAX (8u << 20) /* bytes of the table */
#define QCOW2_SNAPSHOTS_MAX 65536u
#define QCOW2_EXTENSION_END 0u
#define QCOW2_EXTENSION_DATA_FILE 0x44415441u

enum qcow2_feature {
	QCOW2_CORRUPT = 1 << 1,
	QCOW2_DATA_FILE = 1 << 2,
	QCOW2_LONG_L2 = 1 << 4,
	QCOW2_KNOWN = (1 << 5) - 1, /* dirty and the compression's type too */
};

/* How QEMU walks them: from the header's end to the first cluster's. */
static int qcow2_extensions(struct file *f, uint64_t at, uint64_t end, uint64_t file_size,
			    char reason[IMAGE_REASON])
{
	uint8_t bytes[8];

	while (end - at >= sizeof(bytes) && foreign_inside(at, sizeof(bytes), file_size)) {
		int err = f->ops->read(f, bytes, sizeof(bytes), at, 0);
		uint32_t type = get_be32(bytes), len = get_be32(bytes + 4);

		if (err)
			return image_fail(reason, err, "its header cannot be read");
		if (type == QCOW2_EXTENSION_END)
			return 0;
		if (type == QCOW2_EXTENSION_DATA_FILE)
			return image_fail(reason, -EOPNOTSUPP, "its data is in another file");
		at += sizeof(bytes);
		if (len > end - at)
			return image_fail(reason, -EINVAL, "an extension of its header is damaged");
		len = (len + 7) & ~7u;
		at = len < end - at ? at + len : end;
	}
	return 0;
}

static int qcow2_refuse_others(const uint8_t *head, uint64_t features, char reason[IMAGE_REASON])
{
	if (get_be64(head + 8) || get_be32(head + 16))
		return image_fail(reason, -EOPNOTSUPP, "it has a backing file");
	if (features & QCOW2_DATA_FILE)
		return image_fail(reason, -EOPNOTSUPP, "its data is in another file");
	if (features & ~(uint64_t)QCOW2_KNOWN)
		return image_fail(reason, -EOPNOTSUPP, "it has features that are not known (%#llx)",
				  (unsigned long long)(features & ~(uint64_t)QCOW2_KNOWN));
	if (get_be32(head + 32))
		return image_fail(reason, -EOPNOTSUPP, "it is encrypted");
	return 0;
}

/* Where its tables lie, and that the first covers the disk. */
static int qcow2_tables(const uint8_t *head, uint64_t features, uint64_t size, uint64_t file_size,
			char reason[IMAGE_REASON])
{
	unsigned bits = get_be32(head + 20);
	uint64_t cluster = (uint64_t)1 << bits;
	uint64_t covered = cluster * (cluster / (features & QCOW2_LONG_L2 ? 16 : 8));
	uint64_t l1 = get_be32(head + 36), l1_at = get_be64(head + 40);
	uint64_t counts_at = get_be64(head + 48);
	uint64_t counts = (uint64_t)get_be32(head + 56) << bits;
	uint64_t snapshots = get_be32(head + 60), snapshots_at = get_be64(head + 64);

	if (l1 > QCOW2_L1_MAX || l1 < foreign_divide_up(size, covered))
		return image_fail(reason, -EINVAL, "its table does not fit its size");
	if (l1_at % cluster || !l1_at || !foreign_inside(l1_at, l1 * 8, file_size))
		return image_fail(reason, -EINVAL, "its table lies outside of the file");
	if (!counts || counts > QCOW2_REFCOUNTS_MAX || counts_at % cluster || !counts_at ||
	    !foreign_inside(counts_at, 1, file_size))
		return image_fail(reason, -EINVAL, "its reference counts lie outside of the file");
	if (snapshots > QCOW2_SNAPSHOTS_MAX ||
	    (snapshots && (snapshots_at % cluster || !foreign_inside(snapshots_at, 1, file_size))))
		return image_fail(reason, -EINVAL, "its snapshots lie outside of the file");
	return 0;
}

int qcow2_head_read(struct file *f, struct foreign_head *out, char reason[IMAGE_REASON])
{
	struct foreign_head h = { 0 };
	uint8_t head[QCOW2_V3_LENGTH];
	uint64_t file_size, features = 0;
	uint32_t version, bits, length = QCOW2_V2_LENGTH;
	int err = foreign_begin(f, head, sizeof(head), &file_size, reason);

	if (err)
		return err;
	version = get_be32(head + 4);
	bits = get_be32(head + 20);
	if (get_be32(head) != QCOW2_MAGIC || file_size < QCOW2_V2_LENGTH)
		return image_fail(reason, -EINVAL, "it is not a qcow2");
	if (version != 2 && version != 3)
		return image_fail(reason, -EOPNOTSUPP, "it is a qcow of version %u", version);
	if (bits < 9 || bits > 21)
		return image_fail(reason, -EINVAL, "its cluster size is not one of qcow2");
	if (version == 3) {
		features = get_be64(head + 72);
		length = get_be32(head + 100);
		if (length < QCOW2_V3_LENGTH || length > 1u << bits || get_be32(head + 96) > 6)
			return image_fail(reason, -EINVAL, "its header is damaged");
	}
	h.block_size = 1u << bits;
	err = qcow2_refuse_others(head, features, reason);
	if (!err)
		err = qcow2_extensions(f, length, h.block_size, file_size, reason);
	if (!err)
		err = foreign_size(&h, get_be64(head + 24), reason);
	if (!err)
		err = qcow2_tables(head, features, h.size, file_size, reason);
	if (err)
		return err;
	if (features & QCOW2_CORRUPT)
		foreign_only_read(&h, "it is marked as corrupt; qemu-img check -r all repairs it");
	*out = h;
	return 0;
}

/* ---- VDI: little-endian ---- */

#define VDI_SIGNATURE 0xbeda107fu
#define VDI_BLOCK (1u << 20)
#define VDI_BLOCKS_MAX 0x1fffffffu

static int vdi_refuse_others(const uint8_t *head, char reason[IMAGE_REASON])
{
	static const uint8_t none[16];
	uint32_t type = get_le32(head + 76);

	/* The file that it was linked to, and the parent. */
	if (memcmp(head + 424, none, 16) || memcmp(head + 440, none, 16))
		return image_fail(reason, -EOPNOTSUPP, "it has a parent");
	if (type != 1 && type != 2)
		return image_fail(reason, -EOPNOTSUPP, "it is a VDI of type %u", type);
	if (get_le32(head + 360) != FOREIGN_SECTOR)
		return image_fail(reason, -EOPNOTSUPP, "its sectors have %u bytes",
				  get_le32(head + 360));
	if (get_le32(head + 376) != VDI_BLOCK)
		return image_fail(reason, -EOPNOTSUPP, "its blocks have %u bytes",
				  get_le32(head + 376));
	return 0;
}

int vdi_head_read(struct file *f, struct foreign_head *out, char reason[IMAGE_REASON])
{
	struct foreign_head h = { .block_size = VDI_BLOCK };
	uint8_t head[512];
	uint64_t file_size, size;
	uint32_t map_at, data_at, blocks, version;
	int err = foreign_begin(f, head, sizeof(head), &file_size, reason);

	if (err)
		return err;
	version = get_le32(head + 68);
	if (get_le32(head + 64) != VDI_SIGNATURE || file_size < sizeof(head))
		return image_fail(reason, -EINVAL, "it is not a VDI");
	if (version != 0x00010001)
		return image_fail(reason, -EOPNOTSUPP, "it is a VDI of version %u.%u",
				  version >> 16, version & 0xffff);
	err = vdi_refuse_others(head, reason);
	if (err)
		return err;
	map_at = get_le32(head + 340);
	data_at = get_le32(head + 344);
	size = get_le64(head + 368);
	blocks = get_le32(head + 384);
	if (blocks > VDI_BLOCKS_MAX || size > (uint64_t)blocks * VDI_BLOCK)
		return image_fail(reason, -EINVAL, "its table does not fit its size");
	if (map_at % FOREIGN_SECTOR || map_at < sizeof(head) ||
	    !foreign_inside(map_at, (uint64_t)blocks * 4, file_size))
		return image_fail(reason, -EINVAL, "its table lies outside of the file");
	if (data_at % FOREIGN_SECTOR || data_at < map_at + (uint64_t)blocks * 4)
		return image_fail(reason, -EINVAL, "its data lies in its table");
	/* VirtualBox makes odd sizes of odd files; QEMU goes up to the next sector. */
	err = foreign_size(&h, size + FOREIGN_SECTOR - 1, reason);
	if (err)
		return err;
	*out = h;
	return 0;
}

/* ---- Parallels: little-endian ---- */

#define PARALLELS_HEAD 64u
#define PARALLELS_IN_USE 0x746f6e59u
#define PARALLELS_TRACKS_MAX (INT32_MAX / 513)

int parallels_head_read(struct file *f, struct foreign_head *out, char reason[IMAGE_REASON])
{
	struct foreign_head h = { 0 };
	uint8_t head[PARALLELS_HEAD];
	uint64_t file_size, sectors;
	uint32_t tracks, entries;
	bool old;
	int err = foreign_begin(f, head, sizeof(head), &file_size, reason);

	if (err)
		return err;
	old = !memcmp(head, "WithoutFreeSpace", 16);
	if ((!old && memcmp(head, "WithouFreSpacExt", 16)) || file_size < sizeof(head))
		return image_fail(reason, -EINVAL, "it is not a Parallels disk");
	if (get_le32(head + 16) != 2)
		return image_fail(reason, -EOPNOTSUPP, "it is a Parallels disk of version %u",
				  get_le32(head + 16));
	tracks = get_le32(head + 28);
	entries = get_le32(head + 32);
	sectors = old ? get_le32(head + 36) : get_le64(head + 36);
	if (!tracks || tracks > PARALLELS_TRACKS_MAX)
		return image_fail(reason, -EINVAL, "its cluster size is impossible");
	if (entries > INT32_MAX / 4 || sectors > (uint64_t)entries * tracks)
		return image_fail(reason, -EINVAL, "its table does not fit its size");
	if (!foreign_inside(PARALLELS_HEAD, (uint64_t)entries * 4, file_size))
		return image_fail(reason, -EINVAL, "its table lies outside of the file");
	h.block_size = tracks * FOREIGN_SECTOR;
	h.unclean = get_le32(head + 44) == PARALLELS_IN_USE;
	err = foreign_size(&h, sectors * FOREIGN_SECTOR, reason);
	if (err)
		return err;
	/* QEMU would leave it as it is, and it would tell lies of the disk. */
	if (get_le64(head + 56))
		foreign_only_read(&h, "it has a format extension, which a write would make wrong");
	*out = h;
	return 0;
}

/* ---- QED: little-endian ---- */

#define QED_MAGIC 0x00444551u /* "QED" */

enum qed_feature {
	QED_BACKING_FILE = 1 << 0,
	QED_KNOWN = (1 << 3) - 1, /* it needs a check; the backing file is raw */
};

static int qed_refuse_others(const uint8_t *head, char reason[IMAGE_REASON])
{
	uint64_t features = get_le64(head + 16);

	if (features & QED_BACKING_FILE || get_le32(head + 56) || get_le32(head + 60))
		return image_fail(reason, -EOPNOTSUPP, "it has a backing file");
	if (features & ~(uint64_t)QED_KNOWN)
		return image_fail(reason, -EOPNOTSUPP, "it has features that are not known (%#llx)",
				  (unsigned long long)(features & ~(uint64_t)QED_KNOWN));
	return 0;
}

int qed_head_read(struct file *f, struct foreign_head *out, char reason[IMAGE_REASON])
{
	struct foreign_head h = { 0 };
	uint8_t head[64];
	uint64_t file_size, cluster, table, l1_at, entries, size;
	int err = foreign_begin(f, head, sizeof(head), &file_size, reason);

	if (err)
		return err;
	if (get_le32(head) != QED_MAGIC || file_size < sizeof(head))
		return image_fail(reason, -EINVAL, "it is not a QED");
	err = qed_refuse_others(head, reason);
	if (err)
		return err;
	cluster = get_le32(head + 4);
	table = get_le32(head + 8);
	l1_at = get_le64(head + 40);
	size = get_le64(head + 48);
	if (!foreign_power_of_two(cluster) || cluster < 4096 || cluster > 64u << 20 ||
	    !foreign_power_of_two(table) || table > 16 || !get_le32(head + 12))
		return image_fail(reason, -EINVAL, "its cluster size is not one of QED");
	/* At most 2^54 clusters of at most 2^26 bytes: more than 64 bits. */
	entries = cluster * table / 8;
	if (size % FOREIGN_SECTOR || size > INT64_MAX ||
	    foreign_divide_up(foreign_divide_up(size, cluster), entries) > entries)
		return image_fail(reason, -EINVAL, "its table does not fit its size");
	if (!l1_at || l1_at % cluster || !foreign_inside(l1_at, cluster * table, file_size))
		return image_fail(reason, -EINVAL, "its table lies outside of the file");
	h.block_size = cluster;
	err = foreign_size(&h, size, reason);
	if (err)
		return err;
	*out = h;
	return 0;
}

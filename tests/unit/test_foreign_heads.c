// SPDX-License-Identifier: GPL-2.0-or-later
#include "foreign_heads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "program.h"
#include "unit.h"

#define MIB (1u << 20)

static uint8_t *bytes; /* of a real image */
static size_t length;
static struct foreign_head head;
static char reason[IMAGE_REASON];

static const struct format {
	const char *name;
	foreign_head_read *read;
} formats[] = {
	{ "qcow2", qcow2_head_read },         { "vmdk", vmdk_head_read }, { "vdi", vdi_head_read },
	{ "parallels", parallels_head_read }, { "qed", qed_head_read },
};

enum { QCOW2, VMDK, VDI, PARALLELS, QED, FORMATS };

/* A file of these bytes, and not one more. */
struct memory {
	struct file base;
	const uint8_t *content;
	size_t size;
	unsigned reads, bad_read; /* so many, and the one that fails */
	bool bad_stat;
};

static int memory_read(struct file *f, void *buf, size_t len, uint64_t off, unsigned io)
{
	struct memory *m = (struct memory *)f;

	if (++m->reads == m->bad_read || off > m->size || len > m->size - off)
		return -EIO;
	memcpy(buf, m->content + off, len);
	return 0;
}

static int memory_stat(struct file *f, struct file_stat *st)
{
	struct memory *m = (struct memory *)f;

	*st = (struct file_stat){ .size = m->size };
	return m->bad_stat ? -EIO : 0;
}

static const struct file_ops memory_ops = { .read = memory_read, .stat = memory_stat };

static bool no_qemu(void)
{
	char path[PROGRAM_PATH];
	bool none = program_find("qemu-img", path) < 0;

	if (none)
		printf("SKIP: foreign_heads: qemu-img is not installed\n");
	return none;
}

static void shell(const char *dir, const char *command)
{
	char line[2048];

	snprintf(line, sizeof(line), "cd '%s' && { %s; } >/dev/null", dir, command);
	ck_assert_msg(!system(line), "%s", command);
}

static void load(const char *dir, const char *name)
{
	char path[512];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	free(bytes);
	length = st.st_size;
	bytes = calloc(1, length);
	/* Large ones are empty behind their tables. */
	ck_assert_int_gt(read(fd, bytes, length), 0);
	close(fd);
}

static void forget(void)
{
	free(bytes);
	bytes = NULL;
}

/* What comes of these bytes, in `head` and `reason`. Nothing is set on failure. */
static int look_at(foreign_head_read *read, const uint8_t *content, size_t len)
{
	struct memory m = { .base.ops = &memory_ops, .content = content, .size = len };
	struct foreign_head untouched;
	int err;

	memset(&head, 0x5a, sizeof(head));
	untouched = head;
	reason[0] = '\0';
	err = read(&m.base, &head, reason);
	if (err) {
		ck_assert(err == -EINVAL || err == -EOPNOTSUPP);
		ck_assert_uint_gt(strlen(reason), 5);
		ck_assert(!memcmp(&head, &untouched, sizeof(head)));
	} else {
		ck_assert_uint_gt(head.size, 0);
		ck_assert_uint_le(head.size, INT64_MAX);
		ck_assert_uint_eq(head.size % 512, 0);
		ck_assert_uint_gt(head.block_size, 0);
		ck_assert_int_eq(head.read_only, head.complaint[0] != '\0');
	}
	return err;
}

static int look(int format)
{
	return look_at(formats[format].read, bytes, length);
}

static void make(int format, const char *options, uint64_t size)
{
	const char *dir = unit_dir();
	char command[512];

	snprintf(command, sizeof(command), "qemu-img create -f %s %s image %llu",
		 formats[format].name, options, (unsigned long long)size);
	shell(dir, command);
	load(dir, "image");
}

static void assert_good(int format, const char *options, uint64_t size, uint32_t block_size)
{
	make(format, options, size);
	ck_assert_msg(!look(format), "%s %s: %s", formats[format].name, options, reason);
	ck_assert_uint_eq(head.size, size);
	ck_assert_uint_eq(head.block_size, block_size);
	ck_assert(!head.unclean && !head.read_only);
}

static void assert_bad(int format, int err, const char *why)
{
	ck_assert_int_eq(look(format), err);
	ck_assert_msg(strstr(reason, why), "%s: '%s', not '%s'", formats[format].name, reason, why);
}

START_TEST(real_ones)
{
	if (no_qemu())
		return;
	assert_good(QCOW2, "", 64 * MIB, 65536);
	assert_good(QCOW2, "", 512, 65536);
	assert_good(QCOW2, "-o compat=0.10", 64 * MIB, 65536);
	assert_good(QCOW2, "-o cluster_size=512", 64 * MIB, 512);
	assert_good(QCOW2, "-o cluster_size=2M", 1ull << 50, 2 * MIB);
	assert_good(QCOW2, "-o extended_l2=on,cluster_size=128k", 1ull << 40, 128 << 10);
	assert_good(QCOW2, "-o compression_type=zstd", 64 * MIB, 65536);
	assert_good(QCOW2, "-o lazy_refcounts=on,preallocation=metadata", 64 * MIB, 65536);
	assert_good(VMDK, "", 64 * MIB, 65536);
	assert_good(VMDK, "", 5 * 512, 65536);
	assert_good(VMDK, "-o zeroed_grain=on,compat6=on", 1ull << 40, 65536);
	assert_good(VDI, "", 64 * MIB, MIB);
	assert_good(VDI, "-o static=on", 4 * MIB, MIB);
	assert_good(PARALLELS, "", 64 * MIB, MIB);
	assert_good(PARALLELS, "-o cluster_size=64k", 3 * 65536, 65536);
	assert_good(QED, "", 64 * MIB, 65536);
	assert_good(QED, "-o cluster_size=4k,table_size=1", 512, 4096);
	forget();
}
END_TEST

/* QEMU's own name for the size is the judge. */
START_TEST(odd_sizes)
{
	if (no_qemu())
		return;
	make(QCOW2, "", 64 * MIB);
	put_be64(bytes + 24, 64 * MIB + 511);
	ck_assert_int_eq(look(QCOW2), 0);
	ck_assert_uint_eq(head.size, 64 * MIB);
	make(VDI, "", 64 * MIB);
	put_le64(bytes + 368, 64 * MIB - 511);
	ck_assert_int_eq(look(VDI), 0);
	ck_assert_uint_eq(head.size, 64 * MIB);
	make(PARALLELS, "", 64 * MIB);
	memcpy(bytes, "WithoutFreeSpace", 16);
	put_le32(bytes + 40, 0xffffffff); /* which the old kind does not look at */
	ck_assert_int_eq(look(PARALLELS), 0);
	ck_assert_uint_eq(head.size, 64 * MIB);
	forget();
}
END_TEST

START_TEST(only_read)
{
	const char *dir;

	if (no_qemu())
		return;
	dir = unit_dir();
	shell(dir, "truncate -s 1M raw && qemu-img convert -f raw -O vmdk "
		   "-o subformat=streamOptimized raw image");
	load(dir, "image");
	ck_assert_msg(!look(VMDK), "%s", reason);
	ck_assert_uint_eq(head.size, MIB);
	ck_assert(head.read_only);
	make(VMDK, "", MIB);
	put_le32(bytes + 4, 3);
	ck_assert_int_eq(look(VMDK), 0);
	ck_assert(head.read_only);
	make(QCOW2, "", MIB);
	bytes[79] = 2;
	ck_assert_int_eq(look(QCOW2), 0);
	ck_assert(head.read_only && strstr(head.complaint, "corrupt"));
	make(PARALLELS, "", MIB);
	put_le64(bytes + 56, 2048);
	ck_assert_int_eq(look(PARALLELS), 0);
	ck_assert(head.read_only);
	put_le64(bytes + 56, 0);
	put_le32(bytes + 44, 0x746f6e59);
	ck_assert_int_eq(look(PARALLELS), 0);
	ck_assert(head.unclean && !head.read_only);
	forget();
}
END_TEST

static void refused(int format, const char *command, const char *why)
{
	const char *dir = unit_dir();

	shell(dir, command);
	load(dir, "image");
	assert_bad(format, -EOPNOTSUPP, why);
}

START_TEST(others_named_by_real_ones)
{
	if (no_qemu())
		return;
	refused(QCOW2,
		"qemu-img create -f qcow2 b 1M && qemu-img create -f qcow2 -F qcow2 -b b image",
		"backing");
	refused(QCOW2, "qemu-img create -f qcow2 -o data_file=d image 1M", "another file");
	refused(QCOW2,
		"qemu-img create -f qcow2 -o data_file=d,data_file_raw=on,extended_l2=on image 1M",
		"another file");
	refused(QCOW2,
		"qemu-img create --object secret,id=s,data=x -f qcow2 "
		"-o encrypt.format=aes,encrypt.key-secret=s image 1M",
		"encrypted");
	refused(QED, "qemu-img create -f qed b 1M && qemu-img create -f qed -F qed -b b image",
		"backing");
	refused(VMDK, "qemu-img create -f vmdk b 1M && qemu-img create -f vmdk -F vmdk -b b image",
		"parent");
	refused(VMDK, "qemu-img create -f vmdk -o subformat=monolithicFlat image 1M",
		"other files");
	refused(VMDK, "qemu-img create -f vmdk -o subformat=twoGbMaxExtentFlat image 1M",
		"other files");
	refused(VMDK, "qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse image 1M",
		"other files");
	/* An extent of such an image, by itself. */
	refused(VMDK,
		"qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse d.vmdk 1M && "
		"mv d-s001.vmdk image",
		"no kind");
	forget();
}
END_TEST

/* One field of a good image is changed. */
static const struct lie {
	int format;
	unsigned at, width; /* big-endian for qcow2, little for the others */
	uint64_t value;
	int err;
	const char *why;
} lies[] = {
	{ QCOW2, 0, 4, 0x514649fa, EINVAL, "not a qcow2" },
	{ QCOW2, 4, 4, 1, EOPNOTSUPP, "version 1" },
	{ QCOW2, 4, 4, 4, EOPNOTSUPP, "version 4" },
	{ QCOW2, 8, 8, 112, EOPNOTSUPP, "backing" },
	{ QCOW2, 8, 8, UINT64_MAX, EOPNOTSUPP, "backing" },
	{ QCOW2, 16, 4, 1, EOPNOTSUPP, "backing" },
	{ QCOW2, 20, 4, 8, EINVAL, "cluster" },
	{ QCOW2, 20, 4, 22, EINVAL, "cluster" },
	{ QCOW2, 20, 4, UINT32_MAX, EINVAL, "cluster" },
	{ QCOW2, 24, 8, 0, EINVAL, "no size" },
	{ QCOW2, 24, 8, 511, EINVAL, "no size" },
	{ QCOW2, 24, 8, 1ull << 40, EINVAL, "table" },
	{ QCOW2, 24, 8, 1ull << 63, EINVAL, "impossible" },
	{ QCOW2, 24, 8, UINT64_MAX, EINVAL, "impossible" },
	{ QCOW2, 32, 4, 1, EOPNOTSUPP, "encrypted" },
	{ QCOW2, 32, 4, 2, EOPNOTSUPP, "encrypted" },
	{ QCOW2, 36, 4, 0, EINVAL, "table" },
	{ QCOW2, 36, 4, UINT32_MAX, EINVAL, "table" },
	{ QCOW2, 40, 8, 0, EINVAL, "table" },
	{ QCOW2, 40, 8, 0x30008, EINVAL, "outside" },
	{ QCOW2, 40, 8, 1ull << 40, EINVAL, "outside" },
	{ QCOW2, 40, 8, -(1ull << 16), EINVAL, "outside" },
	{ QCOW2, 48, 8, 0, EINVAL, "reference" },
	{ QCOW2, 48, 8, 1ull << 62, EINVAL, "reference" },
	{ QCOW2, 56, 4, 0, EINVAL, "reference" },
	{ QCOW2, 56, 4, UINT32_MAX, EINVAL, "reference" },
	{ QCOW2, 60, 4, 65537, EINVAL, "snapshots" },
	{ QCOW2, 72, 8, 4, EOPNOTSUPP, "another file" },
	{ QCOW2, 72, 8, 32, EOPNOTSUPP, "0x20" },
	{ QCOW2, 72, 8, 1ull << 63, EOPNOTSUPP, "0x8000000000000000" },
	{ QCOW2, 96, 4, 7, EINVAL, "header" },
	{ QCOW2, 100, 4, 103, EINVAL, "header" },
	{ QCOW2, 100, 4, UINT32_MAX, EINVAL, "header" },
	{ QCOW2, 112, 4, 0x44415441, EOPNOTSUPP, "another file" },
	{ QCOW2, 116, 4, UINT32_MAX, EINVAL, "extension" },
	{ VMDK, 0, 4, 0x44574f43, EOPNOTSUPP, "old" },
	{ VMDK, 0, 4, 0x12345678, EINVAL, "not a VMDK" },
	{ VMDK, 4, 4, 0, EOPNOTSUPP, "version 0" },
	{ VMDK, 4, 4, 4, EOPNOTSUPP, "version 4" },
	{ VMDK, 12, 8, 0, EOPNOTSUPP, "other files" }, /* QEMU would open what it names */
	{ VMDK, 12, 8, 1ull << 54, EINVAL, "impossible" },
	{ VMDK, 12, 8, UINT64_MAX, EINVAL, "impossible" },
	{ VMDK, 20, 8, 0, EINVAL, "grain" },
	{ VMDK, 20, 8, 0x200001, EINVAL, "grain" },
	{ VMDK, 20, 8, 1ull << 63, EINVAL, "grain" },
	{ VMDK, 28, 8, 0, EOPNOTSUPP, "no descriptor" },
	{ VMDK, 28, 8, 2, EOPNOTSUPP, "no descriptor" },
	{ VMDK, 28, 8, UINT64_MAX, EOPNOTSUPP, "no descriptor" },
	{ VMDK, 36, 8, 0, EOPNOTSUPP, "no descriptor" },
	{ VMDK, 36, 8, 129, EOPNOTSUPP, "no descriptor" },
	{ VMDK, 36, 8, UINT64_MAX, EOPNOTSUPP, "no descriptor" },
	{ VMDK, 44, 4, 0, EINVAL, "grain" },
	{ VMDK, 44, 4, 513, EINVAL, "grain" },
	{ VMDK, 48, 8, 1ull << 55, EINVAL, "outside" },
	{ VMDK, 56, 8, 0, EINVAL, "outside" },
	{ VMDK, 56, 8, 128, EINVAL, "outside" },
	{ VMDK, 56, 8, 1ull << 55, EINVAL, "outside" },
	{ VMDK, 56, 8, UINT64_MAX, EINVAL, "cut off" }, /* a footer that is not there */
	{ VMDK, 64, 8, 129, EINVAL, "cut off" },
	{ VMDK, 64, 8, UINT64_MAX, EINVAL, "cut off" },
	{ VMDK, 73, 4, 0x0a0a0a0a, EINVAL, "header" },
	{ VMDK, 77, 2, 2, EOPNOTSUPP, "version" },
	{ VDI, 64, 4, 0, EINVAL, "not a VDI" },
	{ VDI, 68, 4, 0x10000, EOPNOTSUPP, "version 1.0" },
	{ VDI, 68, 4, 0x10002, EOPNOTSUPP, "version 1.2" },
	{ VDI, 76, 4, 0, EOPNOTSUPP, "type 0" },
	{ VDI, 76, 4, 4, EOPNOTSUPP, "type 4" },
	{ VDI, 340, 4, 0, EINVAL, "outside" },
	{ VDI, 340, 4, 513, EINVAL, "outside" },
	{ VDI, 340, 4, 1024, EINVAL, "outside" },
	{ VDI, 340, 4, 0xfffffe00, EINVAL, "outside" },
	{ VDI, 344, 4, 0, EINVAL, "in its table" },
	{ VDI, 344, 4, 1025, EINVAL, "in its table" },
	{ VDI, 360, 4, 4096, EOPNOTSUPP, "sectors" },
	{ VDI, 368, 8, 0, EINVAL, "no size" },
	{ VDI, 368, 8, 64 * MIB + 1, EINVAL, "table" },
	{ VDI, 368, 8, 1ull << 63, EINVAL, "table" },
	{ VDI, 368, 8, UINT64_MAX, EINVAL, "table" },
	{ VDI, 376, 4, 0, EOPNOTSUPP, "blocks" },
	{ VDI, 376, 4, 2 * MIB, EOPNOTSUPP, "blocks" },
	{ VDI, 384, 4, 0, EINVAL, "table" },
	{ VDI, 384, 4, 63, EINVAL, "table" },
	{ VDI, 384, 4, 0x1fffffff, EINVAL, "outside" },
	{ VDI, 384, 4, UINT32_MAX, EINVAL, "table" },
	{ VDI, 424, 1, 1, EOPNOTSUPP, "parent" },
	{ VDI, 455, 1, 1, EOPNOTSUPP, "parent" },
	{ PARALLELS, 0, 4, 0, EINVAL, "not a Parallels" },
	{ PARALLELS, 16, 4, 1, EOPNOTSUPP, "version 1" },
	{ PARALLELS, 28, 4, 0, EINVAL, "cluster" },
	{ PARALLELS, 28, 4, UINT32_MAX, EINVAL, "cluster" },
	{ PARALLELS, 32, 4, 0, EINVAL, "table" },
	{ PARALLELS, 32, 4, 63, EINVAL, "table" },
	{ PARALLELS, 32, 4, 0x1fffffff, EINVAL, "outside" },
	{ PARALLELS, 32, 4, UINT32_MAX, EINVAL, "table" },
	{ PARALLELS, 36, 8, 0, EINVAL, "no size" },
	{ PARALLELS, 36, 8, 131073, EINVAL, "table" },
	{ PARALLELS, 36, 8, 1ull << 54, EINVAL, "table" },
	{ PARALLELS, 36, 8, UINT64_MAX, EINVAL, "table" },
	{ QED, 0, 4, 0, EINVAL, "not a QED" },
	{ QED, 4, 4, 0, EINVAL, "cluster" },
	{ QED, 4, 4, 2048, EINVAL, "cluster" },
	{ QED, 4, 4, 65537, EINVAL, "cluster" },
	{ QED, 4, 4, 1u << 31, EINVAL, "cluster" },
	{ QED, 8, 4, 0, EINVAL, "cluster" },
	{ QED, 8, 4, 3, EINVAL, "cluster" },
	{ QED, 8, 4, 32, EINVAL, "cluster" },
	{ QED, 12, 4, 0, EINVAL, "cluster" },
	{ QED, 16, 8, 1, EOPNOTSUPP, "backing" },
	{ QED, 16, 8, 8, EOPNOTSUPP, "0x8" },
	{ QED, 16, 8, 1ull << 63, EOPNOTSUPP, "0x8000000000000000" },
	{ QED, 40, 8, 0, EINVAL, "outside" },
	{ QED, 40, 8, 4096, EINVAL, "outside" },
	{ QED, 40, 8, 1ull << 40, EINVAL, "outside" },
	{ QED, 40, 8, -(1ull << 16), EINVAL, "outside" },
	{ QED, 48, 8, 0, EINVAL, "no size" },
	{ QED, 48, 8, 513, EINVAL, "table" },
	{ QED, 48, 8, 1ull << 63, EINVAL, "table" },
	{ QED, 48, 8, 1ull << 62, EINVAL, "table" },
	{ QED, 48, 8, UINT64_MAX, EINVAL, "table" },
	{ QED, 56, 4, 64, EOPNOTSUPP, "backing" },
	{ QED, 60, 4, 1, EOPNOTSUPP, "backing" },
};

static void put(const struct lie *l)
{
	for (unsigned i = 0; i < l->width; i++) {
		unsigned place = l->format == QCOW2 ? l->width - 1 - i : i;

		bytes[l->at + place] = l->value >> 8 * i;
	}
}

START_TEST(fields)
{
	if (no_qemu())
		return;
	for (int f = 0; f < FORMATS; f++) {
		uint8_t kept[8];

		make(f, "", 64 * MIB);
		for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
			const struct lie *l = &lies[i];

			if (l->format != f)
				continue;
			memcpy(kept, bytes + l->at, sizeof(kept));
			put(l);
			ck_assert_msg(look(f) == -l->err && strstr(reason, l->why),
				      "%s at %u, %#llx: '%s'", formats[f].name, l->at,
				      (unsigned long long)l->value, reason);
			memcpy(bytes + l->at, kept, sizeof(kept));
			ck_assert_int_eq(look(f), 0);
		}
	}
	forget();
}
END_TEST

/* The descriptor of a VMDK; the rest of it is as QEMU makes it. */
static void describe(const char *text)
{
	memset(bytes + 512, 0, 20 * 512);
	memcpy(bytes + 512, text, strlen(text));
}

#define BEGIN "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
#define OWN "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 131072 SPARSE \"a.vmdk\"\n"

START_TEST(descriptors)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "", "no kind" },
		{ BEGIN "RW 131072 SPARSE \"a\"\n", "no kind" },
		{ BEGIN OWN "parentFileNameHint=\"/etc/passwd\"\n", "parent" },
		{ BEGIN OWN "#parentFileNameHint=\"/etc/passwd\"\n", "parent" },
		{ BEGIN OWN "x PARENTFILENAMEHINT = \"b\"", "parent" },
		{ BEGIN OWN "parentCID=00000000\n", "parent" },
		{ BEGIN OWN "  ParentCID = \"12345678\"\n", "parent" },
		{ BEGIN OWN "RW 131072 SPARSE \"b.vmdk\"\n", "2 extents" },
		{ BEGIN OWN "RW 131072 FLAT \"/etc/passwd\" 0\n", "other files" },
		{ BEGIN OWN "rdonly 1 VMFS \"b\"\n", "other files" },
		{ BEGIN OWN "  NOACCESS 1 ZERO\n", "other files" },
		{ BEGIN "createType=\"monolithicSparse\"\n", "0 extents" },
		{ BEGIN "createType=\"monolithicSparse\"\nRW 1 SPARSE \"/etc/x\"\n",
		  "other files" },
		{ BEGIN "createType=\"monolithicSparse\"\nRW 1 SPARSE \"..\\x\"\n", "other files" },
		{ BEGIN "createType=\"monolithicSparse\"\nRW 1 SESPARSE \"x\"\n", "other files" },
		{ BEGIN OWN "createType=\"monolithicFlat\"\n", "kind monolithicFlat" },
		{ BEGIN OWN "createType=\"vmfsSparse\"", "kind vmfsSparse" },
		{ BEGIN OWN "createType=\"monolithicSparseAndMuchMoreThanThereIsRoomFor\"",
		  "kind" },
	};
	static const char *const good[] = {
		BEGIN OWN,
		"# Disk DescriptorFile\r\nparentCID=FFFFFFFF\r\ncreateType=\"monolithicSparse\"\r\n"
		"RW 131072 SPARSE \"a.vmdk\"\r\n",
		BEGIN OWN "# RW 1 FLAT \"/etc/passwd\"\nddb.comment = \"RW 1 FLAT\"\n",
	};

	if (no_qemu())
		return;
	make(VMDK, "", 64 * MIB);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		describe(bad[i].text);
		ck_assert_msg(look(VMDK) == -EOPNOTSUPP && strstr(reason, bad[i].why), "%s: '%s'",
			      bad[i].text, reason);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		describe(good[i]);
		ck_assert_msg(!look(VMDK), "%s: '%s'", good[i], reason);
	}
	/* At its end, with nothing behind, but inside of what QEMU reads; and without any NUL. */
	describe(BEGIN OWN);
	memset(bytes + 512 + strlen(BEGIN OWN), '\n', 20 * 512 - strlen(BEGIN OWN));
	ck_assert_int_eq(look(VMDK), 0);
	put_le64(bytes + 36, 1);
	memcpy(bytes + 512 + 20 * 512 - 23, "parentFileNameHint=\"x\"\n", 23);
	assert_bad(VMDK, -EOPNOTSUPP, "parent");
	forget();
}
END_TEST

/* The header's copy at the end is the one that QEMU believes. */
START_TEST(footer)
{
	const char *dir;
	uint8_t *copy;

	if (no_qemu())
		return;
	dir = unit_dir();
	shell(dir, "truncate -s 1M raw && qemu-img convert -f raw -O vmdk "
		   "-o subformat=streamOptimized raw image");
	load(dir, "image");
	bytes = realloc(bytes, length + 3 * 512);
	memset(bytes + length, 0, 3 * 512);
	put_le32(bytes + length + 12, 3);
	copy = bytes + length + 512;
	memcpy(copy, bytes, 512);
	length += 3 * 512;
	put_le64(bytes + 56, UINT64_MAX);
	ck_assert_msg(!look(VMDK), "%s", reason);
	ck_assert_uint_eq(head.size, MIB);
	put_le64(copy + 12, 0);
	assert_bad(VMDK, -EINVAL, "differ");
	put_le64(copy + 12, MIB / 512);
	put_le64(copy + 28, 7);
	assert_bad(VMDK, -EINVAL, "differ");
	put_le64(copy + 28, 1);
	put_le64(copy + 56, UINT64_MAX);
	assert_bad(VMDK, -EINVAL, "outside");
	put_le64(copy + 56, get_le64(bytes + 48));
	copy[512]++;
	assert_bad(VMDK, -EINVAL, "cut off");
	copy[512]--;
	length -= 512;
	assert_bad(VMDK, -EINVAL, "cut off");
	forget();
}
END_TEST

/* Any length: refused, or good; never read behind the end. */
START_TEST(cut_off)
{
	if (no_qemu())
		return;
	for (int f = 0; f < FORMATS; f++) {
		size_t good = 0, step = 1;

		make(f, "", 64 * MIB);
		for (size_t len = 0; len <= length; len += step) {
			int err = look_at(formats[f].read, bytes, len);

			if (!err && !good)
				good = len;
			ck_assert_msg(!good || !err, "%s at %zu after %zu", formats[f].name, len,
				      good);
			step = len < 2048 || good ? 1 : 61;
			if (good)
				step = 997;
		}
		ck_assert_int_eq(look(f), 0);
		ck_assert(!good || good >= 64);
	}
	forget();
}
END_TEST

/* Whatever the bytes are. What is refused has a reason, what is not has a possible size. */
START_TEST(garbage)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	uint64_t seed = 1;

	if (no_qemu())
		return;
	for (int f = 0; f < FORMATS; f++) {
		size_t end;

		make(f, "", 64 * MIB);
		end = length < 2048 ? length : 2048;
		for (size_t at = 0; at < end; at++) {
			uint8_t kept = bytes[at];

			for (size_t v = 0; v < sizeof(values); v++) {
				bytes[at] = values[v];
				look(f);
			}
			bytes[at] = kept;
		}
		for (unsigned i = 0; i < unit_scaled(20000); i++) {
			uint8_t kept[512];

			memcpy(kept, bytes, sizeof(kept));
			for (unsigned n = 1 + unit_below(&seed, 4); n; n--)
				bytes[4 + unit_below(&seed, 120)] = unit_random(&seed);
			look(f);
			memcpy(bytes, kept, sizeof(kept));
		}
	}
	forget();
}
END_TEST

START_TEST(file_errors)
{
	if (no_qemu())
		return;
	for (int f = 0; f < FORMATS; f++) {
		make(f, "", 64 * MIB);
		for (unsigned nth = 0; nth <= 4; nth++) {
			struct memory m = { .base.ops = &memory_ops,
					    .content = bytes,
					    .size = length,
					    .bad_read = nth,
					    .bad_stat = !nth };
			int err = formats[f].read(&m.base, &head, reason);

			ck_assert_int_eq(err, m.reads >= nth ? -EIO : 0);
			ck_assert(!err || strstr(reason, "cannot be read"));
		}
	}
	forget();
}
END_TEST

UNIT_MAIN("foreign_heads", NULL, NULL, real_ones, odd_sizes, only_read, others_named_by_real_ones,
	  fields, descriptors, footer, cut_off, garbage, file_errors)

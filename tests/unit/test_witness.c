// SPDX-License-Identifier: GPL-2.0-or-later
/* The images are made by QEMU, so that three programs have to agree. */
#include "witness.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "unit.h"

#define MIB (UINT64_C(1) << 20)

static const struct made {
	const char *kind, *format, *options;
	uint64_t size;
} made[] = {
	{ "vhd", "vpc", "subformat=dynamic,force_size=on", 1024 * MIB },
	{ "vhd-fixed", "vpc", "subformat=fixed,force_size=on", 3 * MIB },
	{ "vhdx", "vhdx", "subformat=dynamic", 1024 * MIB },
	{ "vhdx", "vhdx", "subformat=dynamic,block_size=256M", (64 * MIB) << 20 },
	{ "vhdx-fixed", "vhdx", "subformat=fixed", 8 * MIB },
};

static const char *dir;
static bool have_qemu;

static void setup(void)
{
	dir = unit_dir();
	have_qemu = !system("qemu-img --version >/dev/null 2>&1");
	if (!have_qemu)
		printf("SKIP: witness: qemu-img is not installed\n");
}

/* A descriptor of it, for reading and writing. */
static int make(const struct made *m)
{
	char command[1024], path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/image", dir);
	snprintf(command, sizeof(command), "qemu-img create -q -f %s -o %s '%s' %" PRIu64,
		 m->format, m->options, path, m->size);
	ck_assert_int_eq(system(command), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Where our reader finds it; of a VHDX both headers have the same. */
static void read_identity(int fd, bool vhdx, uint8_t identity[16])
{
	off_t at = vhdx ? (64 << 10) + 32 : lseek(fd, 0, SEEK_END) - 512 + 68;

	ck_assert_int_eq(pread(fd, identity, 16, at), 16);
}

static void image_of(int fd, const struct made *m, struct image *img)
{
	*img = (struct image){ .kind = m->kind, .size = m->size };
	read_identity(fd, !strcmp(m->format, "vhdx"), img->identity);
}

static struct witness look(int fd)
{
	struct witness w;

	ck_assert_int_eq(witness_look(fd, &w), 0);
	ck_assert(w.opened == !w.why[0]);
	return w;
}

static const char *compared(const struct witness *w, const struct image *img)
{
	static char opinion[IMAGE_REASON];

	memset(opinion, 'x', sizeof(opinion));
	witness_compare(w, img, opinion);
	ck_assert_ptr_nonnull(memchr(opinion, 0, sizeof(opinion)));
	return opinion;
}

START_TEST(agrees_with_qemu)
{
	for (size_t i = 0; have_qemu && i < UNIT_LENGTH(made); i++) {
		int fd = make(&made[i]);
		struct witness w = look(fd);
		struct image img;

		image_of(fd, &made[i], &img);
		ck_assert(w.opened && w.has_identity);
		ck_assert_uint_eq(w.size, made[i].size);
		ck_assert_str_eq(compared(&w, &img), "");
		close(fd);
	}
}
END_TEST

/* What it says is always libvhdi's side. */
START_TEST(tells_each_difference)
{
	for (size_t i = 0; have_qemu && i < UNIT_LENGTH(made); i++) {
		int fd = make(&made[i]);
		struct witness w = look(fd);
		struct image img, lie;
		char sentence[100];

		image_of(fd, &made[i], &img);
		for (size_t k = 0; k < UNIT_LENGTH(made); k++) {
			lie = img;
			lie.kind = made[k].kind;
			snprintf(sentence, sizeof(sentence), "libvhdi sees the kind %s", img.kind);
			ck_assert_str_eq(compared(&w, &lie),
					 strcmp(lie.kind, img.kind) ? sentence : "");
		}
		lie = img;
		lie.size = img.size + 512;
		w.size_at_creation = false;
		snprintf(sentence, sizeof(sentence), "libvhdi sees a size of %" PRIu64 " bytes",
			 img.size);
		ck_assert_str_eq(compared(&w, &lie), sentence);
		for (int bit = 0; bit < 128; bit++) {
			lie = img;
			lie.identity[bit / 8] ^= 1 << bit % 8;
			ck_assert(!strncmp(compared(&w, &lie), "libvhdi sees the identity ", 26));
		}
		/* An image without one is not wrong. */
		memset(lie.identity, 0, sizeof(lie.identity));
		ck_assert_str_eq(compared(&w, &lie), "");
		lie.kind = "raw";
		lie.size = 0;
		ck_assert_str_eq(compared(&w, &lie), "");
		close(fd);
	}
}
END_TEST

START_TEST(writes_identities_as_others_do)
{
	struct image img = { .kind = "vhd", .size = 512, .identity = { 1 } };
	struct witness w = { .opened = true,
			     .has_identity = true,
			     .kind = WITNESS_DYNAMIC,
			     .size = 512,
			     .identity = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe,
					   0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10 } };

	ck_assert_str_eq(compared(&w, &img),
			 "libvhdi sees the identity 01234567-89ab-cdef-fedc-ba9876543210");
	img.kind = "vhdx";
	w.vhdx = true;
	ck_assert_str_eq(compared(&w, &img),
			 "libvhdi sees the identity 67452301-ab89-efcd-fedc-ba9876543210");
	w.has_identity = false;
	ck_assert_str_eq(compared(&w, &img), "");
	w.kind = WITNESS_OTHER;
	ck_assert_str_eq(compared(&w, &img), "libvhdi does not know its kind");
	w.opened = false;
	memset(w.why, 'y', sizeof(w.why) - 1);
	ck_assert(!strncmp(compared(&w, &img), "libvhdi cannot open it: yyy", 27));
}
END_TEST

/* A dynamic VHD made into a differencing one by its footer and the parent's name. */
START_TEST(knows_differencing)
{
	uint8_t footer[512];
	uint32_t sum = 0;
	struct witness w;
	struct image img;
	int fd;

	if (!have_qemu)
		return;
	fd = make(&made[0]);
	image_of(fd, &made[0], &img);
	ck_assert_int_eq(pread(fd, footer, 512, 0), 512);
	put_be32(footer + 60, 4);
	put_be32(footer + 64, 0);
	for (int i = 0; i < 512; i++)
		sum += footer[i];
	put_be32(footer + 64, ~sum);
	ck_assert_int_eq(pwrite(fd, footer, 512, 0), 512);
	ck_assert_int_eq(pwrite(fd, footer, 512, lseek(fd, 0, SEEK_END) - 512), 512);
	/* Of the header at 512: the parent's unique id, and its name. */
	ck_assert_int_eq(pwrite(fd, "0123456789abcdef", 16, 512 + 40), 16);
	ck_assert_int_eq(pwrite(fd, "\0p\0a\0r\0e\0n\0t", 12, 512 + 64), 12);
	w = look(fd);
	ck_assert_str_eq(compared(&w, &img), "libvhdi sees the kind vhd-differencing");
	img.kind = "vhd-differencing";
	ck_assert_str_eq(compared(&w, &img), "");
	close(fd);
}
END_TEST

/* Of two headers with different sequence numbers it takes the newer, as we do. */
START_TEST(takes_the_newer_header)
{
	static const off_t at[] = { 64 << 10, 128 << 10 };

	for (int newer = 0; have_qemu && newer < 2; newer++) {
		uint8_t sequence[8], identity[16] = "0123456789abcde";
		int fd = make(&made[2]);
		struct witness w;

		ck_assert_int_eq(pread(fd, sequence, 8, at[!newer] + 8), 8);
		put_le64(sequence, get_le64(sequence) + 1);
		ck_assert_int_eq(pwrite(fd, sequence, 8, at[newer] + 8), 8);
		ck_assert_int_eq(pwrite(fd, identity, 16, at[newer] + 32), 16);
		w = look(fd);
		ck_assert(!memcmp(w.identity, identity, 16));
		close(fd);
	}
}
END_TEST

START_TEST(says_why_it_does_not_open)
{
	struct image img = { .kind = "vhd", .size = 512 };
	int fd = memfd_create("tandemfs-test", MFD_CLOEXEC);
	struct witness w;

	w = look(fd);
	ck_assert(!w.opened);
	ck_assert(!strncmp(compared(&w, &img), "libvhdi cannot open it: ", 24));
	ck_assert_int_eq(ftruncate(fd, MIB), 0);
	w = look(fd);
	ck_assert_str_eq(compared(&w, &img), "libvhdi cannot open it: unsupported signature");
	close(fd);
	w = look(fd);
	ck_assert(!w.opened);
}
END_TEST

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* In turns at a whole sector and anywhere; -1 behind 0. */
static off_t shorter(off_t size, uint64_t *seed)
{
	if (size % 512)
		return size / 512 * 512;
	return size - 1 - (size ? (off_t)unit_below(seed, size < 40000 ? size : 40000) : 0);
}

START_TEST(cut_files_do_no_harm)
{
	int quiet = memfd_create("tandemfs-test", MFD_CLOEXEC);
	unsigned before, opened = 0, refused = 0;
	struct stat st;

	fflush(stdout);
	ck_assert(dup2(quiet, 1) == 1 && dup2(quiet, 2) == 2);
	for (size_t i = 0; have_qemu && i < UNIT_LENGTH(made); i++) {
		int fd = make(&made[i]);
		uint64_t seed = i;

		before = descriptors();
		ck_assert_int_eq(fstat(fd, &st), 0);
		for (off_t size = st.st_size; size >= 0;) {
			struct witness w;

			ck_assert_int_eq(ftruncate(fd, size), 0);
			w = look(fd);
			if (w.opened)
				opened++;
			else
				refused++;
			ck_assert_uint_eq(descriptors(), before);
			size = shorter(size, &seed);
		}
		close(fd);
	}
	ck_assert(!have_qemu || (opened > 0 && refused > 20));
	ck_assert_msg(!fstat(quiet, &st) && !st.st_size, "it printed something");
}
END_TEST

START_TEST(any_descriptor)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_PATH };
	struct flock l = { .l_type = F_WRLCK, .l_start = 100, .l_len = 1 };
	char path[64];
	int fd, other;

	if (!have_qemu)
		return;
	fd = make(&made[0]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
	ck_assert_int_eq(lseek(fd, 77, SEEK_SET), 77);
	for (size_t i = 0; i < UNIT_LENGTH(flags); i++) {
		other = open(path, flags[i] | O_CLOEXEC);
		ck_assert(look(other).opened);
		close(other);
	}
	ck_assert(look(fd).opened);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 77);
	other = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(other, F_OFD_GETLK, &l), 0);
	ck_assert_int_eq(l.l_type, F_WRLCK);
	close(other);
	close(fd);
}
END_TEST

UNIT_MAIN("witness", setup, NULL, agrees_with_qemu, tells_each_difference,
	  writes_identities_as_others_do, knows_differencing, takes_the_newer_header,
	  says_why_it_does_not_open, cut_files_do_no_harm, any_descriptor)

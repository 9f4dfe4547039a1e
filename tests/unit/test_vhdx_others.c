// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VHDX beside QEMU and libvhdi: they read what we write, we read what they
 * write, also when either was killed. And files that are too large for memory.
 */
#include "vhdx.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"
#include "unit.h"
#include "vhdx_build.h"

#define MIB ((uint64_t)1 << 20)
#define SIZE (61 * MIB + 512)

extern char **environ;

static char reason[IMAGE_REASON];
static const char *dir;
static uint8_t *twin;

static void setup(void)
{
	dir = unit_dir();
	twin = calloc(1, 2 * SIZE);
}

static void teardown(void)
{
	free(twin);
}

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* In the directory of the test. */
static int run(const char *format, ...)
{
	char command[4096];
	va_list args;
	int n = snprintf(command, sizeof(command), "cd %s && ", dir);

	va_start(args, format);
	vsnprintf(command + n, sizeof(command) - n, format, args);
	va_end(args);
	return system(command);
}

static bool has(const char *program)
{
	if (!run("command -v %s >/dev/null", program))
		return true;
	printf("SKIP: there is no %s\n", program);
	return false;
}

static void ck_run(int status)
{
	if (status)
		run("cat out >&2");
	ck_assert_int_eq(status, 0);
}

static struct file *open_path(const char *name)
{
	char path[4096];
	struct file *f;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_adopt(fd, false, &f), 0);
	return f;
}

static struct image *open_odd(const char *name)
{
	struct image_around around = { 0 };
	struct image *img;

	ck_assert_msg(!image_open(open_path(name), &vhdx_format, &around, &img, reason), "%s",
		      reason);
	return img;
}

static struct image *open_image(const char *name)
{
	struct image *img = open_odd(name);

	ck_assert_msg(!img->complaint[0], "%s", img->complaint);
	return img;
}

static struct image *make(const char *name, const char *kind, uint64_t size, uint32_t block,
			  uint32_t sector)
{
	struct image_create c = { .kind = kind,
				  .size = size,
				  .block_size = block,
				  .sector_size = sector };
	struct file *f = open_path(name);

	ck_assert_int_eq(f->ops->resize(f, 0), 0);
	ck_assert_msg(!vhdx_format.create(f, &c, reason), "%s", reason);
	f->ops->close(f);
	return open_image(name);
}

static void put(struct image *img, uint64_t off, size_t len, uint8_t fill)
{
	memset(twin + off, fill, len);
	ck_assert_int_eq(vhdx_format.write(img, twin + off, len, off, 0), 0);
}

static void write_some(struct image *img, uint64_t *seed)
{
	for (int i = 0; i < 12; i++) {
		uint64_t off = unit_below(seed, img->size / 512) * 512;
		uint64_t len = unit_below(seed, MIB) / 512 * 512 + 512;

		if (len > img->size - off)
			len = img->size - off;
		put(img, off, len, 1 + unit_below(seed, 255));
	}
	put(img, 8 * MIB, 512, 1); /* so that the table changes */
	memset(twin + 7 * MIB, 0, 5 * MIB);
	ck_assert_int_eq(vhdx_format.zero(img, 7 * MIB, 5 * MIB, ZERO_PUNCH), 0);
}

/* The twin as a file, for others to compare with. */
static void save_twin(uint64_t size)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/twin.raw", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, twin, size), size);
	close(fd);
}

static void load_twin(const char *name, uint64_t size)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, twin, size), size);
	close(fd);
}

static void ck_qemu(const char *name, uint64_t size)
{
	save_twin(size);
	ck_run(run("qemu-img check -f vhdx %s >out 2>&1", name));
	ck_run(run("qemu-img compare -f vhdx -F raw %s twin.raw >out 2>&1", name));
}

static void ck_ours(struct image *img)
{
	uint64_t size = img->size;
	uint8_t *all = malloc(size);

	ck_assert_int_eq(vhdx_format.read(img, all, size, 0, 0), 0);
	for (uint64_t i = memcmp(all, twin, size) ? 0 : size; i < size; i++)
		if (all[i] != twin[i])
			ck_abort_msg("byte %llu is %02x, shall be %02x", (unsigned long long)i,
				     all[i], twin[i]);
	free(all);
}

/* ---- libvhdi ---- */

static struct {
	int (*initialize)(void **file, void **error);
	int (*open)(void *file, const char *path, int flags, void **error);
	int (*size)(void *file, uint64_t *size, void **error);
	ssize_t (*read)(void *file, void *buf, size_t len, int64_t off, void **error);
	int (*free)(void **file, void **error);
} vhdi;

static bool has_vhdi(void)
{
	void *lib = dlopen("libvhdi.so.1", RTLD_NOW);

	if (!lib) {
		puts("SKIP: there is no libvhdi");
		return false;
	}
	*(void **)&vhdi.initialize = dlsym(lib, "libvhdi_file_initialize");
	*(void **)&vhdi.open = dlsym(lib, "libvhdi_file_open");
	*(void **)&vhdi.size = dlsym(lib, "libvhdi_file_get_media_size");
	*(void **)&vhdi.read = dlsym(lib, "libvhdi_file_read_buffer_at_offset");
	*(void **)&vhdi.free = dlsym(lib, "libvhdi_file_free");
	ck_assert(vhdi.initialize && vhdi.open && vhdi.size && vhdi.read && vhdi.free);
	return true;
}

static void ck_vhdi(const char *name, uint64_t size)
{
	uint8_t *buf = malloc(MIB);
	void *file = NULL, *error = NULL;
	char path[4096];
	uint64_t found;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(vhdi.initialize(&file, &error), 1);
	ck_assert_int_eq(vhdi.open(file, path, 1, &error), 1);
	ck_assert_int_eq(vhdi.size(file, &found, &error), 1);
	ck_assert_uint_eq(found, size);
	for (uint64_t at = 0; at < size; at += MIB) {
		size_t n = size - at < MIB ? size - at : MIB;

		ck_assert_int_eq(vhdi.read(file, buf, n, at, &error), (ssize_t)n);
		ck_assert_mem_eq(buf, twin + at, n);
	}
	vhdi.free(&file, &error);
	free(buf);
}

/* ---- what we write ---- */

static const struct {
	const char *kind;
	uint32_t block, sector;
} kinds[] = {
	{ "vhdx", 1 << 20, 512 },        { "vhdx", 2 << 20, 512 },       { "vhdx", 32 << 20, 512 },
	{ "vhdx-fixed", 1 << 20, 512 },  { "vhdx-fixed", 8 << 20, 512 }, { "vhdx", 2 << 20, 4096 },
	{ "vhdx-fixed", 4 << 20, 4096 },
};

/* QEMU 7.2 knows sectors of 512 bytes only. */
START_TEST(others_read_ours)
{
	bool qemu = has("qemu-img"), lib = has_vhdi();
	uint64_t seed = 1;

	for (size_t i = 0; i < UNIT_LENGTH(kinds); i++) {
		uint64_t size = SIZE / kinds[i].sector * kinds[i].sector;
		struct image *img = make("a.vhdx", kinds[i].kind, size, kinds[i].block,
					 kinds[i].sector);

		memset(twin, 0, size);
		for (int round = 0; round < 3; round++) {
			ck_assert_int_eq(vhdx_format.rest(img), 0);
			if (qemu && kinds[i].sector == 512)
				ck_qemu("a.vhdx", size);
			if (lib)
				ck_vhdi("a.vhdx", size);
			write_some(img, &seed);
		}
		image_close(img);
	}
}
END_TEST

/* Left as a daemon that died leaves it, after a flush. */
START_TEST(qemu_replays_ours)
{
	uint64_t seed = 2;

	if (!has("qemu-img"))
		return;
	for (size_t i = 0; i < UNIT_LENGTH(kinds); i++) {
		struct image *img;

		if (kinds[i].sector != 512)
			continue;
		memset(twin, 0, SIZE);
		img = make("a.vhdx", kinds[i].kind, SIZE, kinds[i].block, 512);
		for (int round = 0; round < 3; round++) {
			write_some(img, &seed);
			ck_assert_int_eq(vhdx_format.flush(img), 0);
			image_close(img);
			ck_run(run("cp a.vhdx b.vhdx"));
			/* As if the machine had died, too: only the log has the table. */
			if (!strcmp(kinds[i].kind, "vhdx") && kinds[i].block <= 2 << 20)
				ck_run(run("dd if=/dev/zero of=b.vhdx bs=4096 seek=768 count=1 "
					   "conv=notrunc >out 2>&1"));
			ck_assert(run("qemu-img check b.vhdx >out 2>&1"));
			ck_run(run("qemu-img check -r all b.vhdx >out 2>&1"));
			ck_qemu("b.vhdx", SIZE);
			img = open_image("a.vhdx");
			ck_ours(img);
		}
		image_close(img);
	}
}
END_TEST

START_TEST(qemu_reads_grown_ones)
{
	static const char *const grown[] = { "vhdx", "vhdx-fixed" };

	if (!has("qemu-img"))
		return;
	for (int i = 0; i < 2; i++) {
		struct image *img = make("a.vhdx", grown[i], 30 * MIB, 1 << 20, 512);

		memset(twin, 0, 2 * SIZE);
		put(img, 29 * MIB, MIB, 'a');
		ck_assert_int_eq(vhdx_format.resize(img, 2 * SIZE), 0);
		put(img, 2 * SIZE - MIB, MIB, 'b');
		ck_assert_int_eq(vhdx_format.flush(img), 0);
		ck_run(run("cp a.vhdx b.vhdx && qemu-img check -r all b.vhdx >out 2>&1"));
		ck_qemu("b.vhdx", 2 * SIZE);
		ck_assert_int_eq(vhdx_format.rest(img), 0);
		ck_qemu("a.vhdx", 2 * SIZE);
		image_close(img);
	}
	/* The table moves, and the log says so. */
	for (int at_rest = 0; at_rest < 2; at_rest++) {
		struct image *img = make("a.vhdx", "vhdx", 30 * MIB, 1 << 20, 512);

		put(img, 29 * MIB, MIB, 'a');
		ck_assert_int_eq(vhdx_format.resize(img, 1ull << 40), 0);
		put(img, 3 * MIB, MIB, 'b');
		ck_assert_int_eq(at_rest ? vhdx_format.rest(img) : vhdx_format.flush(img), 0);
		image_close(img);
		ck_run(run("qemu-img check %s a.vhdx >out 2>&1", at_rest ? "" : "-r all"));
		ck_run(run("qemu-img info a.vhdx | grep -q 1099511627776"));
		ck_run(run("qemu-io -f vhdx -c 'read -P 97 29M 1M' -c 'read -P 98 3M 1M' "
			   "-c 'read -P 0 4M 1M' a.vhdx >out 2>&1 && ! grep -q fail out"));
	}
}
END_TEST

/* ---- what QEMU writes ---- */

static void make_by_qemu(const char *subformat, unsigned block_mib)
{
	ck_run(run("rm -f q.vhdx; qemu-img create -f vhdx -o subformat=%s,block_size=%uM q.vhdx "
		   "%lluM >out 2>&1",
		   subformat, block_mib, (unsigned long long)61));
}

START_TEST(we_read_qemus)
{
	static const char *const subformats[] = { "dynamic", "fixed",
						  "fixed,block_state_zero=off" };
	static const unsigned blocks[] = { 1, 8, 64 };
	uint64_t seed = 3;

	if (!has("qemu-img") || !has("qemu-io"))
		return;
	for (int i = 0; i < 9; i++) {
		struct image *img;

		make_by_qemu(subformats[i / 3], blocks[i % 3]);
		ck_run(run("qemu-io -f vhdx -c 'write -P 9 3M 5M' -c 'write -P 8 100k 4k' "
			   "-c 'write -z 50M 3M' -c 'write -P 7 60M 1M' q.vhdx >out 2>&1"));
		ck_run(run("qemu-img convert -f vhdx -O raw q.vhdx q.raw >out 2>&1"));
		load_twin("q.raw", 61 * MIB);
		img = open_image("q.vhdx");
		ck_assert_str_eq(img->kind, i / 3 ? "vhdx-fixed" : "vhdx");
		ck_assert_uint_eq(img->block_size, blocks[i % 3] * MIB);
		ck_ours(img);
		write_some(img, &seed);
		ck_ours(img);
		ck_assert_int_eq(vhdx_format.rest(img), 0);
		ck_qemu("q.vhdx", 61 * MIB);
		ck_assert_int_eq(vhdx_format.resize(img, 90 * MIB), 0);
		memset(twin + 61 * MIB, 0, 29 * MIB);
		put(img, 89 * MIB, MIB, 'n');
		ck_assert_int_eq(vhdx_format.rest(img), 0);
		ck_qemu("q.vhdx", 90 * MIB);
		image_close(img);
	}
}
END_TEST

static bool has_log(void)
{
	struct file *f = open_path("q.vhdx");
	uint8_t h[2][128], zeros[16] = { 0 };
	int newer;

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(f->ops->read(f, h[i], 128, BUILD_HEADER(i), 0), 0);
	f->ops->close(f);
	newer = get_le64(h[1] + 8) > get_le64(h[0] + 8);
	return memcmp(h[newer] + 48, zeros, 16);
}

/* One write to each block, until it is killed. */
static void kill_qemu(unsigned us)
{
	char path[4096], commands[61][64];
	char *argv[4 + 2 * 61 + 2] = { (char *)"qemu-io", (char *)"-f", (char *)"vhdx" };
	int n = 3;
	pid_t pid;

	for (int i = 0; i < 61; i++) {
		snprintf(commands[i], sizeof(commands[i]), "write -P %d %dM 64k", 1 + i,
			 i * 23 % 61);
		argv[n++] = (char *)"-c";
		argv[n++] = commands[i];
	}
	snprintf(path, sizeof(path), "%s/q.vhdx", dir);
	argv[n++] = path;
	argv[n] = NULL;
	{
		posix_spawn_file_actions_t quiet;

		posix_spawn_file_actions_init(&quiet);
		posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
		ck_assert_int_eq(posix_spawnp(&pid, "qemu-io", &quiet, NULL, argv, environ), 0);
		posix_spawn_file_actions_destroy(&quiet);
	}
	usleep(us);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* What we see at once is what QEMU sees when it has replayed the log. */
START_TEST(qemu_was_killed)
{
	unsigned logs = 0, whole = 0, tries = unit_scaled(60);
	uint64_t seed = 4;

	if (!has("qemu-img") || !has("qemu-io"))
		return;
	for (unsigned i = 0; i < tries && logs < unit_scaled(8); i++) {
		struct image *img;
		char byte = 'x';

		make_by_qemu("dynamic", 1);
		kill_qemu(20000 + unit_below(&seed, 100000));
		if (!has_log())
			continue;
		logs++;
		ck_run(run("cp q.vhdx r.vhdx"));
		ck_run(run("qemu-img check -r all r.vhdx >out 2>&1"));
		ck_run(run("qemu-img convert -f vhdx -O raw r.vhdx q.raw >out 2>&1"));
		load_twin("q.raw", 61 * MIB);
		/* QEMU names its log before there is an entry. */
		img = open_odd("q.vhdx");
		ck_assert(!img->complaint[0] || strstr(img->complaint, "log"));
		whole += !img->complaint[0];
		ck_ours(img);
		twin[0] = byte;
		ck_assert_int_eq(vhdx_format.write(img, &byte, 1, 0, 0), 0);
		ck_assert_int_eq(vhdx_format.rest(img), 0);
		ck_qemu("q.vhdx", 61 * MIB);
		image_close(img);
	}
	if (!whole)
		puts("SKIP: QEMU was never killed while there was an entry in its log");
}
END_TEST

/* ---- large ones ---- */

static uint64_t content_at(uint64_t off)
{
	return off * 0x9e3779b97f4a7c15 + 1;
}

static void ck_content(struct image *img, uint64_t off)
{
	uint64_t found;

	ck_assert_int_eq(vhdx_format.read(img, &found, 8, off, 0), 0);
	ck_assert_uint_eq(found, content_at(off));
}

/* More pages of the table at one flush than an entry of the log takes. */
START_TEST(many_pages_at_once)
{
	const unsigned count = 300;
	struct image *img = make("a.vhdx", "vhdx", (uint64_t)count << 29, 1 << 20, 512);

	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < count; i++) {
			uint64_t off = ((uint64_t)i << 29) + round * MIB, v = content_at(off);

			ck_assert_int_eq(vhdx_format.write(img, &v, 8, off, 0), 0);
		}
		ck_assert_int_eq(vhdx_format.flush(img), 0);
		image_close(img);
		img = open_image("a.vhdx");
		for (unsigned i = 0; i < count; i++)
			ck_content(img, ((uint64_t)i << 29) + round * MIB);
	}
	ck_assert_int_eq(vhdx_format.write(img, "", 1, 0, 0), 0);
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	image_close(img);
	if (has("qemu-img"))
		ck_run(run("qemu-img check a.vhdx >out 2>&1"));
}
END_TEST

START_TEST(the_largest)
{
	static const uint32_t blocks[] = { 0, 256u << 20 };
	uint64_t size = 64ull << 40;

	for (size_t i = 0; i < UNIT_LENGTH(blocks); i++)
		for (uint32_t sector = 512; sector <= 4096; sector *= 8) {
			struct image *img = make("a.vhdx", "vhdx", size, blocks[i], sector);
			uint64_t last = size - 8, v = content_at(last);

			ck_assert_uint_eq(img->size, size);
			ck_assert_int_eq(vhdx_format.write(img, &v, 8, last, 0), 0);
			ck_assert_int_eq(vhdx_format.resize(img, size + 4096), -EFBIG);
			ck_assert_int_eq(vhdx_format.flush(img), 0);
			image_close(img);
			img = open_image("a.vhdx");
			ck_content(img, last);
			image_close(img);
		}
}
END_TEST

/* Fixed ones over 4 GiB: libvhdi reads these wrong. */
START_TEST(large_fixed)
{
	uint64_t size = 9ull << 30;
	struct image *img = make("a.vhdx", "vhdx-fixed", size, 2 << 20, 512);

	for (uint64_t off = 0; off < size; off += 512 * MIB) {
		uint64_t v = content_at(off);

		ck_assert_int_eq(vhdx_format.write(img, &v, 8, off, 0), 0);
	}
	ck_assert_int_eq(vhdx_format.rest(img), 0);
	image_close(img);
	img = open_image("a.vhdx");
	for (uint64_t off = 0; off < size; off += 512 * MIB)
		ck_content(img, off);
	image_close(img);
	if (has("qemu-img") && has("qemu-io")) {
		ck_run(run("qemu-img check a.vhdx >out 2>&1"));
		ck_run(run("qemu-io -f vhdx -c 'write -P 7 8G 64k' a.vhdx >out 2>&1"));
		img = open_image("a.vhdx");
		ck_assert_int_eq(vhdx_format.read(img, twin, 65536, 8ull << 30, 0), 0);
		ck_assert(twin[0] == 7 && twin[65535] == 7);
		image_close(img);
	}
}
END_TEST

UNIT_MAIN("vhdx_others", setup, teardown, others_read_ours, qemu_replays_ours,
	  qemu_reads_grown_ones, we_read_qemus, qemu_was_killed, many_pages_at_once, the_largest,
	  large_fixed)

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What libvhdi, which shares no code with tandemfs, reads of a VHD or VHDX.
 *
 *	vhdi_compare [--from OFFSET] [--parent IMAGE]... IMAGE TWIN
 *
 * Compares every byte of the disk, from the offset on, with the file TWIN. The parents come nearest
 * first. Exit status: 0 they are the same, 1 they differ, 3 libvhdi refuses the image or cannot read
 * it, 2 anything else.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libvhdi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (1UL << 20)
#define MAX_IMAGES 16

static libvhdi_file_t *files[MAX_IMAGES];

enum { SAME, DIFFERS, UNUSABLE, REFUSED };

__attribute__((format(printf, 2, 3), noreturn)) static void end(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	exit(status);
}

static _Noreturn void refused(const char *path, uint64_t at, libvhdi_error_t *error)
{
	char said[512] = "";

	libvhdi_error_sprint(error, said, sizeof(said));
	libvhdi_error_free(&error);
	said[strcspn(said, "\n")] = '\0';
	end(REFUSED, "%s: refused at %" PRIu64 ": %s", path, at, said);
}

/* The last opened first: it is a parent's child. */
static void free_files(void)
{
	for (int i = 0; i < MAX_IMAGES; i++)
		libvhdi_file_free(&files[i], NULL);
}

/* The image, over its parents: each is the parent of the one before it. */
static libvhdi_file_t *open_chain(char **paths, int count)
{
	libvhdi_error_t *error = NULL;

	for (int i = count - 1; i >= 0; i--)
		if (libvhdi_file_initialize(&files[i], &error) != 1 ||
		    libvhdi_file_open(files[i], paths[i], LIBVHDI_OPEN_READ, &error) != 1 ||
		    (i < count - 1 &&
		     libvhdi_file_set_parent_file(files[i], files[i + 1], &error) != 1))
			refused(paths[i], 0, error);
	return files[0];
}

static void read_all(int fd, uint8_t *buffer, size_t length, uint64_t at)
{
	ssize_t n = pread(fd, buffer, length, at);

	if (n != (ssize_t)length)
		end(UNUSABLE, "the twin: %s at %" PRIu64, n < 0 ? strerror(errno) : "its end", at);
}

static void compare(libvhdi_file_t *file, const char *path, int twin, uint64_t from)
{
	static uint8_t got[PIECE], want[PIECE];
	libvhdi_error_t *error = NULL;
	uint64_t size = 0;

	if (libvhdi_file_get_media_size(file, &size, &error) != 1)
		refused(path, 0, error);
	if ((uint64_t)lseek(twin, 0, SEEK_END) != size)
		end(DIFFERS, "%s: it differs in size, which is %" PRIu64, path, size);
	for (uint64_t at = from; at < size; at += PIECE) {
		size_t length = size - at < PIECE ? size - at : PIECE;

		if (libvhdi_file_read_buffer_at_offset(file, got, length, at, &error) !=
		    (ssize_t)length)
			refused(path, at, error);
		read_all(twin, want, length, at);
		for (size_t i = 0; i < length; i++)
			if (got[i] != want[i])
				end(DIFFERS, "%s: it differs at %" PRIu64, path, at + i);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "from", required_argument, NULL, 'f' },
		{ "parent", required_argument, NULL, 'p' },
		{ 0 },
	};
	char *paths[MAX_IMAGES] = { NULL };
	int count = 1, option, twin;
	uint64_t from = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) == 'f' || option == 'p')
		if (option == 'f')
			from = strtoull(optarg, NULL, 0);
		else if (count < MAX_IMAGES)
			paths[count++] = optarg;
	if (option != -1 || optind != argc - 2) {
		fputs("usage: vhdi_compare [--from OFFSET] [--parent IMAGE]... IMAGE TWIN\n",
		      stderr);
		return UNUSABLE;
	}
	paths[0] = argv[optind];
	atexit(free_files);
	twin = open(argv[optind + 1], O_RDONLY | O_CLOEXEC);
	if (twin < 0)
		end(UNUSABLE, "%s: %s", argv[optind + 1], strerror(errno));
	compare(open_chain(paths, count), paths[0], twin, from);
	return SAME;
}

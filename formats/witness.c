// SPDX-License-Identifier: GPL-2.0-or-later
#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libvhdi.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"

static const char *const kind_names[2][4] = {
	{
		[WITNESS_FIXED] = "vhd-fixed",
		[WITNESS_DYNAMIC] = "vhd",
		[WITNESS_DIFFERENCING] = "vhd-differencing",
	},
	{
		[WITNESS_FIXED] = "vhdx-fixed",
		[WITNESS_DYNAMIC] = "vhdx",
		[WITNESS_DIFFERENCING] = "vhdx-differencing",
	},
};

/* Between the order in a VHDX, whose first three numbers are little-endian, and that of text. */
static void swap_guid(uint8_t guid[16])
{
	static const uint8_t from[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	uint8_t swapped[16];

	for (int i = 0; i < 16; i++)
		swapped[i] = guid[from[i]];
	memcpy(guid, swapped, sizeof(swapped));
}

/* ---- libvhdi ---- */

/* The innermost reason, from a line "function: reason.". Frees the error. */
static void say_why(libvhdi_error_t **error, char *why, size_t size)
{
	char text[4096] = "";
	const char *reason;

	if (!*error || libvhdi_error_backtrace_sprint(*error, text, sizeof(text)) < 0)
		text[0] = 0;
	text[strcspn(text, "\n")] = 0;
	if (text[0] && text[strlen(text) - 1] == '.')
		text[strlen(text) - 1] = 0;
	reason = strstr(text, ": ");
	reason = reason ? reason + 2 : text;
	snprintf(why, size, "%.*s", (int)size - 1, reason[0] ? reason : "it does not say why");
	libvhdi_error_free(error);
}

static enum witness_kind kind_of(uint32_t disk_type)
{
	switch (disk_type) {
	case LIBVHDI_DISK_TYPE_FIXED:
		return WITNESS_FIXED;
	case LIBVHDI_DISK_TYPE_DYNAMIC:
		return WITNESS_DYNAMIC;
	case LIBVHDI_DISK_TYPE_DIFFERENTIAL:
		return WITNESS_DIFFERENCING;
	default:
		return WITNESS_OTHER;
	}
}

/* Of an open file. */
static void ask(libvhdi_file_t *file, struct witness *w)
{
	libvhdi_error_t *error = NULL;
	uint32_t disk_type = 0;
	size64_t size = 0;
	int type = 0;

	if (libvhdi_file_get_file_type(file, &type, &error) != 1 ||
	    libvhdi_file_get_disk_type(file, &disk_type, &error) != 1 ||
	    libvhdi_file_get_media_size(file, &size, &error) != 1) {
		say_why(&error, w->why, sizeof(w->why));
		return;
	}
	w->opened = true;
	w->vhdx = type == LIBVHDI_FILE_TYPE_VHDX;
	w->kind = kind_of(disk_type);
	w->size = size;
	w->has_identity = libvhdi_file_get_identifier(file, w->identity, sizeof(w->identity),
						      &error) == 1;
	if (w->vhdx)
		swap_guid(w->identity);
	libvhdi_error_free(&error);
}

/* libvhdi takes the size that a VHD had when it was made for the one it has. */
static bool is_size_at_creation(const char *path, uint64_t size)
{
	uint8_t footer[512];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	bool is = end >= (off_t)sizeof(footer) &&
		  pread(fd, footer, sizeof(footer), end - sizeof(footer)) == sizeof(footer) &&
		  get_be64(footer + 40) == size;

	if (fd >= 0)
		close(fd);
	return is;
}

int witness_look(int fd, struct witness *out)
{
	libvhdi_error_t *error = NULL;
	libvhdi_file_t *file = NULL;
	struct witness w = { 0 };
	char path[32];

	if (libvhdi_file_initialize(&file, &error) != 1) {
		libvhdi_error_free(&error);
		return -ENOMEM;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (libvhdi_file_open(file, path, LIBVHDI_OPEN_READ, &error) == 1)
		ask(file, &w);
	else
		say_why(&error, w.why, sizeof(w.why));
	libvhdi_file_free(&file, NULL); /* closes it too */
	w.size_at_creation = w.opened && !w.vhdx && is_size_at_creation(path, w.size);
	*out = w;
	return 0;
}

/* ---- comparing ---- */

static void name_identity(const struct witness *w, char text[37])
{
	uint8_t guid[16];
	char *p = text;

	memcpy(guid, w->identity, sizeof(guid));
	if (w->vhdx)
		swap_guid(guid);
	for (int i = 0; i < 16; i++)
		p += sprintf(p, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", guid[i]);
}

bool witness_knows(const char *kind)
{
	for (int vhdx = 0; vhdx < 2; vhdx++)
		for (int k = WITNESS_FIXED; k <= WITNESS_DIFFERENCING; k++)
			if (!strcmp(kind, kind_names[vhdx][k]))
				return true;
	return false;
}

void witness_compare(const struct witness *w, const struct image *img, char opinion[IMAGE_REASON])
{
	static const uint8_t none[16];
	const char *kind = kind_names[w->vhdx][w->kind];
	char identity[37];

	opinion[0] = 0;
	if (!witness_knows(img->kind))
		return;
	if (!w->opened) {
		snprintf(opinion, IMAGE_REASON, "libvhdi cannot open it: %s", w->why);
	} else if (!kind) {
		snprintf(opinion, IMAGE_REASON, "libvhdi does not know its kind");
	} else if (strcmp(kind, img->kind)) {
		snprintf(opinion, IMAGE_REASON, "libvhdi sees the kind %s", kind);
	} else if (w->size != img->size && !w->size_at_creation) {
		snprintf(opinion, IMAGE_REASON, "libvhdi sees a size of %" PRIu64 " bytes",
			 w->size);
	} else if (w->has_identity && memcmp(img->identity, none, sizeof(none)) &&
		   memcmp(w->identity, img->identity, sizeof(w->identity))) {
		name_identity(w, identity);
		snprintf(opinion, IMAGE_REASON, "libvhdi sees the identity %s", identity);
	}
}

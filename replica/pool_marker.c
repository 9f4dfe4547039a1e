// SPDX-License-Identifier: GPL-2.0-or-later
#include "pool_marker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "beside.h"

#define NEW POOL_MARKER ".new"
#define WORD "tandemfs-pool-1 "
#define TEXT_LEN (sizeof(WORD) - 1 + 2 * sizeof(struct pool_id) + 1)

bool pool_id_is_known(const struct pool_id *id)
{
	static const struct pool_id none;

	return memcmp(id, &none, sizeof(none)) != 0;
}

static void encode(const struct pool_id *id, char text[TEXT_LEN + 1])
{
	int len = snprintf(text, TEXT_LEN + 1, WORD);

	for (size_t i = 0; i < sizeof(id->bytes); i++)
		len += snprintf(text + len, TEXT_LEN + 1 - len, "%02x", id->bytes[i]);
	snprintf(text + len, TEXT_LEN + 1 - len, "\n");
}

static int decode(const char *text, struct pool_id *out)
{
	char again[TEXT_LEN + 1];
	struct pool_id id = { 0 };

	for (size_t i = 0; i < sizeof(id.bytes); i++)
		if (sscanf(text + sizeof(WORD) - 1 + 2 * i, "%2hhx", &id.bytes[i]) != 1)
			return -EIO;
	encode(&id, again);
	if (strcmp(text, again) != 0 || !pool_id_is_known(&id))
		return -EIO;
	*out = id;
	return 0;
}

int pool_marker_read(int dirfd, struct pool_id *out)
{
	char text[TEXT_LEN + 2] = "";
	struct stat st;
	int fd, err = 0;

	fd = openat(dirfd, POOL_MARKER, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (!S_ISREG(st.st_mode) || read(fd, text, TEXT_LEN + 1) != TEXT_LEN)
		err = -EIO;
	close(fd);
	return err ? err : decode(text, out);
}

static int write_new(int dirfd, const struct pool_id *id)
{
	char text[TEXT_LEN + 1];
	int fd, err = 0;

	encode(id, text);
	if (unlinkat(dirfd, NEW, 0) && errno != ENOENT)
		return -errno;
	fd = openat(dirfd, NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, TEXT_LEN) != TEXT_LEN)
		err = -EIO;
	else if (fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && renameat(dirfd, NEW, dirfd, POOL_MARKER))
		err = -errno;
	if (err)
		unlinkat(dirfd, NEW, 0);
	return err;
}

int pool_marker_make(int dirfd, struct pool_id *out)
{
	struct pool_id id;
	int err = pool_marker_read(dirfd, &id);

	if (err == -ENOENT) {
		if (getrandom(&id, sizeof(id), 0) != sizeof(id))
			return -EIO;
		err = write_new(dirfd, &id);
	}
	/* Also of one that was there: who made it may have died before this. */
	if (!err)
		err = beside_sync(dirfd);
	if (!err)
		*out = id;
	return err;
}

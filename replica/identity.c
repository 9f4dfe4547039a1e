// SPDX-License-Identifier: GPL-2.0-or-later
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* Linux 6.9's FS_IOC_GETFSUUID; Debian 12's headers are older. */
struct fs_uuid {
	uint8_t len;
	uint8_t uuid[16];
};
#define GET_FS_UUID _IOR(0x15, 0, struct fs_uuid)

/* In front of an inode's number. */
#define NUMBER "ino"
#define NUMBER_LEN 3

static void append(struct identity *id, const void *bytes, size_t len)
{
	memcpy(id->bytes + id->len, bytes, len);
	id->len += len;
}

static int append_file_system(int fd, struct identity *out)
{
	static const __fsid_t none;
	struct fs_uuid uuid;
	struct statfs fs;
	struct stat st;

	if (!ioctl(fd, GET_FS_UUID, &uuid) && uuid.len == sizeof(uuid.uuid)) {
		append(out, uuid.uuid, sizeof(uuid.uuid));
		return 0;
	}
	/* Older kernels: ext4 and btrfs make this of the UUID, XFS of the device's number. */
	if (fstatfs(fd, &fs))
		return -errno;
	append(out, &fs.f_fsid, sizeof(fs.f_fsid));
	if (memcmp(&fs.f_fsid, &none, sizeof(none)))
		return 0;
	/* FUSE and some network file systems have no id: the device's number, while mounted. */
	if (fstat(fd, &st))
		return -errno;
	append(out, &st.st_dev, sizeof(st.st_dev));
	return 0;
}

int identity_of(int fd, struct identity *out)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} handle = { .h.handle_bytes = MAX_HANDLE_SZ };
	struct identity id = { 0 };
	struct stat st;
	int mount_id, err;

	err = append_file_system(fd, &id);
	if (err)
		return err;
	if (!name_to_handle_at(fd, "", &handle.h, &mount_id, AT_EMPTY_PATH)) {
		append(&id, &handle.h.handle_type, sizeof(handle.h.handle_type));
		append(&id, handle.h.f_handle, handle.h.handle_bytes);
	} else {
		/* No handles on this file system: the inode's number has to do. */
		if (fstat(fd, &st))
			return -errno;
		append(&id, NUMBER, NUMBER_LEN);
		append(&id, &st.st_ino, sizeof(st.st_ino));
	}
	*out = id;
	return 0;
}

bool identity_is_for_good(const struct identity *id)
{
	size_t tail = NUMBER_LEN + sizeof(ino_t);

	return id->len > tail && memcmp(id->bytes + id->len - tail, NUMBER, NUMBER_LEN) != 0;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return a->len && a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

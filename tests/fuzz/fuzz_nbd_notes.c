// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What was noted of a disk that QEMU writes, against a model that does it all in turn: each byte
 * comes once at most, and is what it was last; notes that cannot be are refused before anything is
 * done. Then a byte of the notes' file is changed: nothing goes outside of the disk, whatever comes
 * of it.
 *
 * An input: what that byte becomes (0: nothing is changed), its place (3 bytes), and records.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "crc32c.h"
#include "found.h"
#include "nbd_notes.h"
#include "notes_inner.h"
#include "work.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAME "nbd.notes"
#define DISK (16u << 10)
#define RECORDS 24
#define UNTOUCHED 0xee

enum { NOTE_WRITE = 1, NOTE_ZERO = 2, NOTE_VOID = 3 };

/* As it is in the input: kind, how, and 16 bits each of offset and length. */
enum { RECORD_BYTES = 6 };
enum {
	HOW_SHORT_HEAD = 1,
	HOW_SHORT_DATA = 2,
	HOW_HUGE_LENGTH = 4,
	HOW_HUGE_OFFSET = 8,
	HOW_KEEP = 16,
	HOW_SAME_RANGE = 32, /* as the record before it */
	HOW_SECTORS = 64,
	HOW_AT_THE_END = 128,
};

struct note {
	uint32_t kind;
	uint64_t head[3];
	size_t head_len, data_len;
	bool is_void;
};

static const uint8_t binding[NOTES_BINDING] = "of a disk of QEMU";
static struct note list[RECORDS];
static size_t count;
static uint8_t twin[DISK], twin_keep[DISK], again[DISK], again_keep[DISK], times[DISK];
static unsigned calls;

/* ---- the records ---- */

static struct note read_note(const uint8_t *in)
{
	unsigned how = in[1];
	uint64_t off = get_le16(in + 2), len = get_le16(in + 4);
	struct note n = { .kind = in[0] % 16 < 5 ? in[0] % 16 : 1 + in[0] % 3 };

	off %= DISK;
	if (how & HOW_SECTORS) {
		off &= ~511ull;
		len = len % 4096 & ~511ull;
	} else {
		len %= 600;
	}
	if (how & HOW_AT_THE_END)
		off = DISK - len;
	else if (off + len > DISK && off % 7) /* seldom outside, or nothing else is seen */
		len = DISK - off;
	if (how & HOW_SAME_RANGE && count) {
		off = list[count - 1].head[0];
		len = list[count - 1].head[1];
	}
	n.data_len = n.kind == NOTE_WRITE ? len : 0;
	if (how & HOW_SHORT_DATA && in[0] & 16 && n.data_len)
		n.data_len--;
	if (how & HOW_HUGE_LENGTH && in[0] & 32)
		len += 1ull << 63;
	if (how & HOW_HUGE_OFFSET && in[0] & 64)
		off = UINT64_MAX - off;
	n.head_len = how & HOW_SHORT_HEAD && in[0] & 128 ? sizeof(n.head) - 1 : sizeof(n.head);
	n.head[0] = off;
	n.head[1] = len;
	n.head[2] = n.kind == NOTE_ZERO && how & HOW_KEEP;
	if (n.data_len > DISK)
		n.data_len = DISK;
	return n;
}

static uint8_t byte_of(size_t record, uint64_t at)
{
	return (record * 31 + at * 7) | 1;
}

static void add_note(struct notes *notes, size_t record, const struct note *n)
{
	static uint8_t data[DISK];
	int err;

	for (size_t i = 0; i < n->data_len; i++)
		data[i] = byte_of(record, n->head[0] + i);
	err = notes_add(notes, n->kind, n->head, n->head_len, data, n->data_len);
	MUST(!err, "error %d", err);
}

/* ---- the model ---- */

static bool can_be(const struct note *n)
{
	if (n->head_len < sizeof(n->head) || n->kind < NOTE_WRITE || n->kind > NOTE_VOID)
		return false;
	if (n->head[0] > DISK || n->head[1] > DISK - n->head[0])
		return false;
	return n->kind != NOTE_WRITE || n->data_len == n->head[1];
}

static void make_void(size_t record)
{
	for (size_t i = record; i-- > 0;)
		if (list[i].kind != NOTE_VOID && !list[i].is_void && list[i].head[1] &&
		    !memcmp(list[i].head, list[record].head, 2 * sizeof(list[i].head[0]))) {
			list[i].is_void = true;
			return;
		}
}

/* Whether all of them can be. */
static bool do_in_turn(void)
{
	memset(twin, UNTOUCHED, sizeof(twin));
	memset(twin_keep, 0, sizeof(twin_keep));
	for (size_t i = 0; i < count; i++) {
		if (!can_be(&list[i]))
			return false;
		if (list[i].kind == NOTE_VOID)
			make_void(i);
	}
	for (size_t i = 0; i < count; i++) {
		const struct note *n = &list[i];

		for (uint64_t at = n->head[0]; at < n->head[0] + n->head[1] && !n->is_void; at++) {
			if (n->kind == NOTE_WRITE)
				twin[at] = byte_of(i, at);
			else if (n->kind == NOTE_ZERO)
				twin[at] = 0;
			if (n->kind != NOTE_VOID)
				twin_keep[at] = n->head[2];
		}
	}
	return true;
}

/* ---- doing it again ---- */

static void take(uint64_t off, uint64_t len)
{
	MUST(len && off <= DISK && len <= DISK - off, "%llu bytes at %llu", (unsigned long long)len,
	     (unsigned long long)off);
	for (uint64_t i = 0; i < len; i++)
		MUST(!times[off + i]++, "the byte at %llu twice", (unsigned long long)(off + i));
	calls++;
}

static int write_again(void *arg, const void *buf, size_t len, uint64_t off)
{
	take(off, len);
	memcpy(again + off, buf, len);
	memset(again_keep + off, 0, len);
	return 0;
}

static int zero_again(void *arg, uint64_t off, uint64_t len, bool keep)
{
	take(off, len);
	memset(again + off, 0, len);
	memset(again_keep + off, keep, len);
	return 0;
}

static int replay(bool *any)
{
	const struct nbd_replay to = { .write = write_again, .zero = zero_again };
	struct notes *notes;
	int err = notes_open(work_directory(), NAME, (const uint8_t *)WORK_BOOT, &notes);

	MUST(!err, "error %d", err);
	calls = 0;
	memset(again, UNTOUCHED, sizeof(again));
	memset(again_keep, 0, sizeof(again_keep));
	memset(times, 0, sizeof(times));
	err = nbd_notes_replay(notes, binding, DISK, &to, any);
	notes_close(notes);
	return err;
}

static void check_replay(bool can)
{
	bool any = false;
	int err = replay(&any);

	if (!can) {
		MUST(err == -EINVAL && !calls, "error %d, %u calls", err, calls);
		return;
	}
	MUST(!err && any == (count > 0), "error %d, %zu records, any %d", err, count, any);
	for (size_t i = 0; i < DISK; i++)
		MUST(again[i] == twin[i] && again_keep[i] == twin_keep[i],
		     "%02x (%d) and not %02x (%d) at %zu", again[i], again_keep[i], twin[i],
		     twin_keep[i], i);
}

/* ---- the file ---- */

/* The sums fit what is there, so that it is read. */
static void change_file(unsigned place, uint8_t to)
{
	static uint8_t file[RECORDS * (DISK + 64) + NOTES_FIRST];
	int fd = openat(work_directory(), NAME, O_RDWR | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, file, sizeof(file), 0);
	size_t at = NOTES_FIRST;
	struct notes_record r;
	bool any;
	int err;

	if (n > 0)
		file[place % n] = to;
	while (n > 0 && at + sizeof(r) <= (size_t)n) {
		memcpy(&r, file + at, sizeof(r));
		if (r.len <= n - at - sizeof(r))
			r.data_crc = crc32c(0, file + at + sizeof(r), r.len);
		r.crc = crc32c(0, &r.data_crc, sizeof(r) - sizeof(r.crc));
		memcpy(file + at, &r, sizeof(r));
		at += notes_footprint(r.len);
	}
	if (n > 0)
		MUST(pwrite(fd, file, n, 0) == n, "the notes cannot be written");
	if (fd >= 0)
		close(fd);
	err = replay(&any);
	MUST(!err || err == -EINVAL || err == -ESTALE || err == -EIO, "error %d", err);
	MUST(!err || !calls, "error %d after %u calls", err, calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct notes *notes;
	int err = notes_open(work_directory(), NAME, (const uint8_t *)WORK_BOOT, &notes);
	static const uint8_t none[4];
	const uint8_t *change = size < sizeof(none) ? none : data;
	bool can;

	MUST(!err && !notes_begin(notes, binding), "error %d", err);
	count = 0;
	for (size_t at = 4; at + RECORD_BYTES <= size && count < RECORDS; at += RECORD_BYTES) {
		list[count] = read_note(data + at);
		add_note(notes, count, &list[count]);
		count++;
	}
	notes_close(notes);
	can = do_in_turn();
	check_replay(can);
	check_replay(can); /* they are still there */
	if (change[0])
		change_file(get_le32(change) >> 8, change[0]);
	unlinkat(work_directory(), NAME, 0);
	return 0;
}

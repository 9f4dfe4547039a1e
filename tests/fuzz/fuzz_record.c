// SPDX-License-Identifier: GPL-2.0-or-later
/* Records of the catalogue: what can be read is written, and is the same when it is read again. */
#include "record.h"

#include <stdlib.h>
#include <string.h>

#include "found.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void disk(const uint8_t *data, size_t size)
{
	static struct disk_record a, b;
	static struct record w, again;

	if (record_decode_disk(data, size, &a))
		return;
	record_encode_disk(&w, &a);
	MUST(w.len <= sizeof(w.bytes), "%zu bytes", w.len);
	MUST(!record_decode_disk(w.bytes, w.len, &b), "it cannot be read again");
	record_encode_disk(&again, &b);
	MUST(again.len == w.len && !memcmp(again.bytes, w.bytes, w.len), "it is another one");
}

static void pool(const uint8_t *data, size_t size)
{
	static struct pool_record a, b;
	static struct record w, again;

	if (record_decode_pool(data, size, &a))
		return;
	record_encode_pool(&w, &a);
	MUST(w.len <= sizeof(w.bytes), "%zu bytes", w.len);
	MUST(!record_decode_pool(w.bytes, w.len, &b), "it cannot be read again");
	record_encode_pool(&again, &b);
	MUST(again.len == w.len && !memcmp(again.bytes, w.bytes, w.len), "it is another one");
}

static void group(const uint8_t *data, size_t size)
{
	static struct group_record a, b;
	static struct record w, again;

	if (record_decode_group(data, size, &a))
		return;
	record_encode_group(&w, &a);
	MUST(w.len <= sizeof(w.bytes), "%zu bytes", w.len);
	MUST(!record_decode_group(w.bytes, w.len, &b), "it cannot be read again");
	record_encode_group(&again, &b);
	MUST(again.len == w.len && !memcmp(again.bytes, w.bytes, w.len), "it is another one");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of exactly that length, so that a byte too much is seen. */
	uint8_t *bytes = malloc(size ? size : 1);

	memcpy(bytes, data, size);
	disk(bytes, size);
	pool(bytes, size);
	group(bytes, size);
	free(bytes);
	return 0;
}

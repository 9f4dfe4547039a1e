// SPDX-License-Identifier: GPL-2.0-or-later
/* Good images with a log in use, that the input fills and damages. */
#include "target.h"
#include "vhdx_layout.h"

#define LOG_AT VHDX_MIB

static const uint8_t bases[] = { 7, 9, 10, 11 };

#define HEADERS(offset, bytes)                                                                  \
	{                                                                                       \
		.at = VHDX_HEADER_AT(0) + (offset), .width = bytes, .count = 2, .stride = 65536 \
	}
/* Of the entries that are invented: of two pages each. */
#define ENTRIES(offset, bytes)                                                               \
	{                                                                                    \
		.at = LOG_AT + (offset), .width = bytes, .count = 6, .stride = 2 * VHDX_PAGE \
	}

static const struct hot_field hot[] = {
	HEADERS(8, 8),
	HEADERS(48, 16),
	HEADERS(64, 2),
	HEADERS(68, 4),
	HEADERS(72, 8),
	ENTRIES(0, 4),
	ENTRIES(8, 4),
	ENTRIES(12, 4),
	ENTRIES(16, 8),
	ENTRIES(24, 4),
	ENTRIES(32, 16),
	ENTRIES(48, 8),
	ENTRIES(56, 8),
	ENTRIES(64, 4),
	ENTRIES(68, 4),
	ENTRIES(72, 8),
	ENTRIES(80, 8),
	ENTRIES(88, 8),
	ENTRIES(VHDX_PAGE, 4),
	ENTRIES(VHDX_PAGE + 4, 4),
	ENTRIES(2 * VHDX_PAGE - 4, 4),
	/* The block table under it. */
	{ .at = 3 * VHDX_MIB, .width = 8, .count = 16, .stride = 8 },
};

static struct subject subject;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s;

	script_read(&s, data, size);
	s.base = bases[s.base % sizeof(bases)];
	work(&vhdx_subject, &s, NULL);
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	subject = vhdx_subject;
	subject.hot = hot;
	subject.hot_count = sizeof(hot) / sizeof(*hot);
	return 0;
}

FUZZ_MUTATIONS(subject)

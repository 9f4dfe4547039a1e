// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096

struct page {
	_Atomic unsigned users;
	uint8_t data[PAGE];
};

struct pages {
	size_t count; /* of at[]; those behind it are zeros */
	struct page **at;
};

static void let_go(struct page *page)
{
	if (page && atomic_fetch_sub(&page->users, 1) == 1)
		free(page);
}

struct pages *pages_new(void)
{
	return calloc(1, sizeof(struct pages));
}

struct pages *pages_copy(const struct pages *p)
{
	struct pages *copy = malloc(sizeof(*copy));

	copy->count = p->count;
	copy->at = malloc(p->count * sizeof(*copy->at) + 1);
	for (size_t i = 0; i < p->count; i++) {
		copy->at[i] = p->at[i];
		if (copy->at[i])
			atomic_fetch_add(&copy->at[i]->users, 1);
	}
	return copy;
}

void pages_free(struct pages *p)
{
	for (size_t i = 0; i < p->count; i++)
		let_go(p->at[i]);
	free(p->at);
	free(p);
}

/* Nobody else's, to be changed. */
static uint8_t *own(struct pages *p, size_t i)
{
	struct page *old, *page;

	if (i >= p->count) {
		p->at = realloc(p->at, (i + 1) * sizeof(*p->at));
		memset(p->at + p->count, 0, (i + 1 - p->count) * sizeof(*p->at));
		p->count = i + 1;
	}
	old = p->at[i];
	if (old && atomic_load(&old->users) == 1)
		return old->data;
	page = malloc(sizeof(*page));
	atomic_init(&page->users, 1);
	if (old)
		memcpy(page->data, old->data, PAGE);
	else
		memset(page->data, 0, PAGE);
	let_go(old);
	p->at[i] = page;
	return page->data;
}

static size_t piece(uint64_t off, uint64_t len, size_t *within)
{
	*within = off % PAGE;
	return len < PAGE - *within ? len : PAGE - *within;
}

void pages_read(const struct pages *p, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;
	size_t within, n;

	assert(off + len <= PAGES_ROOM);
	for (; len; to += n, off += n, len -= n) {
		const struct page *page = off / PAGE < p->count ? p->at[off / PAGE] : NULL;

		n = piece(off, len, &within);
		if (page)
			memcpy(to, page->data + within, n);
		else
			memset(to, 0, n);
	}
}

void pages_write(struct pages *p, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;
	size_t within, n;

	assert(off + len <= PAGES_ROOM);
	for (; len; from += n, off += n, len -= n) {
		n = piece(off, len, &within);
		memcpy(own(p, off / PAGE) + within, from, n);
	}
}

void pages_zero(struct pages *p, uint64_t off, uint64_t end)
{
	size_t within, n;

	assert(end <= PAGES_ROOM);
	for (; off < end && off / PAGE < p->count; off += n) {
		size_t i = off / PAGE;

		n = piece(off, end - off, &within);
		if (n == PAGE) {
			let_go(p->at[i]);
			p->at[i] = NULL;
		} else if (p->at[i]) {
			memset(own(p, i) + within, 0, n);
		}
	}
}

bool pages_written(const struct pages *p, uint64_t off)
{
	return off / PAGE < p->count && p->at[off / PAGE];
}

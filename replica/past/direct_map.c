// SPDX-License-Identifier: GPL-2.0-or-later
#include "direct_map.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BITS 32768u

struct direct_page {
	uint64_t epoch;
	uint64_t bits[PAGE_BITS / 64];
};

void direct_free(struct direct_map *m)
{
	for (size_t i = 0; i < m->room; i++)
		free(m->pages[i]);
	free(m->pages);
	*m = (struct direct_map){ 0 };
}

/*
 * A page of an epoch that is newer than the newest moment: that moment was given
 * up. Its bits say more than is asked. Moments that come are newer than any epoch.
 */
bool direct_has(const struct direct_map *m, uint64_t block, uint64_t newest)
{
	uint64_t i = block / PAGE_BITS, bit = block % PAGE_BITS;
	const struct direct_page *p = i < m->room ? m->pages[i] : NULL;

	return p && p->epoch >= newest && p->bits[bit / 64] >> bit % 64 & 1;
}

static struct direct_page *page_for(struct direct_map *m, uint64_t i)
{
	if (i >= m->room) {
		size_t room = i + 1 + i / 2;
		struct direct_page **pages = realloc(m->pages, room * sizeof(*pages));

		if (!pages)
			return NULL;
		memset(pages + m->room, 0, (room - m->room) * sizeof(*pages));
		m->pages = pages;
		m->room = room;
	}
	if (!m->pages[i])
		m->pages[i] = calloc(1, sizeof(*m->pages[i]));
	return m->pages[i];
}

void direct_add(struct direct_map *m, uint64_t block, uint64_t newest)
{
	struct direct_page *p = page_for(m, block / PAGE_BITS);
	uint64_t bit = block % PAGE_BITS;

	if (!p)
		return; /* it is not known then */
	if (p->epoch < newest) {
		memset(p->bits, 0, sizeof(p->bits));
		p->epoch = newest;
	}
	p->bits[bit / 64] |= 1ull << bit % 64;
}

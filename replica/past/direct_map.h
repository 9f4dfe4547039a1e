/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which blocks were written since the newest moment of their disk: a bit for each.
 * A page of bits is of one epoch, the newest moment when it was used; when there
 * is a newer one all its bits are void, so that a moment costs nothing. 16 MiB
 * for a TiB in blocks of 8 KiB. A bit that is lost costs a look into the catalogue,
 * one too many would lose old content. Callers lock.
 */
#ifndef TANDEMFS_DIRECT_MAP_H
#define TANDEMFS_DIRECT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct direct_page;

struct direct_map {
	struct direct_page **pages;
	size_t room;
};

void direct_free(struct direct_map *m);
bool direct_has(const struct direct_map *m, uint64_t block, uint64_t newest);
/* Was written in a generation after `newest`, which is the newest moment now. */
void direct_add(struct direct_map *m, uint64_t block, uint64_t newest);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table whose columns are aligned, for people; blanks never occur inside a cell. */
#ifndef TANDEMFS_TABLE_H
#define TANDEMFS_TABLE_H

#include "text.h"

#define TABLE_COLUMNS_MAX 16

struct table {
	unsigned columns, at;
	size_t width[TABLE_COLUMNS_MAX];
	struct text cells; /* each ends with a NUL */
};

/* The heads, separated by blanks. */
void table_begin(struct table *t, const char *heads);
/* The next cell; "-" when it is empty, blanks as \040. */
void table_add(struct table *t, const char *cell);
/* Appends the table to out and frees it. */
void table_end(struct table *t, struct text *out);

#endif

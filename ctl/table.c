// SPDX-License-Identifier: GPL-2.0-or-later
#include "table.h"

#include <assert.h>
#include <string.h>

#include "utf8.h"

static void end_cell(struct table *t, size_t start)
{
	size_t width = utf8_columns(t->cells.bytes + start, t->cells.len - start);
	unsigned column = t->at % t->columns;

	if (width > t->width[column])
		t->width[column] = width;
	text_add(&t->cells, "", 1);
	t->at++;
}

void table_begin(struct table *t, const char *heads)
{
	const char *head = heads;

	*t = (struct table){ .columns = 1 };
	for (const char *c = heads; *c; c++)
		t->columns += *c == ' ';
	assert(t->columns <= TABLE_COLUMNS_MAX);
	while (*head) {
		size_t start = t->cells.len, len = strcspn(head, " ");

		text_add(&t->cells, head, len);
		if (text_ok(&t->cells))
			end_cell(t, start);
		head += len + (head[len] == ' ');
	}
}

void table_add(struct table *t, const char *cell)
{
	size_t start = t->cells.len;

	text_add_word(&t->cells, cell);
	if (text_ok(&t->cells))
		end_cell(t, start);
}

void table_end(struct table *t, struct text *out)
{
	static const char blanks[] = "                                ";
	const char *cell = t->cells.bytes;

	for (unsigned i = 0; text_ok(&t->cells) && i < t->at; i++) {
		size_t len = strlen(cell), gap;

		text_add(out, cell, len);
		if ((i + 1) % t->columns == 0) {
			text_add(out, "\n", 1);
		} else {
			gap = t->width[i % t->columns] - utf8_columns(cell, len) + 1;
			for (; gap > sizeof(blanks) - 1; gap -= sizeof(blanks) - 1)
				text_add(out, blanks, sizeof(blanks) - 1);
			text_add(out, blanks, gap);
		}
		cell += len + 1;
	}
	out->failed |= t->cells.failed;
	text_free(&t->cells);
}

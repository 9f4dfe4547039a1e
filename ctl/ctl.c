// SPDX-License-Identifier: GPL-2.0-or-later
#include "inner.h"

#include <errno.h>
#include <stdlib.h>

#include "lookups.h"

_Static_assert(CTL_MEMORY == LOOKUPS_MEMORY, "that is all there is to keep");

int ctl_new(struct tandem *t, struct ctl **out)
{
	struct ctl *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->tandem = t;
	pthread_mutex_init(&c->settings, NULL);
	err = ledger_new(&c->ledger);
	if (!err)
		err = lookups_new(&c->lookups);
	if (err)
		ctl_free(c);
	else
		*out = c;
	return err;
}

void ctl_free(struct ctl *c)
{
	if (!c)
		return;
	ledger_free(c->ledger);
	lookups_free(c->lookups);
	pthread_mutex_destroy(&c->settings);
	free(c);
}

void ctl_use_memory(struct ctl *c, void *memory)
{
	lookups_use_memory(c->lookups, memory);
}

void ctl_set_capabilities(struct ctl *c, const struct capability *list)
{
	c->capabilities = list;
}

void ctl_set_log_level_hook(struct ctl *c, int (*fn)(const char *level))
{
	c->set_log_level = fn;
}

int events_render(struct ctl *c, uint32_t object, struct text *out)
{
	uint64_t last;
	size_t len = 0;
	char *lines = events_after(c->tandem->events, 0, 0, &len, &last);

	if (lines)
		text_add(out, lines, len);
	free(lines);
	return 0;
}

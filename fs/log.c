// SPDX-License-Identifier: GPL-2.0-or-later
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <syslog.h>

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", LOG_ERR },
	[LOG_LEVEL_WARNING] = { "warning", LOG_WARNING },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

static _Atomic int threshold = LOG_LEVEL_INFO;
static _Atomic bool to_syslog;

void log_to_syslog(void)
{
	openlog("tandemfs", LOG_PID, LOG_DAEMON);
	to_syslog = true;
}

int log_set_level(const char *name)
{
	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++)
		if (!strcasecmp(levels[i].name, name)) {
			threshold = i;
			return 0;
		}
	return -EINVAL;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if ((int)level > threshold)
		return;
	va_start(ap, fmt);
	if (to_syslog) {
		vsyslog(levels[level].priority, fmt, ap);
	} else {
		flockfile(stderr);
		fputs("tandemfs: ", stderr);
		vfprintf(stderr, fmt, ap);
		fputc('\n', stderr);
		funlockfile(stderr);
	}
	va_end(ap);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon says: to stderr in the foreground, else to syslog. Any thread. */
#ifndef TANDEMFS_LOG_H
#define TANDEMFS_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_NONE,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

void log_to_syslog(void);
/* "error", "warning", "info" or "debug"; else -EINVAL. */
int log_set_level(const char *name);
__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *fmt, ...);

#endif

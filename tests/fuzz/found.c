// SPDX-License-Identifier: GPL-2.0-or-later
#include "found.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void fuzz_found(const char *file, int line, const char *condition, const char *format,
			  ...)
{
	va_list args;

	fprintf(stderr, "==== FOUND %s:%d: %s: ", file, line, condition);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

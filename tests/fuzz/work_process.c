// SPDX-License-Identifier: GPL-2.0-or-later
/* What a fuzzer's process has once: a directory, and an eye on its memory. */
#include <fcntl.h>
#include <sanitizer/allocator_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "work.h"

static char directory[] = "/dev/shm/tandemfs-fuzz-XXXXXX";
static int directory_fd = -1;
static pid_t owner;
static size_t largest;

static void remove_directory(void)
{
	if (getpid() == owner)
		rmdir(directory);
}

int work_directory(void)
{
	if (directory_fd >= 0)
		return directory_fd;
	MUST(mkdtemp(directory), "%s cannot be made", directory);
	owner = getpid();
	atexit(remove_directory);
	directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MUST(directory_fd >= 0, "%s cannot be opened", directory);
	return directory_fd;
}

static void on_malloc(const volatile void *p, size_t size)
{
	if (size > largest)
		largest = size;
}

static void on_free(const volatile void *p)
{
}

size_t work_largest(void)
{
	static bool watched;
	size_t found = largest;

	if (!watched)
		MUST(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0,
		     "memory cannot be watched");
	watched = true;
	largest = 0;
	return found;
}

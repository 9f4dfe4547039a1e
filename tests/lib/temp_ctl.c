// SPDX-License-Identifier: GPL-2.0-or-later
#include "temp_ctl.h"

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char dir[100];
struct tandem *tandem;
struct ctl *ctl;
struct text out;
const struct caller root = { .uid = 0, .pid = 77, .owner = 1000 };
char level[16];

static int set_level(const char *name)
{
	snprintf(level, sizeof(level), "%s", name);
	return 0;
}

void make(const char *name, off_t size)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

void start(void)
{
	static const struct capability capabilities[] = { { "kernel", "6.18" }, { NULL } };
	struct tandem_options o = { .disk_dir = dir, .requests_per_disk = 4 };
	struct why why = { 0 };

	ck_assert_msg(!tandem_open(&o, &tandem, &why), "%s", why.message);
	ck_assert_int_eq(ctl_new(tandem, &ctl), 0);
	ctl_set_capabilities(ctl, capabilities);
	ctl_set_log_level_hook(ctl, set_level);
}

void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	ck_assert_int_lt(snprintf(dir, sizeof(dir), "%s/test_ctl.XXXXXX", tmp ? tmp : "/tmp"),
			 sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

void teardown(void)
{
	text_free(&out);
	ctl_free(ctl);
	if (tandem)
		tandem_close(tandem);
	ctl = NULL;
	tandem = NULL;
	level[0] = '\0';
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "disks/a.img/status"; names in it hold no slash. */
int walk(const char *path, struct node *n)
{
	char copy[1024], *save, *name;

	*n = node_root;
	snprintf(copy, sizeof(copy), "%s", path);
	for (name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int err = node_lookup(ctl, *n, name, n);

		if (err)
			return err;
	}
	return 0;
}

struct node at(const char *path)
{
	struct node n;

	ck_assert_msg(!walk(path, &n), "%s", path);
	return n;
}

const char *cat(const char *path)
{
	text_free(&out);
	ck_assert_int_eq(node_render(ctl, at(path), &out), 0);
	return out.bytes ? out.bytes : "";
}

int command_by(const char *path, const char *command, const struct caller *who)
{
	text_free(&out);
	return node_command(ctl, at(path), command, strlen(command), who, &out, NULL);
}

int command(const char *path, const char *text)
{
	return command_by(path, text, &root);
}

void expect(const char *line)
{
	ck_assert_ptr_nonnull(out.bytes);
	ck_assert_msg(strstr(out.bytes, line), "'%s' is not in:\n%s", line, out.bytes);
}

bool add_name(void *arg, const char *name, struct node child)
{
	text_addf(arg, "%s%s ", name, node_kind(child) == NODE_DIR ? "/" : "");
	return true;
}

const char *list(const char *path)
{
	text_free(&out);
	ck_assert_int_eq(node_list(ctl, at(path), add_name, &out), 0);
	return out.bytes ? out.bytes : "";
}

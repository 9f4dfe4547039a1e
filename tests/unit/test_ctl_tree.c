// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tree of files and the commands, over a real tandem in a directory of its
 * own: everything but FUSE.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "temp_ctl.h"

static bool add_one(void *arg, const char *name, struct node child)
{
	add_name(arg, name, child);
	return false;
}

START_TEST(listed)
{
	make("a b.img", 1 << 20);
	start();
	ck_assert_str_eq(list(""), "help control status status.json capabilities events metrics "
				   "disks/ replicas/ groups/ jobs/ pools/ peers/ ");
	ck_assert_str_eq(list("disks"), "a b.img/ ");
	ck_assert_str_eq(list("disks/a b.img"), "control status status.json history snapshots/ at/ "
						"changes/ ");
	ck_assert_str_eq(list("pools"), "");
	ck_assert_str_eq(list("groups"), "");
	ck_assert_int_eq(node_list(ctl, at("help"), add_name, &out), -ENOTDIR);
	text_free(&out);
	node_list(ctl, at("disks/a b.img"), add_one, &out);
	ck_assert_str_eq(out.bytes, "control ");
}
END_TEST

START_TEST(looked_up)
{
	// clang-format off
	static const char *const absent[] = {
		"x", "Help", ".", "..", "disks/.", "disks/..", "disks/b.img", "disks/A.img",
		"disks/a.img/x", "disks/a.img/..", "replicas/x", "groups/.", "pools/x", "jobs/1",
		"disks/%s%n", "disks/\xff", "disks/.replication",
	};
	// clang-format on
	char long_name[400];
	struct node n;

	make("a.img", 1 << 20);
	start();
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		ck_assert_msg(walk(absent[i], &n) == -ENOENT, "%s", absent[i]);
	ck_assert_int_eq(node_lookup(ctl, at("disks"), "", &n), -ENOENT);
	ck_assert_int_eq(node_lookup(ctl, at("pools"), "", &n), -ENOENT);
	ck_assert_int_eq(node_lookup(ctl, at("help"), "x", &n), -ENOTDIR);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	ck_assert_int_eq(node_lookup(ctl, at("disks"), long_name, &n), -ENOENT);
	ck_assert_int_eq(node_kind(at("events_pipe")), NODE_PIPE);
	ck_assert_int_eq(node_kind(at("disks/a.img/control")), NODE_CONTROL);
	ck_assert_uint_eq(node_mode(at("control")), 0600);
	ck_assert_uint_eq(node_mode(at("disks")), 0555);
	ck_assert_uint_eq(node_mode(at("status")), 0444);
}
END_TEST

/* Node ids come from the kernel, and outlive what they stood for. */
START_TEST(nodes_that_are_no_more)
{
	struct node gone, control;

	make("a.img", 1 << 20);
	start();
	gone = at("disks/a.img/status");
	control = at("disks/a.img/control");
	ck_assert(node_exists(ctl, gone));
	ck_assert_int_eq(command("control", "DeleteDisk Name=a.img"), 0);
	ck_assert(!node_exists(ctl, gone));
	ck_assert_int_eq(node_render(ctl, gone, &out), -ENOENT);
	ck_assert_uint_eq(node_version(ctl, gone), 0);
	for (unsigned row = 0; row < 256; row++) {
		struct node n = { .row = row, .object = 99 };

		ck_assert(!node_exists(ctl, n));
		ck_assert_int_eq(node_render(ctl, n, &out), -ENOENT);
		node_mode(n);
		node_version(ctl, n);
	}
	text_free(&out);
	ck_assert_int_eq(node_command(ctl, control, "Accept", 6, &root, &out, NULL), -ENOENT);
	expect("ReturnValue: 8 Object Not Found\n");
	ck_assert_int_eq(node_command(ctl, gone, "Accept", 6, &root, &out, NULL), -EINVAL);
}
END_TEST

START_TEST(help_fits_on_a_screen)
{
	const char *line;
	int lines = 0;

	start();
	for (line = cat("help"); *line; line = strchr(line, '\n') + 1, lines++)
		ck_assert_int_lt(strchr(line, '\n') - line, 80);
	ck_assert_int_le(lines, 24);
	expect("CreateDisk Name= [Size= Format= ...]; ");
}
END_TEST

START_TEST(help_is_wrapped)
{
	start();
	cat("help");
	expect("\ncontrol CreateDisk Name= [Size= ");
	expect(" ...]; DeleteDisk Name= !; CreateGroup\n  Name=; ");
	expect("\ndisks/* Resize Size= !; Accept !; snapshot [Name= At=]; ");
	expect("\nreplicas/* Abort !; Activate [ReadOnly=] !; ");
	/* What is told of already is only named. */
	expect("\ngroups/* AddDisk Name=; RemoveDisk Name=; ");
	expect("; as above: snapshot,");
	expect("\njobs/* Suspend; Start; Terminate !; Kill !; Set CopyPriority=\n");
}
END_TEST

START_TEST(status_of_the_whole)
{
	make("a b.img", 3 << 19);
	make("z.vhdx", 1 << 20);
	start();
	cat("status");
	expect("Daemon: ");
	expect("\nHealth: WARN disks/z.vhdx Invalid: ");
	expect("\nDISK       STATE   SIZE USED OPEN SNAPSHOTS HISTORY NAME\n"
	       "a\\040b.img Ready   1.5M 0    0    -         -       a\\040b.img\n"
	       "z.vhdx     Invalid -    -    0    -         -       -\n"
	       "\nREPLICA TYPE MODE SOURCE TARGET COPYSTATE PROGRESS PERCENT BEHIND RPO\n"
	       "\nJOB OBJECT OPERATION STATE PERCENT RATE LEFT WAITS-FOR\n");
	cat("status.json");
	expect("{\"Schema\":1,\"Time\":\"");
	expect("\"Health\":{\"State\":\"WARN\",\"Problems\":[{\"Object\":\"disks/z.vhdx\","
	       "\"Severity\":\"Warning\",\"Message\":\"Invalid: ");
	expect("\"Size\":1572864,");
	expect("\"Size\":null,");
}
END_TEST

START_TEST(create_and_delete)
{
	struct caller owner = { .uid = getuid(), .gid = getgid(), .pid = 5, .owner = getuid() };
	struct stat st;
	char path[128];
	uint64_t version;

	start();
	ck_assert_str_eq(cat("control"), "");
	ck_assert_uint_eq(node_version(ctl, at("control")), 0);
	version = node_version(ctl, at("status"));
	ck_assert_int_eq(command_by("control", "Plan CreateDisk Name=new.img Size=1G", &owner), 0);
	expect("Operation: Plan CreateDisk\nReturnValue: 0 Success\n");
	ck_assert_str_eq(list("disks"), "");
	ck_assert_int_eq(command_by("control", "createdisk NAME=new.img size=1G wait=3s\n", &owner),
			 0);
	expect("Operation: CreateDisk\nReturnValue: 0 Success\n");
	expect("\nElementName: new.img\n");
	ck_assert_ptr_nonnull(strstr(cat("control"), "\nElementName: new.img\n"));
	ck_assert_str_eq(list("disks"), "new.img/ ");
	ck_assert_uint_gt(node_version(ctl, at("status")), version);
	ck_assert_uint_gt(node_version(ctl, at("control")), 0);
	snprintf(path, sizeof(path), "%s/new.img", dir);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, 1 << 30);
	ck_assert_int_eq(command("control", "CreateDisk Name=new.img Size=1G"), -EEXIST);
	expect("ReturnValue: 5 Invalid Parameter\n");
	ck_assert_int_eq(command("control", "Plan DeleteDisk Name=new.img"), 0);
	ck_assert_int_eq(command("control", "DeleteDisk Name=new.img"), 0);
	ck_assert_str_eq(list("disks"), "");
	ck_assert_int_eq(command("control", "DeleteDisk Name=new.img"), -ENOENT);
	expect("ReturnValue: 8 Object Not Found\n");
}
END_TEST

START_TEST(containers)
{
	start();
	ck_assert_int_eq(command("control", "CreateDisk Name=a.vhd Size=1G BlockSize=1M"), 0);
	expect("\nMessage: created a.vhd with 1G, format vhd\n");
	ck_assert_int_eq(command("control", "Plan CreateDisk Name=b.vhd Parent=a.vhd"), 0);
	expect("the size of its parent");
	ck_assert_str_eq(list("disks"), "a.vhd/ ");
	ck_assert_int_eq(command("control", "CreateDisk Name=b.vhd Parent=a.vhd.raw"), 0);
	expect("\nMessage: created b.vhd with 1G, format vhd-differencing\n");
	cat("disks/a.vhd/status");
	expect("State: ReadOnly\nReason: 1 disk is built upon it\nName: a.vhd.raw\nImage: a.vhd\n");
	expect("\nLogicalSectorSize: 512\nBlockSize: 1048576\nParent: -\nChildren: 1\nWarning: -\n");
	cat("disks/b.vhd/status");
	expect("State: Ready\n");
	expect("\nFormat: vhd-differencing\nSize: 1073741824 (1G)\n");
	expect("\nBlockSize: 2097152\nParent: a.vhd\nChildren: 0\n");
	cat("disks/b.vhd/status.json");
	expect("\"BlockSize\":2097152,\"Parent\":\"a.vhd\",\"Children\":0,\"Warning\":null,");
	ck_assert_int_eq(command("control", "DeleteDisk Name=a.vhd Force"), -EBUSY);
	expect("1 disk is built upon a.vhd");
	ck_assert_int_eq(command("disks/a.vhd/control", "Resize Size=2G"), -EBUSY);
	expect("ReturnValue: 4 Failed\n");
	ck_assert_int_eq(command("disks/b.vhd/control", "Resize Size=2G"), 0);
	ck_assert_int_eq(command("disks/b.vhd/control", "Resize Size=1G Force"), -EOPNOTSUPP);
	ck_assert_int_eq(command("control", "DeleteDisk Name=b.vhd"), 0);
	cat("disks/a.vhd/status");
	expect("State: Ready\n");
	expect("\nChildren: 0\n");
	ck_assert_int_eq(command("control", "CreateDisk Name=c.vhdx Size=1G Format=vhdx-fixed"
					    " LogicalSectorSize=4096 BlockSize=32M"),
			 0);
	cat("disks/c.vhdx/status");
	expect("\nFormat: vhdx-fixed\n");
	expect("\nLogicalSectorSize: 4096\nBlockSize: 33554432\n");
}
END_TEST

/* Damage that can be lived with: a block that lies outside of the file. */
START_TEST(warnings)
{
	const uint8_t far[4] = { 0, 1, 0, 0 };
	char path[512];
	int fd;

	start();
	ck_assert_int_eq(command("control", "CreateDisk Name=a.vhd Size=1G"), 0);
	ck_assert_ptr_nonnull(strstr(cat("status"), "\nHealth: OK\n"));
	snprintf(path, sizeof(path), "%s/a.vhd", dir);
	fd = open(path, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, far, sizeof(far), 1536), sizeof(far));
	close(fd);
	ck_assert_int_eq(command("control", "Rescan"), 0);
	cat("disks/a.vhd/status");
	expect("State: Ready\n");
	expect("\nWarning: a block lies outside of the file: it reads as zeros\n");
	cat("disks/a.vhd/status.json");
	expect("\"Warning\":\"a block lies outside of the file: it reads as zeros\",");
	cat("status");
	expect("\nHealth: WARN disks/a.vhd Warning: a block lies outside of the file: ");
	cat("status.json");
	expect("\"Problems\":[{\"Object\":\"disks/a.vhd\",\"Severity\":\"Warning\","
	       "\"Message\":\"Warning: a block lies outside of the file: it reads as zeros\"}]");
	cat("metrics");
	expect("\ntandemfs_health 1\n");
}
END_TEST

START_TEST(commands_of_a_disk)
{
	make("a.img", 1 << 20);
	start();
	ck_assert_int_eq(command("disks/a.img/control", "Resize Size=64K"), -EPERM);
	expect("ReturnValue: 4 Failed\n");
	ck_assert_int_eq(command("disks/a.img/control", "Plan Resize Size=64K Force"), 0);
	expect("losing the last 983040 bytes");
	ck_assert_int_eq(command("disks/a.img/control", "Resize Size=64K Force"), 0);
	ck_assert_int_eq(command("disks/a.img/control", "Set ReadOnly=true"), 0);
	cat("disks/a.img/status");
	expect("State: ReadOnly\n");
	expect("\nSize: 65536 (64K)\n");
	expect("\nReadOnly: true\n");
	ck_assert_int_eq(command("disks/a.img/control", "Accept Force"), -EBUSY);
	/* Each object has its own last result. */
	ck_assert_int_eq(command("control", "Rescan"), 0);
	cat("disks/a.img/control");
	expect("Operation: Accept\nReturnValue: 4 Failed\n");
}
END_TEST

START_TEST(settings)
{
	start();
	ck_assert_int_eq(command("control", "Set BlockSize=5 LogLevel=debug"), -EINVAL);
	ck_assert_str_eq(level, "");
	ck_assert_int_eq(command("control", "Plan Set BlockSize=32K LogLevel=debug"), 0);
	ck_assert_str_eq(level, "");
	ck_assert_uint_ne(tandem->settings.block_size, 32768);
	ck_assert_int_eq(command("control", "Set BlockSize=32K StopTimeout=2m LogLevel=4"), 0);
	ck_assert_str_eq(level, "debug");
	ck_assert_uint_eq(tandem->settings.block_size, 32768);
	ck_assert_uint_eq(tandem->settings.stop_timeout_s, 120);
	ck_assert_int_eq(command("control", "Set StopTimeout=1000000000d"), -EINVAL);
	ck_assert_int_eq(command("control", "SetLogLevel Level=warning"), 0);
	ck_assert_str_eq(level, "warning");
}
END_TEST

START_TEST(refused)
{
	// clang-format off
	static const struct {
		const char *command;
		int err;
	} cases[] = {
		{ "", -EINVAL }, { "Nonsense", -EINVAL }, { "Resize Size=1G", -EINVAL },
		{ "Rescan\nRescan", -EINVAL }, { "Failover", -EINVAL },
		{ "AddPeer Name=g", -EOPNOTSUPP }, { "Plan", -EINVAL },
		{ "Plan Plan", -EINVAL }, { "CreateDisk Name=x.img", -EINVAL },
		{ "CreateDisk Name=x.img Size=-1", -EINVAL },
		{ "CreateDisk Name=x.img Size=1G Size=1G", -EINVAL },
		{ "CreateDisk Name=x.img Size=0", -EINVAL }, { "CreateDisk Name=x.vhd", -EINVAL },
		{ "CreateDisk Name=x.vhd Parent=y.vhd", -ENOENT },
		{ "Plan CreateDisk Name=x.vhd Parent=y.vhd", -ENOENT },
		{ "CreateDisk Name=x.vhd Size=1G BlockSize=257M", -EINVAL },
		{ "CreateDisk Name=x.vhd Size=1G BlockSize=3M", -EINVAL },
		{ "CreateDisk Name=x.vhdx Size=1G LogicalSectorSize=1000", -EINVAL },
		{ "CreateDisk Name=x.vhd Size=1G LogicalSectorSize=4096", -EINVAL },
		{ "CreateDisk Name=x.vhd Size=1G Format=vhdx", -EINVAL },
		{ "CreateDisk Name=x.img Size=1G Format=vhd", -EINVAL },
		{ "CreateDisk Name=x.vhd Size=1G Format=floppy", -EOPNOTSUPP },
		{ "CreateDisk Name=../x.img Size=1G", -EINVAL },
		{ "CreateDisk Name=.x.img Size=1G", -EINVAL },
		{ "AddPool Name=a/b Dir=/tmp", -EINVAL }, { "RemovePool Name=no", -ENOENT },
		{ "Rescan Force", -EINVAL }, { "SetLogLevel Level=loud", -EINVAL },
	};
	// clang-format on

	start();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int err = command("control", cases[i].command);

		ck_assert_msg(err == cases[i].err, "%s: %d", cases[i].command, err);
		expect("\nMessage: ");
		expect("Operation: ");
	}
	ck_assert_int_eq(command("control", "Nonsense"), -EINVAL);
	expect("AddPool");
	cat("metrics");
	expect("tandemfs_commands_total{operation=\"unknown\",result=\"Invalid Parameter\"} ");
	expect("tandemfs_commands_total{operation=\"AddPeer\",result=\"Not Supported\"} 1\n");
}
END_TEST

START_TEST(long_commands)
{
	char bytes[4097];

	start();
	memset(bytes, ' ', sizeof(bytes));
	memcpy(bytes, "Rescan", 6);
	ck_assert_int_eq(node_command(ctl, at("control"), bytes, 4096, &root, &out, NULL), 0);
	ck_assert_int_eq(node_command(ctl, at("control"), bytes, 4097, &root, &out, NULL), -E2BIG);
}
END_TEST

START_TEST(who_may_command)
{
	struct caller stranger = { .uid = 1001, .pid = 78, .owner = 1000 };
	struct caller owner = { .uid = 1000, .pid = 79, .owner = 1000 };

	start();
	ck_assert_int_eq(command_by("control", "Rescan", &stranger), -EACCES);
	expect("ReturnValue: 40001 Access denied\n");
	expect("\nUid: 1001\n");
	ck_assert_int_eq(command_by("control", "no such thing", &stranger), -EACCES);
	ck_assert_int_eq(command_by("control", "Rescan", &owner), 0);
	cat("events");
	expect(" Warning CommandRefused daemon Operation=Rescan Uid=1001 Pid=78 ReturnValue=40001\n");
	expect(" Information CommandDone daemon Operation=Rescan Uid=1000 Pid=79 ReturnValue=0\n");
	ck_assert_uint_eq(node_version(ctl, at("events")), events_last(tandem->events));
}
END_TEST

START_TEST(machine_readable)
{
	make("a\"\\\xff.img", 1 << 20);
	start();
	cat("status.json");
	expect("\"a\\\"\\\\\\udcff.img\":{");
	cat("metrics");
	expect("{disk=\"a\\\"\\\\\xef\xbf\xbd"
	       "ff.img\",state=\"Ready\"} 1\n");
	cat("capabilities");
	expect("version: ");
	expect("\nformats: raw, vhd, vhd-fixed, vhdx, vhdx-fixed");
	expect("\noperations: CreateDisk, ");
	expect("\nqemu: ");
	expect("\nlibraries: lmdb ");
	expect(", libvhdi 20");
	expect("\nkernel: 6.18\n");
	cat("disks/a\"\\\xff.img/status.json");
	expect("\"State\":\"Ready\",");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl tree");
	TCase *c = tcase_create("tree");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, listed);
	tcase_add_test(c, looked_up);
	tcase_add_test(c, nodes_that_are_no_more);
	tcase_add_test(c, help_fits_on_a_screen);
	tcase_add_test(c, help_is_wrapped);
	tcase_add_test(c, status_of_the_whole);
	tcase_add_test(c, create_and_delete);
	tcase_add_test(c, containers);
	tcase_add_test(c, warnings);
	tcase_add_test(c, commands_of_a_disk);
	tcase_add_test(c, settings);
	tcase_add_test(c, refused);
	tcase_add_test(c, long_commands);
	tcase_add_test(c, who_may_command);
	tcase_add_test(c, machine_readable);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

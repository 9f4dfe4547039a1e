// SPDX-License-Identifier: GPL-2.0-or-later
/* Return values, results and what is remembered of them. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "result.h"

#define LENGTH(a) (sizeof(a) / sizeof(*(a)))

/* The table of the manual, once more, and what other errnos become. */
START_TEST(return_values)
{
	// clang-format off
	static const struct {
		int err;
		unsigned value;
		int as;
	} cases[] = {
		{ 0, 0, 0 }, { EOPNOTSUPP, 1, EOPNOTSUPP }, { EIO, 4, EIO },
		{ ETIMEDOUT, 3, ETIMEDOUT }, { EBUSY, 4, EBUSY }, { EPERM, 4, EPERM },
		{ EINVAL, 5, EINVAL }, { E2BIG, 5, E2BIG }, { EEXIST, 5, EEXIST },
		{ ENOENT, 8, ENOENT }, { EACCES, 40001, EACCES }, { ENOSPC, 40002, ENOSPC },
		{ ENOMEM, 40002, ENOMEM }, { ESTALE, 40003, ESTALE }, { EAGAIN, 40009, EAGAIN },
		{ ENAMETOOLONG, 5, EINVAL }, { EROFS, 4, EBUSY }, { EFBIG, 5, EINVAL },
		{ EDQUOT, 40002, ENOSPC }, { EMFILE, 40002, ENOMEM }, { ENODEV, 8, ENOENT },
		{ ENOSYS, 1, EOPNOTSUPP }, { EPIPE, 4, EIO }, { EPROTO, 4, EIO }, { 4000, 4, EIO },
	};
	// clang-format on

	for (size_t i = 0; i < LENGTH(cases); i++) {
		const struct return_code *c = return_code(-cases[i].err);

		ck_assert_uint_eq(c->value, cases[i].value);
		ck_assert_int_eq(c->err, cases[i].as);
		ck_assert_int_eq(!c->cause, !c->err);
		ck_assert_int_eq(!c->cim, !c->err);
	}
	for (int err = 1; err < 200; err++)
		ck_assert_int_ne(return_code(-err)->value, 0);
	/* A positive number is nobody's errno. */
	ck_assert_int_eq(return_code(EINVAL)->err, EIO);
}
END_TEST

START_TEST(rendered)
{
	struct result r = { .operation = "Resume", .uid = 1000 };
	struct text t = { 0 };

	r.code = return_code(-EBUSY);
	r.time.tv_sec = 1795193403;
	refuse_advise(&r.why, 0, "ResyncReplica",
		      "CopyState is Split; Resume needs Suspended\nX: y");
	result_render(&r, &t);
	ck_assert_str_eq(
		t.bytes,
		"Operation: Resume\n"
		"ReturnValue: 4 Failed\n"
		"Message: CopyState is Split; Resume needs Suspended\\012X: y\n"
		"MessageID: tandemfs.Busy\n"
		"PerceivedSeverity: 4 Minor\n"
		"ProbableCauseDescription: The state it is in does not allow it, or it is in use.\n"
		"RecommendedActions: ResyncReplica\n"
		"CIMStatusCode: 1 FAILED\n"
		"Time: 2026-11-20T16:50:03.000Z\n"
		"Uid: 1000\n");
	text_free(&t);

	r.code = return_code(0);
	r.plan = true;
	strcpy(r.element_name, "a b");
	result_say(&r, "done");
	result_render(&r, &t);
	ck_assert_str_eq(t.bytes, "Operation: Plan Resume\n"
				  "ReturnValue: 0 Success\n"
				  "Message: done\n"
				  "MessageID: tandemfs.Done\n"
				  "PerceivedSeverity: 2 Information\n"
				  "Time: 2026-11-20T16:50:03.000Z\n"
				  "Uid: 1000\n"
				  "ElementName: a b\n");
	text_free(&t);
}
END_TEST

START_TEST(force_is_recommended)
{
	struct result r = { .operation = "Resize" };
	struct text t = { 0 };

	r.code = return_code(-EPERM);
	result_render(&r, &t);
	ck_assert_ptr_nonnull(strstr(t.bytes, "RecommendedActions: the same with Force\n"));
	text_free(&t);
}
END_TEST

static void expect(struct ledger *l, uint32_t object, const char *bytes)
{
	struct text t = { 0 };

	ledger_get(l, OBJECT_DISK, object, &t);
	if (bytes)
		ck_assert_str_eq(t.bytes, bytes);
	else
		ck_assert_uint_eq(t.len, 0);
	ck_assert_int_eq(ledger_version(l, OBJECT_DISK, object) != 0, bytes != NULL);
	text_free(&t);
}

START_TEST(last_results)
{
	struct ledger *l;
	uint64_t version;

	ck_assert_int_eq(ledger_new(&l), 0);
	expect(l, 1, NULL);
	ledger_put(l, OBJECT_DISK, 1, "one", 3);
	ledger_put(l, OBJECT_ROOT, 1, "root", 4);
	expect(l, 1, "one");
	version = ledger_version(l, OBJECT_DISK, 1);
	ledger_put(l, OBJECT_DISK, 1, "two", 3);
	expect(l, 1, "two");
	ck_assert_uint_gt(ledger_version(l, OBJECT_DISK, 1), version);
	/* The oldest goes when there are too many; 1 was used since. */
	for (uint32_t i = 2; i <= LEDGER_RESULTS; i++) {
		ledger_put(l, OBJECT_DISK, i, "x", 1);
		ledger_put(l, OBJECT_DISK, 1, "three", 5);
	}
	expect(l, 1, "three");
	expect(l, LEDGER_RESULTS, "x");
	ledger_put(l, OBJECT_DISK, 5000, "x", 1);
	expect(l, 2, NULL);
	expect(l, 3, "x");
	ledger_free(l);
}
END_TEST

static void add(void *arg, const char *operation, unsigned value, const char *name, uint64_t count)
{
	text_addf(arg, "%s %u %s %lu\n", operation, value, name, (unsigned long)count);
}

START_TEST(counts)
{
	struct text t = { 0 };
	struct ledger *l;

	ck_assert_int_eq(ledger_new(&l), 0);
	ledger_count(l, "Set", return_code(0));
	ledger_count(l, "Set", return_code(-EPERM));
	ledger_count(l, "Set", return_code(-EBUSY));
	ledger_count(l, "Rescan", return_code(0));
	ledger_each_count(l, add, &t);
	ck_assert_str_eq(t.bytes, "Set 0 Success 1\nSet 4 Failed 2\nRescan 0 Success 1\n");
	text_free(&t);
	ledger_free(l);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctl result");
	TCase *c = tcase_create("result");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, return_values);
	tcase_add_test(c, rendered);
	tcase_add_test(c, force_is_recommended);
	tcase_add_test(c, last_results);
	tcase_add_test(c, counts);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

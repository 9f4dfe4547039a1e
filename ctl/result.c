// SPDX-License-Identifier: GPL-2.0-or-later
#include "result.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rfc3339.h"

#define LENGTH(a) (sizeof(a) / sizeof(*(a)))

enum severity {
	SEVERITY_INFORMATION = 2,
	SEVERITY_WARNING,
	SEVERITY_MINOR,
	SEVERITY_MAJOR,
	SEVERITY_CRITICAL,
	SEVERITY_MAX
};

static const char *const severity_names[SEVERITY_MAX] = {
	[SEVERITY_INFORMATION] = "Information",
	[SEVERITY_WARNING] = "Warning",
	[SEVERITY_MINOR] = "Minor",
	[SEVERITY_MAJOR] = "Major",
	[SEVERITY_CRITICAL] = "Critical",
};

enum cim_status {
	CIM_FAILED = 1,
	CIM_ACCESS_DENIED = 2,
	CIM_INVALID_PARAMETER = 4,
	CIM_NOT_FOUND = 6,
	CIM_NOT_SUPPORTED = 7,
	CIM_ALREADY_EXISTS = 11,
	CIM_MAX
};

static const char *const cim_names[CIM_MAX] = {
	[CIM_FAILED] = "FAILED",
	[CIM_ACCESS_DENIED] = "ACCESS_DENIED",
	[CIM_INVALID_PARAMETER] = "INVALID_PARAMETER",
	[CIM_NOT_FOUND] = "NOT_FOUND",
	[CIM_NOT_SUPPORTED] = "NOT_SUPPORTED",
	[CIM_ALREADY_EXISTS] = "ALREADY_EXISTS",
};

/*
 * By errno; the first row is success, the second as much with a job, and the third what
 * everything unforeseen becomes.
 */
// clang-format off
static const struct return_code codes[] = {
	{ 0,              0, "Success", "tandemfs.Done", SEVERITY_INFORMATION },
	{ 0,           4096, "Method Parameters Checked - Job Started", "tandemfs.JobStarted",
	  SEVERITY_INFORMATION },
	{ EIO,            4, "Failed", "tandemfs.Failed", SEVERITY_MAJOR, CIM_FAILED,
	  "An image, a directory or the state could not be read or written." },
	{ EOPNOTSUPP,     1, "Not Supported", "tandemfs.NotSupported", SEVERITY_WARNING,
	  CIM_NOT_SUPPORTED, "This version, this format or this object cannot do it." },
	{ ETIMEDOUT,      3, "Timeout", "tandemfs.Timeout", SEVERITY_MAJOR, CIM_FAILED,
	  "Something that is needed did not answer in time." },
	{ EBUSY,          4, "Failed", "tandemfs.Busy", SEVERITY_MINOR, CIM_FAILED,
	  "The state it is in does not allow it, or it is in use." },
	{ EPERM,          4, "Failed", "tandemfs.NeedsForce", SEVERITY_MINOR, CIM_FAILED,
	  "It would lose something, and Force was not said." },
	{ EINVAL,         5, "Invalid Parameter", "tandemfs.InvalidParameter", SEVERITY_WARNING,
	  CIM_INVALID_PARAMETER, "A word of the command, or one of its values, is wrong." },
	{ E2BIG,          5, "Invalid Parameter", "tandemfs.TooLong", SEVERITY_WARNING,
	  CIM_INVALID_PARAMETER, "The command is too long." },
	{ EEXIST,         5, "Invalid Parameter", "tandemfs.NameTaken", SEVERITY_WARNING,
	  CIM_ALREADY_EXISTS, "The name is taken." },
	{ ENOENT,         8, "Object Not Found", "tandemfs.NotFound", SEVERITY_WARNING,
	  CIM_NOT_FOUND, "There is nothing of this name." },
	{ EACCES,     40001, "Access denied", "tandemfs.AccessDenied", SEVERITY_WARNING,
	  CIM_ACCESS_DENIED, "Who gave the command may not do this." },
	{ ENOSPC,     40002, "Not enough resources", "tandemfs.NoSpace", SEVERITY_MAJOR,
	  CIM_FAILED, "There is not enough space." },
	{ ENOMEM,     40002, "Not enough resources", "tandemfs.NoMemory", SEVERITY_MAJOR,
	  CIM_FAILED, "There is not enough memory, or there are too many open files." },
	{ ESTALE,     40003, "Cache out of date", "tandemfs.OutOfDate", SEVERITY_MAJOR,
	  CIM_FAILED, "What is remembered no longer fits the image." },
	{ EAGAIN,     40009, "Not supported while being upgraded", "tandemfs.Upgrading",
	  SEVERITY_MINOR, CIM_FAILED, "An upgrade is going on." },
};

/* What systems say in other words. */
static const struct {
	int err, as;
} aliases[] = {
	{ EROFS, EBUSY }, { ETXTBSY, EBUSY }, { ENOTEMPTY, EBUSY }, { ENAMETOOLONG, EINVAL },
	{ ERANGE, EINVAL }, { EFBIG, EINVAL }, { EOVERFLOW, EINVAL }, { ENOTDIR, EINVAL },
	{ EISDIR, EINVAL }, { ELOOP, EINVAL }, { EXDEV, EINVAL }, { ENODEV, ENOENT },
	{ ENXIO, ENOENT }, { EDQUOT, ENOSPC }, { EMFILE, ENOMEM }, { ENFILE, ENOMEM },
	{ ENOSYS, EOPNOTSUPP },
};
// clang-format on

const struct return_code *return_code(int err)
{
	err = -err;
	for (size_t i = 0; i < LENGTH(aliases); i++) {
		if (aliases[i].err == err) {
			err = aliases[i].as;
			break;
		}
	}
	for (size_t i = 0; i < LENGTH(codes); i++) {
		if (codes[i].err == err)
			return &codes[i];
	}
	return &codes[2];
}

const struct return_code *return_code_started(void)
{
	return &codes[1];
}

void result_add_job(struct result *r, uint32_t job)
{
	size_t len = strlen(r->job);

	if (job && (!r->first_job || job < r->first_job))
		r->first_job = job;
	/* What does not fit is in jobs/. */
	if (job && len + sizeof(" 4294967295") <= sizeof(r->job))
		snprintf(r->job + len, sizeof(r->job) - len, "%s%u", len ? " " : "", job);
}

void result_say(struct result *r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(r->why.message, sizeof(r->why.message), fmt, args);
	va_end(args);
	r->why.advice[0] = '\0';
}

static void add_prose(struct text *out, const char *key, const char *prose)
{
	text_addf(out, "%s: ", key);
	text_add_prose(out, prose);
	text_add(out, "\n", 1);
}

void result_render(const struct result *r, struct text *out)
{
	const struct return_code *code = r->code;
	const char *advice = r->why.advice;
	char time[RFC3339_MAX];

	if (!*advice && code->err == EPERM)
		advice = "the same with Force";
	text_addf(out, "Operation: %s", r->plan ? "Plan " : "");
	text_add_line(out, r->operation);
	text_add(out, "\n", 1);
	text_add_fieldf(out, "ReturnValue", "%u %s", code->value, code->name);
	if (*r->why.message)
		add_prose(out, "Message", r->why.message);
	text_add_fieldf(out, "MessageID", "%s", code->id);
	text_add_fieldf(out, "PerceivedSeverity", "%u %s", code->severity,
			severity_names[code->severity]);
	if (code->cause)
		text_add_fieldf(out, "ProbableCauseDescription", "%s", code->cause);
	if (*advice)
		add_prose(out, "RecommendedActions", advice);
	if (code->cim)
		text_add_fieldf(out, "CIMStatusCode", "%u %s", code->cim, cim_names[code->cim]);
	if (*r->job)
		text_add_field(out, "Job", r->job);
	text_add_fieldf(out, "Time", "%s", rfc3339_format(time, &r->time));
	text_add_fieldf(out, "Uid", "%u", (unsigned)r->uid);
	if (*r->element_name)
		text_add_field(out, "ElementName", r->element_name);
	if (*r->token)
		text_add_field(out, "Token", r->token);
	if (*r->target)
		text_add_field(out, "TargetStorageVolume", r->target);
	if (!r->progress.status)
		return;
	text_add_fieldf(out, "OperationStatus", "%u", r->progress.status);
	text_add_fieldf(out, "CurrentValue", "%" PRIu64, r->progress.current);
	text_add_fieldf(out, "CompletionValue", "%" PRIu64, r->progress.completion);
}

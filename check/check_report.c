// SPDX-License-Identifier: GPL-2.0-or-later
#include "check_report.h"

#include <stdarg.h>

#include "json.h"

static const struct kind {
	const char *word;
	enum severity severity;
	const char *advice;
} kinds[FINDINGS] = {
	[FINDING_CATALOGUE] = { "catalogue", SEVERITY_FAULT,
				"do not start tandemfs; restore the state from a backup" },
	[FINDING_RECORD] = { "record", SEVERITY_FAULT,
			     "do not start tandemfs; restore the state from a backup" },
	[FINDING_VERSION] = { "version", SEVERITY_FAULT,
			      "the moments of this disk up to that generation are not to be trusted "
			      "there: unsnapshot and ForgetHistory" },
	[FINDING_CONTENT] = { "content", SEVERITY_FAULT,
			      "the moments of this disk up to that generation are not to be trusted "
			      "there: unsnapshot and ForgetHistory" },
	[FINDING_SEGMENT] = { "segment", SEVERITY_FAULT,
			      "restore the file from a backup; else give up the moments that need it" },
	[FINDING_LOG] = { "log", SEVERITY_FAULT,
			  "acknowledged writes are missing: compare the disk with a replica or a "
			  "backup" },
	[FINDING_MOMENT] = { "moment", SEVERITY_FAULT,
			     "restore the state from a backup, or give up the moment" },
	[FINDING_SNAPSHOT] = { "snapshot", SEVERITY_FAULT, "unsnapshot it" },
	[FINDING_RESTORE] = { "restore", SEVERITY_FAULT,
			      "copy what the disk holds, and restore it from a backup" },
	[FINDING_CLONE] = { "clone", SEVERITY_FAULT, "Abort it, and make it anew" },
	[FINDING_OVERLAY] = { "overlay", SEVERITY_FAULT,
			      "Activate ReadOnly=true Force gives it up" },
	[FINDING_MIRROR] = { "mirror", SEVERITY_FAULT, "Detach it, and make it anew" },
	[FINDING_MARKS] = { "marks", SEVERITY_FAULT,
			    "remove the file: the next start copies all of the disk" },
	[FINDING_GROUP] = { "group", SEVERITY_FAULT, "DeleteGroup, and make it anew" },
	[FINDING_DISK] = { "disk", SEVERITY_FAULT,
			   "bring the image back as it was, or Accept Force takes it as it is" },
	[FINDING_IMAGE] = { "image", SEVERITY_FAULT,
			    "copy what can be read, and compare it with a replica or a backup" },
	[FINDING_UNCLEAN] = { "unclean", SEVERITY_PENDING, "start tandemfs, or tandemfs settle" },
	[FINDING_UNSETTLED] = { "unsettled", SEVERITY_PENDING,
				"start tandemfs, or tandemfs settle, before anything else opens the "
				"image" },
	[FINDING_NOTED] = { "noted", SEVERITY_PENDING,
			    "start tandemfs, or tandemfs settle, before anything else opens the "
			    "image" },
	[FINDING_COPYING] = { "copying", SEVERITY_PENDING, "start tandemfs: it goes on" },
	[FINDING_COPY] = { "copy", SEVERITY_PENDING, "it is mended at the first write" },
	[FINDING_TORN] = { "torn", SEVERITY_NOTE, "nothing: it was never flushed" },
	[FINDING_LEAK] = { "leak", SEVERITY_NOTE,
			   "nothing: it comes back with the other moments of that time" },
	[FINDING_LEFT] = { "left", SEVERITY_NOTE, "nothing: nobody needs it" },
	[FINDING_MISSING] = { "missing", SEVERITY_NOTE, "nothing, if it is meant to be away" },
};

static const char *const severity_words[SEVERITIES] = { "note", "pending", "fault" };

const char *finding_word(enum finding finding)
{
	return kinds[finding].word;
}

void report_begin(struct check_report *r)
{
	if (r->json)
		fprintf(r->out, "{\"Schema\":1,\"Findings\":[");
}

static void put_json(struct check_report *r, const struct kind *k, const char *where,
		     const char *message, struct text *t)
{
	struct json j = { .out = t };

	json_object(&j);
	json_string_at(&j, "Severity", severity_words[k->severity]);
	json_string_at(&j, "Kind", k->word);
	json_string_at(&j, "Object", where);
	json_string_at(&j, "Message", message);
	json_string_at(&j, "Advice", k->advice);
	json_object_end(&j);
	fprintf(r->out, "%s\n", r->begun ? "," : "");
}

static void put_line(const struct kind *k, const char *where, const char *message, struct text *t)
{
	text_addf(t, "%s %s ", severity_words[k->severity], k->word);
	text_add_word(t, where);
	text_addf(t, ": ");
	text_add_prose(t, message);
	text_addf(t, " (%s)\n", k->advice);
}

void report(struct check_report *r, enum finding finding, const char *where, const char *format,
	    ...)
{
	const struct kind *k = &kinds[finding];
	struct text t = { 0 };
	char message[600];
	va_list args;

	r->count[k->severity]++;
	if (r->quiet && k->severity != SEVERITY_FAULT)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (r->json)
		put_json(r, k, where, message, &t);
	else
		put_line(k, where, message, &t);
	if (text_ok(&t))
		fwrite(t.bytes, 1, t.len, r->out);
	r->begun = true;
	text_free(&t);
}

static void put_summary(struct check_report *r, int result)
{
	struct text t = { 0 };
	struct json j = { .out = &t, .comma = true };

	if (!r->json) {
		if (!r->quiet)
			fprintf(r->out,
				"%llu disks, %llu images, %llu records, %llu versions, %llu bytes read: "
				"%llu faults, %llu pending, %llu notes\n",
				(unsigned long long)r->disks, (unsigned long long)r->images,
				(unsigned long long)r->records, (unsigned long long)r->versions,
				(unsigned long long)r->bytes,
				(unsigned long long)r->count[SEVERITY_FAULT],
				(unsigned long long)r->count[SEVERITY_PENDING],
				(unsigned long long)r->count[SEVERITY_NOTE]);
		return;
	}
	json_uint_at(&j, "Disks", r->disks);
	json_uint_at(&j, "Images", r->images);
	json_uint_at(&j, "Records", r->records);
	json_uint_at(&j, "Versions", r->versions);
	json_uint_at(&j, "Bytes", r->bytes);
	json_uint_at(&j, "Faults", r->count[SEVERITY_FAULT]);
	json_uint_at(&j, "Pending", r->count[SEVERITY_PENDING]);
	json_uint_at(&j, "Notes", r->count[SEVERITY_NOTE]);
	json_uint_at(&j, "Result", result);
	if (text_ok(&t))
		fprintf(r->out, "\n]%s}\n", t.bytes);
	text_free(&t);
}

bool report_end(struct check_report *r, int result)
{
	put_summary(r, result);
	return !fflush(r->out) && !ferror(r->out);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a check found, a line each, as it is found. */
#ifndef TANDEMFS_CHECK_REPORT_H
#define TANDEMFS_CHECK_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum severity { SEVERITY_NOTE, SEVERITY_PENDING, SEVERITY_FAULT };
#define SEVERITIES 3

/* The words are in the manual, with what to do. */
enum finding {
	FINDING_NONE,
	/* faults */
	FINDING_CATALOGUE,
	FINDING_RECORD,
	FINDING_VERSION,
	FINDING_CONTENT,
	FINDING_SEGMENT,
	FINDING_LOG,
	FINDING_MOMENT,
	FINDING_SNAPSHOT,
	FINDING_RESTORE,
	FINDING_CLONE,
	FINDING_OVERLAY,
	FINDING_MIRROR,
	FINDING_MARKS,
	FINDING_GROUP,
	FINDING_DISK,
	FINDING_IMAGE,
	/* the next start has something to do */
	FINDING_UNCLEAN,
	FINDING_UNSETTLED,
	FINDING_NOTED,
	FINDING_COPYING,
	FINDING_COPY,
	/* facts */
	FINDING_TORN,
	FINDING_LEAK,
	FINDING_LEFT,
	FINDING_MISSING,
	FINDINGS
};

struct check_report {
	FILE *out;
	bool quiet, json;
	bool begun; /* a line was printed */
	uint64_t count[SEVERITIES];
	/* What was looked at. */
	uint64_t records, versions, bytes, disks, images;
};

void report_begin(struct check_report *r);
/* where: the object, as below .replication/, or a file's path in the state. */
__attribute__((format(printf, 4, 5))) void report(struct check_report *r, enum finding finding,
						  const char *where, const char *format, ...);
/* With the summary. false: the output could not be written. */
bool report_end(struct check_report *r, int result);

const char *finding_word(enum finding finding);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command gave: the number, the errno and the words, from one table,
 * after the manual's list of return values.
 */
#ifndef TANDEMFS_RESULT_H
#define TANDEMFS_RESULT_H

#include <sys/types.h>
#include <time.h>

#include "disk.h"
#include "text.h"
#include "why.h"

struct return_code {
	int err; /* what the write gives, positive; 0 for success */
	unsigned value;
	const char *name;
	const char *id;    /* MessageID: stays when the message is worded better */
	unsigned severity; /* PerceivedSeverity, 2 to 6 */
	unsigned cim;      /* CIMStatusCode, 0: none */
	const char *cause;
};

/* For 0 or any -errno: one that no operation should give is 4 Failed, EIO. */
const struct return_code *return_code(int err);

/* It went well, and a job does the rest. */
const struct return_code *return_code_started(void);

#define OPERATION_MAX 64

/* As Windows numbers errors: ERROR_IO_PENDING. */
#define OPERATION_IN_PROGRESS 997

struct result {
	char operation[OPERATION_MAX]; /* as in the tables; as typed when it is in none */
	bool plan;
	const struct return_code *code;
	struct why why; /* on success the message says what was done */
	struct timespec time;
	uid_t uid;
	char element_name[DISK_LABEL_MAX + 202]; /* of a disk, or DISK@NAME; "": none */
	char token[202];                         /* "": none */
	char target[DISK_LABEL_MAX + 1];         /* a disk that was made as one; "": none */
	char job[200];                           /* numbers of jobs that it began, blanks between */
	struct progress {
		unsigned status; /* 0: none was asked for */
		uint64_t current, completion;
	} progress;
	uint32_t first_job; /* the least of these; 0: none */
	/* For those who wait: what is copied from now on, a relationship or a group of mirrors. */
	uint32_t copy;
	uint32_t jobs_of; /* or of which disk or group the jobs are; 0: there is one, of a mirror */
};

__attribute__((format(printf, 2, 3))) void result_say(struct result *r, const char *fmt, ...);
/* One that it began; 0 is none. */
void result_add_job(struct result *r, uint32_t job);
/* `Key: value` lines. */
void result_render(const struct result *r, struct text *out);

#endif

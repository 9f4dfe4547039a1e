/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share; nobody outside includes it. */
#ifndef TANDEMFS_INNER_H
#define TANDEMFS_INNER_H

#include "commands.h"
#include "ctl.h"
#include "ledger.h"
#include "snapshots.h"

struct ctl {
	struct tandem *tandem;
	struct ledger *ledger;
	struct lookups *lookups;
	pthread_mutex_t settings; /* one Set at a time: each starts from what is set */
	/* Set before the first request. */
	const struct capability *capabilities;
	int (*set_log_level)(const char *level);
};

struct json;
struct replica_facts;
struct group_facts;
struct job_facts;

/* The kind of object a node belongs to. */
enum object_kind node_object_kind(struct node n);

/*
 * Open, as wait/ of a relationship or a group, for a set of CopyStates as bits; or for jobs of a command, the
 * first of them (0: none), and whose they are: a disk's, or those of a group; 0: that one. -EAGAIN, -ESTALE.
 */
int wait_node(struct ctl *c, uint32_t object, uint64_t states, uint64_t job, struct node *out);

/*
 * What reading a file gives: appended to out. 0 or -errno; -ENOENT when the
 * object is gone. `object` is the node's.
 */
int help_render(struct ctl *c, uint32_t object, struct text *out);
int capabilities_render(struct ctl *c, uint32_t object, struct text *out);
int events_render(struct ctl *c, uint32_t object, struct text *out);
int metrics_render(struct ctl *c, uint32_t object, struct text *out);
int status_render(struct ctl *c, uint32_t object, struct text *out);
int status_json_render(struct ctl *c, uint32_t object, struct text *out);
int disk_status_render(struct ctl *c, uint32_t object, struct text *out);
int disk_status_json_render(struct ctl *c, uint32_t object, struct text *out);
int history_render(struct ctl *c, uint32_t object, struct text *out);
int changes_render(struct ctl *c, uint32_t object, struct text *out);
int pool_status_render(struct ctl *c, uint32_t object, struct text *out);
int replica_status_render(struct ctl *c, uint32_t object, struct text *out);
int replica_status_json_render(struct ctl *c, uint32_t object, struct text *out);
int group_status_render(struct ctl *c, uint32_t object, struct text *out);
int group_status_json_render(struct ctl *c, uint32_t object, struct text *out);
int members_render(struct ctl *c, uint32_t object, struct text *out);
int consistent_render(struct ctl *c, uint32_t object, struct text *out);
int job_status_render(struct ctl *c, uint32_t object, struct text *out);
int job_status_json_render(struct ctl *c, uint32_t object, struct text *out);
int percent_render(struct ctl *c, uint32_t object, struct text *out);
int job_wait_render(struct ctl *c, uint32_t object, struct text *out);
/* As of wait_node: 0 when they are Completed, -EAGAIN, -ECANCELED. */
int jobs_wait(struct ctl *c, uint32_t of, uint32_t first);
/* Likewise; `name` is a property's. */
int property_render(struct ctl *c, uint32_t object, const char *name, struct text *out);

/* The inside of an object in JSON, and what each status.json begins with. */
void replica_json(struct json *j, const struct replica_facts *r);
/* Likewise, and the lines of its status: the properties that a group has. */
void group_properties_json(struct json *j, const struct replica_facts *r);
void group_properties_render(const struct replica_facts *r, struct text *out);
void status_json_head(struct json *j, struct ctl *c);
void job_json(struct json *j, const struct job_facts *f);
/* The object of a group under this key, or (NULL) the inside of it. -ENOENT: nothing was added. */
int group_json(struct json *j, struct tandem *t, const struct group_facts *g, const char *key);
/* NAME of NAME.raw; false: it has another ending, or is too long. */
bool name_before_raw(const char *name, char *out, size_t size);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalogue's records as bytes. Pure. */
#ifndef TANDEMFS_RECORD_H
#define TANDEMFS_RECORD_H

#include "origins.h"
#include "pair_records.h"
#include "versions.h"

struct record {
	uint8_t bytes[8192];
	size_t len;
};

void record_encode_disk(struct record *w, const struct disk_record *r);
void record_encode_pool(struct record *w, const struct pool_record *r);
void record_encode_moment(struct record *w, const struct moment_record *r);
void record_encode_track(struct record *w, const struct track_record *r);
void record_encode_snapshot(struct record *w, const struct snapshot_record *r);
void record_encode_origin(struct record *w, const struct origin_record *r);
void record_encode_clone(struct record *w, const struct clone_record *r);
void record_encode_pair(struct record *w, const struct pair_record *r);
void record_encode_group(struct record *w, const struct group_record *r);
/* -EIO when the bytes are no such record. */
int record_decode_disk(const void *bytes, size_t len, struct disk_record *out);
int record_decode_pool(const void *bytes, size_t len, struct pool_record *out);
int record_decode_moment(const void *bytes, size_t len, struct moment_record *out);
int record_decode_track(const void *bytes, size_t len, struct track_record *out);
int record_decode_snapshot(const void *bytes, size_t len, struct snapshot_record *out);
int record_decode_origin(const void *bytes, size_t len, struct origin_record *out);
int record_decode_clone(const void *bytes, size_t len, struct clone_record *out);
int record_decode_pair(const void *bytes, size_t len, struct pair_record *out);
int record_decode_group(const void *bytes, size_t len, struct group_record *out);

#endif

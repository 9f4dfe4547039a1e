/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C (Castagnoli). */
#ifndef TANDEMFS_CRC32C_H
#define TANDEMFS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of what `crc` is the sum of (0: nothing) followed by buf. Any thread. */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);
/* The same, without the processor's own instruction. For its test. */
uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len);

#endif

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Generations of a disk that can be told.

    generations.py write DISK JOURNAL   stamps blocks with numbers that go up, from what the disk is on,
                                        until an error comes; JOURNAL has begun and acknowledged
    generations.py tell DISK [JOURNAL]  the number of the generation that the disk is; fails if it is none,
                                        or has not what was acknowledged

Each write is one block full of its number. So a generation is what the first so many writes leave.
"""
import mmap
import os
import struct
import sys

BLOCK = 4096
MASK = (1 << 64) - 1


def place(number, blocks):
    mixed = number * 0x9E3779B97F4A7C15 & MASK
    mixed ^= mixed >> 29
    # Some lie close together, and are written over in one generation.
    return (mixed >> 8) % 64 if mixed % 3 == 0 else mixed % blocks


def generation(path):
    with open(path, "rb", buffering=0) as disk:
        size, content = os.fstat(disk.fileno()).st_size, b""
        while len(content) < size:
            content += disk.read(1 << 16) or sys.exit("it is shorter than it says")
    stamps = []
    for at in range(0, size, BLOCK):
        block = content[at:at + BLOCK]
        if block != block[:8] * (BLOCK // 8):
            sys.exit(f"the block at {at} is torn")
        stamps.append(struct.unpack_from("<Q", block)[0])
    last, number, left = max(stamps), max(stamps), dict(enumerate(stamps))
    while number and left:
        expected = left.pop(place(number, len(stamps)), number)
        if expected != number:
            sys.exit(f"block {place(number, len(stamps))} is of {expected}, and {number} of {last} is missing")
        number -= 1
    if any(left.values()):
        sys.exit(f"blocks have stamps that they never got: {left}")
    return last


def journal_of(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, BLOCK)
    return mmap.mmap(fd, BLOCK)


def write(path, journal):
    try:
        number = generation(path)
        fd = os.open(path, os.O_RDWR)
        blocks = os.fstat(fd).st_size // BLOCK
        while True:
            number += 1
            struct.pack_into("<Q", journal, 0, number)
            os.pwrite(fd, struct.pack("<Q", number) * (BLOCK // 8), place(number, blocks) * BLOCK)
            struct.pack_into("<Q", journal, 8, number)
    except OSError:
        pass


def main():
    what, path, *rest = sys.argv[1:]
    if what == "write":
        write(path, journal_of(rest[0]))
        return
    found = generation(path)
    if rest:
        begun, acknowledged = struct.unpack_from("<QQ", journal_of(rest[0]))
        if not acknowledged <= found <= begun:
            sys.exit(f"it is {found}; {acknowledged} was acknowledged, {begun} begun")
    print(found)


main()

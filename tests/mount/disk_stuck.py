#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests that a stuck disk holds, and what others notice of them.

    disk_stuck.py hold DISK FIRST COUNT BYTES
        COUNT threads read at the same time, each a block of its own STRIDE, from FIRST on; they must wait, and then be
        answered with what the file BYTES has
    disk_stuck.py answers DISK CTL SECONDS
        for so long, another disk and the control tree answer within LIMIT seconds
    disk_stuck.py listed DIRECTORY SECONDS
        for so long, does `ls -lR` of the mount
"""
import mmap
import os
import sys
import threading
import time

from disk_calls import must

BLOCK = 4096
STRIDE = 128 << 10
LIMIT = 1.0 * int(os.environ.get("TANDEMFS_PATIENCE", "1"))


def read_block(fd, offset, answers):
    with mmap.mmap(-1, BLOCK) as page:
        try:
            os.preadv(fd, [page], offset)
            answers[offset] = page[:]
        except OSError as error:
            answers[offset] = error


def hold(disk, first, count, expected):
    first, count = int(first), int(count)
    fd = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    answers = {}
    offsets = [i * STRIDE for i in range(first, first + count)]
    threads = [threading.Thread(target=read_block, args=(fd, offset, answers)) for offset in offsets]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    must(not answers, f"the disk is not stuck, it answered {len(answers)} requests")
    for thread in threads:
        thread.join()
    with open(expected, "rb") as file:
        for offset in offsets:
            file.seek(offset)
            must(answers[offset] == file.read(BLOCK), f"at {offset} the answer was {answers[offset]!r:.100}")


class Watch:
    """How long each kind of request took, at worst."""

    def __init__(self):
        self.worst = {}

    def time(self, what, call, *args):
        begun = time.monotonic()
        result = call(*args)
        took = time.monotonic() - begun
        self.worst[what] = max(took, self.worst.get(what, 0))
        must(took < LIMIT, f"{what} took {took:.1f} s")
        return result

    def report(self):
        print(", ".join(f"{what} {took * 1000:.0f} ms" for what, took in self.worst.items()))


def read_text(path):
    with open(path, "rb") as file:
        return file.read()


def open_and_close(path):
    os.close(os.open(path, os.O_RDWR))


def answers(disk, control, seconds):
    watch = Watch()
    ends = time.monotonic() + float(seconds)
    fd = watch.time("open", os.open, disk, os.O_RDWR)
    while time.monotonic() < ends:
        watch.time("pread", os.pread, fd, BLOCK, 0)
        watch.time("pwrite", os.pwrite, fd, bytes(BLOCK), BLOCK)
        watch.time("fsync", os.fsync, fd)
        watch.time("open again", open_and_close, disk)
        watch.time("stat", os.stat, disk)
        watch.time("ls", os.listdir, os.path.dirname(disk))
        for name in "status", "status.json", "events", "metrics":
            watch.time(name, read_text, os.path.join(control, name))
        time.sleep(0.02)
    watch.report()


def listed(directory, seconds):
    watch = Watch()
    ends = time.monotonic() + float(seconds)
    while time.monotonic() < ends:
        for path, directories, files in os.walk(directory):
            for name in directories + files:
                watch.time(f"stat {name}", os.lstat, os.path.join(path, name))
            directories[:] = [name for name in directories if name != ".replication"]
        time.sleep(0.1)
    watch.report()


{"hold": hold, "answers": answers, "listed": listed}[sys.argv[1]](*sys.argv[2:])

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""limits.py WHAT MNT [N]: much at once. Prints what it saw; exit status 1, with a reason, when it was not right.

opens       N open files of the disks, of status and of control, at once
writers     64 writers of many.img, each of every 64th block, N rounds each; then all of it is what they wrote
readers     100 readers of status until many.img.done is there, N of them at the least each; none waits for long
"""
import concurrent.futures
import os
import resource
import sys
import threading
import time

WHAT, MNT = sys.argv[1], sys.argv[2]
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 1
PATIENCE = int(os.environ.get("TANDEMFS_PATIENCE", "1"))
BLOCK, WRITERS, READERS = 4096, 64, 100


def must(good, what):
    if not good:
        sys.exit(f"limits.py: {WHAT}: {what}")


def opens():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(COUNT, hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    paths = [os.path.join(MNT, name) for name in sorted(os.listdir(MNT)) if name.endswith(".img")]
    paths += [os.path.join(MNT, ".replication", name) for name in ("status", "control")]
    files = [os.open(paths[i % len(paths)], os.O_RDONLY) for i in range(count)]
    # The first and the last of each, and they are still what they are.
    for fd in files[:len(paths)] + files[-len(paths):]:
        os.pread(fd, 512, 0)
    for fd in files:
        os.close(fd)
    print(f"{count} files were open")


def pattern(writer, turn, block):
    return (b"%d.%d.%d." % (writer, turn, block) * BLOCK)[:BLOCK]


def writer(number, path, blocks):
    fd = os.open(path, os.O_WRONLY)
    for turn in range(COUNT):
        for block in range(number, blocks, WRITERS):
            must(os.pwrite(fd, pattern(number, turn, block), block * BLOCK) == BLOCK, "a short write")
        if turn % 4 == 3:
            os.fsync(fd)
    os.close(fd)


def writers():
    path = os.path.join(MNT, "many.img")
    blocks = os.stat(path).st_size // BLOCK
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(writer, number, path, blocks) for number in range(WRITERS)]:
            done.result()
    with open(path, "rb") as file:
        for block in range(blocks):
            must(file.read(BLOCK) == pattern(block % WRITERS, COUNT - 1, block), f"block {block} is not what was written")
    print(f"{WRITERS} writers, {COUNT} rounds of {blocks} blocks")


def reader(path, done, slowest):
    count = 0
    while count < COUNT or not os.path.exists(done):
        begun = time.monotonic()
        with open(path, "rb", buffering=0) as file:
            text = file.read(65536)
        slowest.append(time.monotonic() - begun)
        must(text.startswith(b"Daemon: "), f"status is {text[:80]}")
        count += 1
        time.sleep(0.02)


def readers():
    slowest = []
    done, path = sys.argv[4], os.path.join(MNT, ".replication/status")
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        for ended in [pool.submit(reader, path, done, slowest) for _ in range(READERS)]:
            ended.result()
    print(f"{len(slowest)} times status was read, the slowest took {max(slowest):.2f} s")
    must(max(slowest) < 5 * PATIENCE, "that is too long")


threading.stack_size(256 << 10)
{"opens": opens, "writers": writers, "readers": readers}[WHAT]()

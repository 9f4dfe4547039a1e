#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""disk_syncs.py MNT PID

Which requests make the daemon PID sync an image, and when, as strace sees it. Each way of writing has a disk of its own,
all of them in MNT already, so that the trace tells them apart by the path. The disks stay open until strace has ended:
what a close or the end of the daemon may sync is not counted.

Exit status 77: it can't be told here, the reason is on stderr.
"""
import errno
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile

from disk_calls import KEEP_SIZE, PUNCH_HOLE, fallocate, must, ok

BLOCK = b"block" * 819 + b"!"
CALLS = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,open,openat,openat2,io_uring_enter"

# Of the disks, whose names must not look like the flags that are searched for
opened = []


def opens(path, flags=0):
    opened.append(os.open(path, os.O_RDWR | flags))
    return opened[-1]


# ---- The ways of writing: each returns the requests that it made, w for a write, s for what must be synced ----

def plain(path):
    fd = opens(path)
    for i in range(8):
        os.pwrite(fd, BLOCK, i * 4096)
    return "w" * 8


def direct(path):
    fd = opens(path, os.O_DIRECT)
    with mmap.mmap(-1, 4096) as page:
        for i in range(8):
            os.pwritev(fd, [page], i * 4096)
    return "w" * 8


def punch(path):
    fallocate(opens(path), PUNCH_HOLE | KEEP_SIZE, 0, 8192)
    return ""


def fsync(path):
    fd = opens(path)
    for i in range(3):
        os.pwrite(fd, BLOCK, i * 8192)
        os.pwrite(fd, BLOCK, i * 8192 + 4096)
        os.fsync(fd)
    return "wws" * 3


def fdatasync(path):
    fd = opens(path)
    for i in range(3):
        os.pwrite(fd, BLOCK, i * 4096)
        os.fdatasync(fd)
    return "ws" * 3


def fsync_elsewhere(path):
    """What one descriptor wrote, another one syncs."""
    one, other = opens(path), opens(path, os.O_DIRECT)
    os.pwrite(one, BLOCK, 0)
    os.fsync(other)
    return "ws"


def flagged(flags):
    def write(path):
        fd = opens(path, flags)
        with mmap.mmap(-1, 4096) as page:
            for i in range(4):
                os.pwritev(fd, [page], i * 4096)
        return "ws" * 4
    return write


def per_request(flags):
    def write(path):
        fd = opens(path)
        for i in range(4):
            os.pwritev(fd, [BLOCK], i * 8192, flags)
            os.pwrite(fd, BLOCK, i * 8192 + 4096)
        return "wsw" * 4
    return write


def msync(path):
    try:
        mapped = mmap.mmap(opens(path), 4096)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    mapped[100:104] = b"text"
    mapped.flush()
    return "ws"


WAYS = {
    "plain": plain,
    "direct": direct,
    "punch": punch,
    "fsync": fsync,
    "fdatasync": fdatasync,
    "fsync-elsewhere": fsync_elsewhere,
    "open-dsync": flagged(os.O_DSYNC),
    "open-sync": flagged(os.O_SYNC),
    "direct-dsync": flagged(os.O_DIRECT | os.O_DSYNC),
    "direct-sync": flagged(os.O_DIRECT | os.O_SYNC),
    "request-dsync": per_request(os.RWF_DSYNC),
    "request-sync": per_request(os.RWF_SYNC),
    "msync": msync,
}


# ---- What strace says ----

def cannot(why):
    print("SKIP:", why, file=sys.stderr)
    sys.exit(77)


def attach(pid, log):
    strace = subprocess.Popen(["strace", "-f", "-y", "-e", "trace=" + CALLS, "-e", "signal=none", "-o", log, "-p", pid],
                              stderr=subprocess.PIPE, text=True)
    said = strace.stderr.readline()
    if "attached" not in said:
        strace.kill()
        cannot(f"strace: {said.strip()}")
    return strace


def detach(strace):
    strace.send_signal(signal.SIGINT)
    strace.communicate()


OPENED = re.compile(r"open\w*\(.*?\b(O_D?SYNC)\b.*= (\d+)<")
ON_A_FILE = re.compile(r"(\w+)\((\d+)<([^>]*)>(.*)")


def requests_in(log):
    """By the name of the image: w for each write, s for each sync, in their order; and whether io_uring was used."""
    seen, synchronous, uring = {}, set(), False
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            uring |= "io_uring_enter(" in line
            if match := OPENED.search(line):
                synchronous.add(match[2])
            elif match := ON_A_FILE.search(line):
                call, fd, path, rest = match.groups()
                writes = "write" in call
                syncs = not writes or fd in synchronous or re.search(r"RWF_D?SYNC", rest)
                if "open" not in call:
                    name = os.path.basename(path)
                    seen[name] = seen.get(name, "") + "w" * writes + "s" * bool(syncs)
    return seen, uring


def main():
    mount_point, pid = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "trace")
        strace = attach(pid, log)
        wanted = {name: way(os.path.join(mount_point, name + ".img")) for name, way in WAYS.items()}
        detach(strace)
        seen, uring = requests_in(log)
    if uring or "w" not in seen.get("plain.img", ""):
        cannot("the daemon writes in a way that strace does not show")
    for name, requests in wanted.items():
        if requests is None:
            print(f"skipped: {name}: disks can't be mapped with this kernel")
            continue
        got = seen.get(name + ".img", "")
        must(got == requests, f"{name}: the image saw '{got}', and should have seen '{requests}'")
        ok(f"{name}: '{got}'")


main()

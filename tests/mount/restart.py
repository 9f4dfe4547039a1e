#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""restart.py WHAT PLACE END: does it again and again until the file END is there, while daemons come and go.

No error is right, but EIO of a command that was begun and whose outcome nobody knows, and ESTALE in the middle of a text.
"""
import errno
import hashlib
import itertools
import os
import select
import sys
import time

PATIENCE = 10 * float(os.environ.get("TANDEMFS_PATIENCE", "1"))


def ended():
    return os.path.exists(sys.argv[3])


def expect(condition, *what):
    if not condition:
        sys.exit(f"FAIL: {sys.argv[1]}: {' '.join(map(str, what))}")


def rounds():
    for number in itertools.count():
        yield number
        if ended():
            return


def files(place):
    """A file system above: what was written is there."""
    hashes = {}
    for number in rounds():
        name = os.path.join(place, f"f{number % 8}")
        if name in hashes:
            fd = os.open(name, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            with open(fd, "rb") as file:
                expect(hashlib.sha1(file.read()).digest() == hashes[name], name, "is not as it was written")
        data = os.urandom(4096) * (number % 64 + 1)
        with open(name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        hashes[name] = hashlib.sha1(data).digest()


def pipe(control):
    """Each event comes once, in order, through one open file."""
    last, rest = None, b""
    fd = os.open(os.path.join(control, "events_pipe"), os.O_RDONLY)
    while True:
        *lines, rest = (rest + os.read(fd, 4096)).split(b"\n")
        for line in lines:
            number = int(line.split()[0])
            expect(last is None or number == last + 1, "after event", last, "comes", line)
            last = number
            if b"Operation=CreateGroup " in line:
                return


def poll(control):
    """A change is told, and a restart is one."""
    fd = os.open(os.path.join(control, "status"), os.O_RDONLY)
    for _ in rounds():
        expect(os.pread(fd, 7, 0) == b"Daemon:", "no status")
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        before = time.monotonic()
        expect(poller.poll(PATIENCE * 1000), "poll() has no event")
        # At its end it looks for itself.
        expect(time.monotonic() - before < PATIENCE, "poll() was not woken")


def status(control):
    """In pieces: whole, or an error."""
    for _ in rounds():
        text = b""
        fd = os.open(os.path.join(control, "status"), os.O_RDONLY)
        try:
            while piece := os.read(fd, 100):
                text += piece
                time.sleep(0.002)
            expect(text.startswith(b"Daemon:") and text.endswith(b"\n"), text)
            expect(b"\nDISK " in text and b"\nREPLICA " in text, text)
        except OSError as error:
            expect(error.errno == errno.ESTALE and text, error)
        os.close(fd)


def listing(control):
    """A directory: every name once, or an error."""
    for _ in rounds():
        try:
            names = os.listdir(os.path.join(control, "disks"))
        except OSError as error:
            expect(error.errno == errno.ESTALE, error)
            continue
        expect(names.count("plain.img") == 1 and names.count("fs.img") == 1, names)


def tell(control, command):
    """False: nobody knows."""
    fd = os.open(os.path.join(control, "control"), os.O_WRONLY)
    try:
        expect(os.write(fd, command.encode()) == len(command), command, "was not taken whole")
        return True
    except OSError as error:
        expect(error.errno == errno.EIO, command, error)
        return False
    finally:
        os.close(fd)


def commands(mount):
    """Done twice, they would fail."""
    control, doubts = os.path.join(mount, ".replication"), 0
    for number in rounds():
        name = f"group-{number}"
        group = os.path.join(control, "groups", name)
        if not tell(control, f"CreateGroup Name={name}"):
            doubts += 1
            if not os.path.exists(group):
                continue
        expect(os.path.exists(group), name, "was made, and is not there")
        while not tell(control, f"DeleteGroup Name={name}"):
            doubts += 1
            if not os.path.exists(group):
                break
        expect(not os.path.exists(group), name, "was removed, and is there")
    print(f"{number} groups, {doubts} in doubt")


def results(mount):
    """The result of a command, through the file that gave it."""
    fd = os.open(os.path.join(mount, ".replication/control"), os.O_RDWR)
    for number in rounds():
        try:
            os.write(fd, f"Set MaxCopies={number % 5 + 1}".encode())
            wanted = b"ReturnValue: 0 "
        except OSError as error:
            expect(error.errno == errno.EIO, error)
            wanted = b"it may be done, or not"
        time.sleep(0.01)
        text = os.read(fd, 4096)
        expect(text.startswith(b"Operation: Set\n") and wanted in text, "the result is", text)


def remove(path):
    """The kernel's word of a close comes later than close() returns."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            os.unlink(path)
            return
        except OSError as error:
            expect(error.errno == errno.EBUSY and time.monotonic() < until, error)


def names(mount):
    """Made, renamed and removed: each once, with no error."""
    one, other = os.path.join(mount, "name-1.img"), os.path.join(mount, "name-2.img")
    for number in rounds():
        fd = os.open(one, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(fd, 1 << 20)
        os.pwrite(fd, b"%d" % number, 0)
        os.close(fd)
        while True:
            try:
                os.rename(one, other)
                break
            except OSError as error:
                expect(error.errno == errno.EBUSY, error)
        expect(os.stat(other).st_size == 1 << 20 and not os.path.exists(one), "not renamed")
        remove(other)
        expect(not os.path.exists(other), "not removed")


def pause(disk):
    """How long a request takes at most."""
    fd, longest, count = os.open(disk, os.O_RDWR), 0, 0
    for number in rounds():
        before = time.monotonic()
        os.pwrite(fd, b"%512d" % number, 0)
        expect(os.pread(fd, 512, 0) == b"%512d" % number, "another block than was written")
        longest = max(longest, time.monotonic() - before)
        count += 2
        if number % 16 == 0:
            os.fsync(fd)
    print(f"{count} requests; the longest pause was {longest * 1000:.0f} ms")


globals()[sys.argv[1]](sys.argv[2])

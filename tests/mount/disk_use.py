#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""disk_use.py GROUP MNT DISKS

What can be done with a disk file once it is there. The groups are the functions below that end in _group; files.test
runs them.
"""
import errno
import fcntl
import mmap
import os
import signal
import stat
import struct
import sys
import time

from disk_calls import (COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, Opened, backing, blocks,
                        bytes_of, fallocate, in_child, make, must, name_of, ok, refused, run, same_attributes, served)


# ---- What passes to the image ----

def attributes_group():
    make(b"a.img")
    for mode in 0o600, 0o664, 0o400:
        os.chmod(served(b"a.img"), mode)
        must(stat.S_IMODE(os.stat(backing(b"a.img")).st_mode) == mode, f"chmod {mode:o} reaches the image")
        same_attributes(b"a.img")
    with Opened(b"a.img") as fd:
        os.fchmod(fd, 0o644)
        os.utime(fd, ns=(1111111111123456789, 2222222222987654321))
    image = os.stat(backing(b"a.img"))
    must((image.st_atime_ns, image.st_mtime_ns) == (1111111111123456789, 2222222222987654321),
         "futimens reaches the image to the nanosecond")
    os.utime(served(b"a.img"), ns=(1000000000, 2000000000))
    must(os.stat(backing(b"a.img")).st_mtime_ns == 2000000000, "utimens reaches the image")
    os.utime(served(b"a.img"))
    must(abs(os.stat(backing(b"a.img")).st_mtime - time.time()) < 60, "touch sets the time of now")
    same_attributes(b"a.img")
    if os.geteuid() == 0:
        for owner in (12345, 54321), (-1, 7), (0, 0):
            os.chown(served(b"a.img"), *owner)
            same_attributes(b"a.img")
        image = os.stat(backing(b"a.img"))
        must((image.st_uid, image.st_gid) == (0, 0), "chown reaches the image")
    opening = os.fork()
    if opening == 0:
        while True:
            os.close(os.open(served(b"a.img"), os.O_RDONLY))
    try:
        for number in range(300):
            os.chmod(served(b"a.img"), 0o600 + number % 64)
            same_attributes(b"a.img")
    finally:
        os.kill(opening, signal.SIGKILL)
        os.waitpid(opening, 0)
    ok("also while somebody opens and closes it")
    os.utime(served(b"a.img"), ns=(0, 1000000000))
    with Opened(b"a.img") as fd:
        os.pwrite(fd, b"x", 0)
        must(abs(os.fstat(fd).st_mtime - time.time()) < 60, "a write moves the mtime")
    ok("mode, owner and times are those of the image")


def xattr_group():
    make(b"xattr.img")
    for name in b"user.test", b"trusted.test", b"security.selinux":
        refused(errno.EOPNOTSUPP, f"setxattr {name}", os.setxattr, served(b"xattr.img"), name, b"1")
        refused(errno.EOPNOTSUPP, f"getxattr {name}", os.getxattr, served(b"xattr.img"), name)
        refused(errno.EOPNOTSUPP, f"removexattr {name}", os.removexattr, served(b"xattr.img"), name)
    refused(errno.EOPNOTSUPP, "listxattr", os.listxattr, served(b"xattr.img"))
    with Opened(b"xattr.img") as fd:
        refused(errno.EOPNOTSUPP, "fsetxattr", os.setxattr, fd, b"user.test", b"1")


def statfs_group():
    ours, image = os.statvfs(served(b"")), os.statvfs(backing(b""))
    must(ours.f_blocks * ours.f_frsize == image.f_blocks * image.f_frsize,
         f"statfs: {ours.f_blocks * ours.f_frsize} bytes, below DISKDIR {image.f_blocks * image.f_frsize}")
    must(0 < ours.f_bavail * ours.f_frsize <= image.f_blocks * image.f_frsize, "statfs: the free space")
    must(ours.f_namemax >= 255, "statfs: the longest name")
    ok("statfs tells of the file system below")


# ---- Locks ----

def try_flock(how):
    with Opened(b"l.img") as fd:
        fcntl.flock(fd, how | fcntl.LOCK_NB)


def try_lockf(how, start, length):
    with Opened(b"l.img") as fd:
        fcntl.lockf(fd, how | fcntl.LOCK_NB, length, start)


def try_ofd(start, length):
    with Opened(b"l.img") as fd:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))


def answers(number, what, call):
    got = in_child(call)
    must(got == number, f"{what}: {name_of(got)}, not {name_of(number)}")
    ok(what)


def locks_group():
    make(b"l.img")
    exclusive, shared = fcntl.LOCK_EX, fcntl.LOCK_SH
    with Opened(b"l.img") as fd:
        fcntl.flock(fd, exclusive)
        answers(errno.EAGAIN, "flock keeps others out", lambda: try_flock(shared))
        fcntl.flock(fd, shared)
        answers(0, "shared flocks go together", lambda: try_flock(shared))
        answers(errno.EAGAIN, "not with an exclusive one", lambda: try_flock(exclusive))
    answers(0, "close gives it up", lambda: try_flock(exclusive))
    with Opened(b"l.img") as fd:
        fcntl.lockf(fd, exclusive, 100, 1000)
        answers(errno.EAGAIN, "a record lock keeps others out", lambda: try_lockf(exclusive, 1050, 10))
        answers(errno.EAGAIN, "readers too", lambda: try_lockf(shared, 1099, 10))
        answers(0, "of its own bytes", lambda: try_lockf(exclusive, 1100, 10))
        answers(errno.EAGAIN, "an OFD lock sees it", lambda: try_ofd(0, 0))
        fcntl.lockf(fd, fcntl.LOCK_UN, 0, 0)
        answers(0, "unlocking gives it up", lambda: try_lockf(exclusive, 0, 0))
    blocking_lock()


def blocking_lock():
    """A lock waits for its owner's end, even by a signal."""
    ready, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(served(b"l.img"), os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.write(write_end, b"x")
        time.sleep(1)
        os.kill(os.getpid(), 9)
    os.read(ready, 1)
    begun = time.monotonic()
    with Opened(b"l.img") as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        must(time.monotonic() - begun > 0.1, "the lock was waited for")
    os.waitpid(pid, 0)
    ok("a blocked lock is given when its owner is killed")


# ---- Holes ----

def holes_group():
    content = bytearray(make(b"h.img", size=4 << 20))
    os.sync()
    full = blocks(b"h.img")
    with Opened(b"h.img") as fd:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 1 << 20, 1 << 20)
        content[1 << 20:2 << 20] = bytes(1 << 20)
        must(blocks(b"h.img") <= full - 2000, "a punch gives the space back")
        fallocate(fd, ZERO_RANGE | KEEP_SIZE, 3 << 20, 65536)
        content[3 << 20:(3 << 20) + 65536] = bytes(65536)
        must(os.lseek(fd, 0, os.SEEK_HOLE) == 1 << 20, "SEEK_HOLE finds the hole")
        must(os.lseek(fd, 1 << 20, os.SEEK_DATA) == 2 << 20, "SEEK_DATA finds its end")
        refused(errno.ENXIO, "SEEK_DATA past the end", os.lseek, fd, 4 << 20, os.SEEK_DATA)
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 8 << 20, 4096)
        must(os.fstat(fd).st_size == 4 << 20, "a punch past the end changes nothing")
        fallocate(fd, ZERO_RANGE, (4 << 20) - 4096, 8192)
        content[-4096:] = bytes(8192)
        must(os.fstat(fd).st_size == (4 << 20) + 4096, "a zero range without KEEP_SIZE grows the disk")
        refused(errno.EOPNOTSUPP, "collapse", fallocate, fd, COLLAPSE_RANGE, 0, 4096)
        refused(errno.EOPNOTSUPP, "insert", fallocate, fd, INSERT_RANGE, 0, 4096)
        refused(errno.EINVAL, "a punch of nothing", fallocate, fd, PUNCH_HOLE | KEEP_SIZE, 0, 0)
    must(bytes_of(served(b"h.img")) == content == bytes_of(backing(b"h.img")), "the bytes, and those of the image")
    with Opened(b"h.img", os.O_RDONLY) as fd:
        refused(errno.EBADF, "a punch through a read-only descriptor", fallocate, fd, PUNCH_HOLE | KEEP_SIZE, 0, 4096)
    ok("holes are holes")


# ---- Reading and writing otherwise ----

RECORD = 64


def append_records(name, which, count):
    with Opened(name, os.O_WRONLY | os.O_APPEND) as fd:
        for i in range(count):
            record = f"{which} {i}".encode().ljust(RECORD - 1) + b"\n"
            must(os.write(fd, record) == RECORD, "a record is written whole")


def append_group():
    make(b"append.img", b"")
    pids = []
    for which in range(4):
        pids.append(os.fork())
        if pids[-1] == 0:
            append_records(b"append.img", which, 200)
            os._exit(0)
    for pid in pids:
        must(os.waitpid(pid, 0)[1] == 0, "a writer ended well")
    records = bytes_of(served(b"append.img")).split(b"\n")[:-1]
    wanted = sorted(f"{which} {i}".encode().ljust(RECORD - 1) for which in range(4) for i in range(200))
    must(sorted(records) == wanted, f"{len(set(records))} of 800 appended records are there")
    ok("four processes append, nothing is lost")


def copy_group():
    content = make(b"from.img", size=300000)
    with Opened(b"from.img", os.O_RDONLY) as source, Opened(b"to.img", os.O_RDWR | os.O_CREAT) as target:
        done = 0
        while done < len(content):
            done += os.copy_file_range(source, target, len(content) - done)
        must(bytes_of(served(b"to.img")) == content, "copy_file_range")
        with open(backing(b".plain"), "w+b") as plain:
            os.lseek(source, 0, os.SEEK_SET)
            while os.sendfile(plain.fileno(), source, None, 1 << 20):
                pass
            must(bytes_of(backing(b".plain")) == content, "sendfile from a disk")
            os.lseek(target, 0, os.SEEK_SET)
            plain.seek(0)
            while os.sendfile(target, plain.fileno(), None, 1 << 20):
                pass
    must(bytes_of(backing(b"to.img")) == content, "sendfile to a disk")
    ok("copy_file_range and sendfile")


def mapped_group():
    """Shared mappings; exit status 77 where the kernel has none."""
    content = bytearray(make(b"m.img", size=100000))
    with Opened(b"m.img") as fd, mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        must(mapped[:] == content, "a private mapping shows the bytes")
    with Opened(b"m.img") as fd:
        try:
            mapped = mmap.mmap(fd, 0)
        except OSError as error:
            must(error.errno == errno.ENODEV, f"a shared mapping: {name_of(error.errno)}")
            print(f"skipped: shared mappings: {name_of(error.errno)}")
            sys.exit(77)
        must(mapped[:] == content, "a shared mapping shows the bytes")
        mapped[5000:5005] = content[5000:5005] = b"first"
        must(os.pread(fd, 5, 5000) == b"first", "a read sees what was stored")
        os.pwrite(fd, b"second", 20000)
        content[20000:20006] = b"second"
        must(mapped[20000:20006] == b"second", "the mapping sees what was written")
        mapped[-4:] = content[-4:] = b"last"
        mapped.flush()
        must(bytes_of(backing(b"m.img")) == content, "msync brings it to the image")
        os.ftruncate(fd, 200000)
        mapped.resize(200000)
        must(mapped[100000:] == bytes(100000), "what was added is zeros")
        mapped[150000:150003] = b"new"
        mapped.close()
    must(bytes_of(served(b"m.img"))[150000:150003] == b"new", "close brings it to the disk")
    ok("shared mappings")


run(globals())

# SPDX-License-Identifier: GPL-2.0-or-later
"""What the groups of disk_names.py and disk_use.py are made of.

A group is a function. It makes its own disks, before or behind the mount, and prints a line for each thing that is
right; the first that is wrong ends it. Every call that is to fail is checked for its exact errno.
"""
import ctypes
import errno
import os
import random
import sys
import time

PLACES = {}  # "MNT" and "DISKS", the bytes of their paths

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32
NOREPLACE, EXCHANGE = 1, 2
AT_FDCWD = -100

libc = ctypes.CDLL(None, use_errno=True)


# ---- Saying what is right, and what is not ----

def ok(what):
    print("ok:", what)


def must(truth, what):
    if not truth:
        sys.exit(f"FAIL: {what}")


def name_of(number):
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"  # Python prefers ENOTSUP, the other name of that number
    return errno.errorcode.get(number, str(number))


def refused(number, what, call, *args, **more):
    """The call fails with exactly this errno, or with one of several."""
    numbers = number if isinstance(number, tuple) else (number,)
    wanted = " or ".join(map(name_of, numbers))
    try:
        call(*args, **more)
    except OSError as error:
        must(error.errno in numbers, f"{what}: {name_of(error.errno)}, not {wanted}")
        ok(f"{what}: {name_of(error.errno)}")
        return
    sys.exit(f"FAIL: {what}: done, and should be {wanted}")


PATIENCE = float(os.environ.get("TANDEMFS_PATIENCE", "1"))


def eventually(seconds, truth, what):
    seconds *= PATIENCE
    ends = time.monotonic() + seconds
    def true_by_now():
        try:
            return truth()
        except OSError:
            return False  # a file that is not there yet

    while not true_by_now():
        must(time.monotonic() < ends, f"{what}: not within {seconds} s")
        time.sleep(0.02)


# ---- Calls that Python lacks ----

def called(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "")


def fallocate(fd, mode, offset, length):
    called(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def renameat2(old, new, flags):
    called(libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, flags))


# ---- Disks ----

def served(name):
    return os.path.join(PLACES["MNT"], name)


def backing(name):
    return os.path.join(PLACES["DISKS"], name)


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def make(name, content=None, size=65536):
    """An image in DISKDIR, published whole, as a rename does it; returns its content."""
    content = random.randbytes(size) if content is None else content
    with open(backing(b".making"), "wb") as file:
        file.write(content)
    os.rename(backing(b".making"), backing(name))
    eventually(5, lambda: os.path.exists(served(name)), f"{name} appears")
    return content


class Opened:
    """A descriptor for a `with`."""

    def __init__(self, name, flags=os.O_RDWR, mode=0o666):
        self.fd = os.open(served(name), flags, mode)

    def __enter__(self):
        return self.fd

    def __exit__(self, *_):
        os.close(self.fd)


def open_and_close(name, flags, mode=0o666):
    with Opened(name, flags, mode):
        pass


def remove(name):
    """A file just closed may count as open for a moment; one group insists that it does not."""
    def removed():
        try:
            os.unlink(served(name))
        except OSError as error:
            must(error.errno == errno.EBUSY, f"removing {name}: {name_of(error.errno)}")
            return False
        return True
    eventually(5, removed, f"removing {name}")


def rename(old, new):
    def renamed():
        try:
            os.rename(served(old), served(new))
        except OSError as error:
            must(error.errno == errno.EBUSY, f"renaming {old}: {name_of(error.errno)}")
            return False
        return True
    eventually(5, renamed, f"renaming {old}")


def same_attributes(name):
    ours, image = os.lstat(served(name)), os.lstat(backing(name))
    for what in "st_mode", "st_size", "st_blocks", "st_uid", "st_gid", "st_mtime_ns", "st_nlink":
        must(getattr(ours, what) == getattr(image, what),
             f"{name}: {what} is {getattr(ours, what)}, that of the image {getattr(image, what)}")


def blocks(name):
    same_blocks = os.stat(served(name)).st_blocks
    image = os.stat(backing(name)).st_blocks
    must(same_blocks == image, f"{name}: st_blocks is {same_blocks}, that of the image {image}")
    return same_blocks


def in_child(call):
    """What the call does in another process: its errno, or 0."""
    pid = os.fork()
    if pid == 0:
        number = 0
        try:
            call()
        except OSError as error:
            number = error.errno
        os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def as_nobody(call, *args):
    def run():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        call(*args)
    return in_child(run)


def run(groups):
    """GROUP MNT DISKS, from the command line: the group is the function of that name."""
    group, mount_point, disk_directory = sys.argv[1:]
    PLACES.update(MNT=os.fsencode(mount_point), DISKS=os.fsencode(disk_directory))
    random.seed(group)
    groups[group + "_group"]()

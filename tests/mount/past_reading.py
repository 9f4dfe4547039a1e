# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model of a disk with a past reads and commands, while the daemon may die at any time."""
import collections
import datetime
import errno
import os
import time

from disk_calls import PLACES
from replication import lines, told, tree

BLOCK = 4096
DEAD = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNREFUSED)
GIVEN_UP = (errno.ENOENT, errno.ESTALE)
YOUNG = 5  # seconds; what is no older is not given up just now, if the window is a multiple of that

# A moment that is kept: gN, when, the same as it is written, and the name of a snapshot or None
Kept = collections.namedtuple("Kept", "generation seconds time name")


class Died(Exception):
    """The daemon is gone."""


def calling(call, *args):
    """The call, and Died if nobody answers it any more."""
    try:
        return call(*args)
    except OSError as error:
        # A mount that was taken away leaves its directory.
        if error.errno in DEAD or (error.errno == errno.ENOENT and not os.path.exists(tree("control"))):
            raise Died from None
        raise


def command(text, where):
    # A daemon that dies between the write and the read has perhaps done it.
    number, result = calling(told, text, where)
    if number in DEAD:
        raise Died
    return number, result


def served(disk):
    """Where the mount has what is in that image."""
    name = os.fsencode(disk)
    return os.path.join(PLACES["MNT"], name if name.endswith(b".img") else name + b".raw")


def content(path):
    fd = calling(os.open, path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: calling(os.read, fd, 1 << 20), b""))
    finally:
        os.close(fd)


def values(data):
    """The number that each block holds all over, 0 for zeros, None for what nobody wrote."""
    found = []
    for at in range(0, len(data), BLOCK):
        word = data[at:at + 8]
        whole = data[at:at + BLOCK] == word * (BLOCK // 8)
        found.append(int.from_bytes(word, "little") if whole else None)
    return found


def kept(disk):
    """All moments, the oldest first."""
    found = []
    for line in calling(lines, "disks", disk, "history"):
        words = line.split()
        seconds = datetime.datetime.fromisoformat(words[1].replace("Z", "+00:00")).timestamp()
        found.append(Kept(words[0], seconds, words[1], words[3] if len(words) > 3 else None))
    return found


def stays(disk):
    """Those that nobody gives up meanwhile."""
    return [moment for moment in kept(disk) if moment.name or moment.seconds > time.time() - YOUNG]


def at(disk, moment):
    """What each block held then; None if that is not kept any more."""
    try:
        return values(content(tree("disks", disk, "at", moment + ".raw")))
    except OSError as error:
        if error.errno in GIVEN_UP:
            return None
        raise

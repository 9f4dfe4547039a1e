#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""closes.py GROUP MOUNTPOINT DISKDIR [DIRECTORY]: commands that come right after the close of what they need closed.

The control file is open already, so nothing lies between the close and the command. closes.test says what each
group proves.
"""
import os
import sys

from disk_calls import name_of, ok, served
from replication import begin, control, done, fields, tree, write

ROUNDS = max(20, int(os.environ.get("TANDEMFS_SCALE", "100")))


def opened_and_closed(path, flags, often=16):
    """Often, so that the daemon has not heard of all of them when the last has returned."""
    fds = [os.open(path, flags) for _ in range(often)]
    if flags == os.O_RDONLY:
        os.pread(fds[0], 4096, 0)
    else:
        os.pwrite(fds[0], os.urandom(4096), 0)
    for fd in fds:
        os.close(fd)


def overtakes(path, where, command, flags=os.O_RDONLY, undo=None, rounds=ROUNDS):
    """Nobody but we has opened it, and we have closed it: the command is done."""
    fd = os.open(where, os.O_RDWR)
    for turn in range(rounds):
        opened_and_closed(path, flags)
        number = write(fd, command)
        if number:
            os.lseek(fd, 0, os.SEEK_SET)
            sys.exit(f"FAIL: {command} just after close, turn {turn}: {name_of(number)}: "
                     f"{fields(os.read(fd, 65536)).get('Message')}")
        if undo:
            undo()
    os.close(fd)
    ok(f"{command} just after close, {rounds} times")


def make(*names):
    for name in names:
        done(f"CreateDisk Name={name} Size=1M")


def disk_group():
    make("a.img")
    a = served(b"a.img")
    overtakes(a, control(), "Plan DeleteDisk Name=a.img")
    overtakes(a, control("a.img"), "Plan Resize Size=64K Force", os.O_RDWR)
    overtakes(a, control("a.img"), "Set ReadOnly=true", undo=lambda: done("Set ReadOnly=false", control("a.img")))
    overtakes(a, control(), "DeleteDisk Name=a.img", os.O_RDWR, undo=lambda: make("a.img"))


def pool_group(directory):
    add = f"AddPool Name=p Dir={directory}"
    done(add)
    done("CreateDisk Name=p:x.img Size=1M")
    overtakes(served(b"p/x.img"), control(), "Plan RemovePool Name=p")
    overtakes(served(b"p/x.img"), control(), "RemovePool Name=p", undo=lambda: done(add), rounds=ROUNDS // 4)


def past_group():
    make("a.img")
    a, one = served(b"a.img"), tree("disks", "a.img", "snapshots", "one.raw")
    done("snapshot one", control("a.img"))
    replica = tree("replicas", "a.img@one", "control")
    overtakes(a, control("a.img"), "Plan RestoreTo At=one", os.O_RDWR)
    overtakes(one, control("a.img"), "Plan unsnapshot one")
    overtakes(one, replica, "ResyncReplica", rounds=ROUNDS // 4)
    overtakes(one, replica, "Deactivate", undo=lambda: done("Activate", replica), rounds=ROUNDS // 4)


def mirror_group():
    make("a.img", "b.img")
    a, b, m = served(b"a.img"), served(b"b.img"), tree("replicas", "m", "control")
    overtakes(b, control("a.img"), "Plan CreateReplica SyncType=Mirror TargetStorageVolume=b.img TargetElementSupplier=1 ElementName=m")
    done("CreateReplica SyncType=Mirror TargetStorageVolume=b.img TargetElementSupplier=1 ElementName=m wait", control("a.img"))
    overtakes(b, m, "Plan Failover")
    overtakes(b, m, "Failover", undo=lambda: done("Failback wait", m), rounds=ROUNDS // 4)
    done("Split", m)
    opened_and_closed(a, os.O_RDWR)
    overtakes(a, m, "Plan RestoreFromReplica")
    overtakes(b, m, "Plan ResyncReplica Force", os.O_RDWR)
    done("ResyncReplica Force wait", m)


def group_group():
    """After mirror_group."""
    done("CreateGroup Name=g")
    g = tree("groups", "g", "control")
    done("AddDisk Name=a.img", g)
    done("AddSyncPair Name=m", g)
    done("snapshot one", g)
    overtakes(served(b"b.img"), g, "Plan ReverseRoles")
    overtakes(served(b"a.img"), g, "Plan RestoreTo At=one")
    overtakes(tree("disks", "a.img", "snapshots", "one.raw"), g, "Plan unsnapshot one")


if __name__ == "__main__":
    begin(*sys.argv[2:4])
    globals()[sys.argv[1] + "_group"](*sys.argv[4:])

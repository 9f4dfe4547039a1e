#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""groups_cells.py CONTROL GROUP STATE: what each operation gives on a group whose mirrors are all in this CopyState.

CONTROL is the directory .replication of a mount. Everything is only planned, so nothing changes.
"""
import errno
import os
import sys

# Initialized, Synchronized, Fractured, Split, Inactive, Suspended, Failedover, Prepared, Aborted, Skewed:
# + is possible, = success with nothing done, - EBUSY, ! EPERM without Force.
STATES = ("Initialized", "Synchronized", "Fractured", "Split", "Inactive", "Suspended", "Failedover", "Prepared", "Aborted",
          "Skewed")
CELLS = {
    (3, "ActivateConsistency"): "++++++++++",
    (6, "DeactivateConsistency"): "++++++++++",
    (8, "Detach"): "++++++!+++",
    (10, "Failover"): "-+++-+=-+-",
    (11, "Failback"): "-=----+---",
    (14, "ResyncReplica"): "-=++----+!",
    (16, "Resume"): "-=---+----",
    (20, "ReverseRoles"): "-+++--+---",
    (21, "Split"): "-+-=------",
    (22, "Suspend"): "-+---=----",
}
# Of the disks of a group, of which it has none here; they need a name; they are of one relationship.
OTHERS = {
    (2, "Abort"): errno.EBUSY, (5, "AddSyncPair"): errno.EINVAL, (13, "RemoveSyncPair"): errno.EINVAL,
    **{op: errno.EOPNOTSUPP for op in (
        (4, "Activate"), (7, "Deactivate"), (9, "Dissolve"), (12, "Fracture"), (15, "RestoreFromReplica"),
        (17, "ResetToSync"), (18, "ResetToAsync"), (19, "ReturnToResourcePool"), (23, "Unprepare"), (24, "Prepare"),
        (25, "ResetToAdaptive"))},
}


def tell(control, command):
    """The errno, 0, and the result as a dictionary."""
    fd = os.open(control, os.O_RDWR)
    number = 0
    try:
        os.write(fd, command.encode())
    except OSError as error:
        number = error.errno
    result = dict(line.split(": ", 1) for line in os.pread(fd, 4096, 0).decode().splitlines() if ": " in line)
    os.close(fd)
    return number, result


def main(control, group, state):
    here = os.path.join(control, "groups", group, "control")
    count = len(os.listdir(os.path.join(control, "replicas")))
    cells = {op: row[STATES.index(state)] for op, row in CELLS.items()}
    for (number, name), cell in {**cells, **OTHERS}.items():
        wanted = {"+": 0, "=": 0, "-": errno.EBUSY, "!": errno.EPERM}.get(cell, cell)
        for command in f"Plan {name}", f"Plan {number}":
            got, result = tell(here, command)
            assert got == wanted, f"{command} of {state}: {errno.errorcode.get(got)}, {result}"
            assert result["Operation"] == f"Plan {name}" and result["Message"], result
        if cell == "-":
            assert f"CopyState is {state}; {name} needs " in result["Message"], result
        elif cell == "!":
            assert result["RecommendedActions"] == f"{name} with Force", result
            assert tell(here, f"Plan {name} Force")[0] == 0, name
        elif cell == "=":
            assert result["Message"] == "all mirrors are so already; nothing would be done", result
        elif cell == "+" and number > 6:
            assert result["Message"].startswith(f"{count} mirrors would be "), result
        elif wanted == errno.EOPNOTSUPP:
            assert result["Message"] == f"{name} is for one relationship, not for a group", result
    with open(os.path.join(control, "groups", group, "CopyState"), encoding="utf-8") as file:
        assert file.read() == f"{state}\n"


assert len(CELLS) + len(OTHERS) == 24
main(*sys.argv[1:])

# SPDX-License-Identifier: GPL-2.0-or-later
"""What mirrors cost apart from writes that are answered by both: bursts, copies, guests beside copies, crashes.

Rows of MIRROR_EXTRAS are Extras. What is compared alternates, on the same disk or on two new ones, and each value is of one
such round.
"""
import contextlib
import functools
import json
import os
import signal
import subprocess
import time

import process
from mirrors import launch_tandemfs_mirror
from past import forget_cached, held_open, launch_tandemfs, measure_past
from process import BenchError
from profiles import PAST_PROFILES
from systems import COMMAND_SECONDS, TANDEM_TOOLS, System, Tandem, write_image

DISK, NAME = "x.img", "m"
ROUNDS = 3
COPY_BYTES = 1 << 30          # of which a guest's disk is a copy's source
GUEST_SECONDS, COPY_RAMP = 1.5, 0.2
CRASH_SECONDS = 1
STATE_BYTES = 4 << 20         # what a copy writes that is no copy, at most
WRITTEN_SHARE = 10            # one such part of the disk is written when the daemon is killed


class Mirrored:
    """One written disk of a tandemfs of its own, which can have a mirror."""

    def __init__(self, tandem, size, undo):
        self.tandem, self.size, self.undo = tandem, size, undo
        self.path = os.path.join(tandem.mountpoint, DISK)

    def mirror(self, words=""):
        self.tandem.tell(DISK, f"CreateReplica SyncType=Mirror TargetStorageVolume=y.img ElementName={NAME} {words}")

    def replica(self, words):
        self.tandem.tell(NAME, words, "replicas")

    def status(self):
        def read():
            with open(os.path.join(self.tandem.mountpoint, ".replication", "status.json"), encoding="utf-8") as text:
                return json.load(text)
        return process.within(process.START_SECONDS, read)

    def facts(self):
        """What is known of the mirror."""
        return self.status()["Replicas"][NAME]

    def written_bytes(self):
        """All that the daemon gave to the device."""
        with open(f"/proc/{self.status()['Daemon']['Pid']}/io", encoding="utf-8") as text:
            return int(next(line.split()[1] for line in text if line.startswith("write_bytes")))

    def end_mirror(self):
        """Its image goes too, so that the next one begins like this one did."""
        self.replica("Detach Force wait")
        for ending in ("", ".incomplete"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.tandem.diskdir, "y.img" + ending))
        os.sync()


@contextlib.contextmanager
def mirrored_disk(fleet, size):
    diskdir = os.path.join(fleet.workspace, "disks")
    os.makedirs(diskdir)
    write_image(os.path.join(diskdir, DISK), size)
    tandem = Tandem(fleet.settings, diskdir, fleet.leftovers)
    try:
        tandem.start(fleet.undo)
        yield Mirrored(tandem, size, fleet.undo)
    finally:
        tandem.stop()


def rounds_of(fleet):
    return 1 if fleet.settings.quick else ROUNDS


def alternating(number, calls):
    """Calls each of {name: call} once, in an order that rotates with the rounds; {name: what it gave}."""
    names = list(calls)
    shift = number % len(names)
    return {name: calls[name]() for name in names[shift:] + names[:shift]}


@contextlib.contextmanager
def guest(path, size, depth, seconds):
    """fio with random writes of 4 KiB, which is ended when nobody waits for it."""
    fio = subprocess.Popen(["fio", "--name=guest", f"--filename={path}", "--rw=randwrite", "--bs=4k", "--direct=1",
                            "--ioengine=libaio", f"--iodepth={depth}", "--time_based", f"--runtime={round(seconds * 1000)}ms",
                            f"--size={size}", "--allow_file_create=0", "--thread", "--output-format=json"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                           start_new_session=True)
    try:
        yield fio
    finally:
        if fio.poll() is None:
            fio.kill()
            fio.communicate()


def guest_iops(path, size, depth, seconds):
    with guest(path, size, depth, seconds) as fio:
        out, _ = fio.communicate(timeout=seconds + process.START_SECONDS)
    if fio.returncode:
        raise BenchError(f"fio ended with {fio.returncode}")
    return json.loads(out[out.index("{"):])["jobs"][0]["write"]["iops"]


# --- bursts -----------------------------------------------------------------------------------------------------------

def async_burst(fleet, depth):
    """first-burst of the suite past, with an asynchronous mirror in step instead of a snapshot."""
    (profile,) = (one for one in PAST_PROFILES if one.name == f"first-burst-qd{depth}")
    systems = {"plain": System("plain", "", TANDEM_TOOLS, functools.partial(launch_tandemfs, plain=True)),
               "mirror": System("mirror", "", TANDEM_TOOLS,
                                functools.partial(launch_tandemfs_mirror, words="Mode=Asynchronous"))}

    def burst(system, number):
        return measure_past(fleet.settings, fleet.workspace, fleet.undo, fleet.leftovers, number, profile, system).iops
    values = []
    for number in range(rounds_of(fleet)):
        iops = alternating(number, {name: functools.partial(burst, one, number) for name, one in systems.items()})
        values.append(iops["mirror"] / iops["plain"])
    return values


# --- copies -----------------------------------------------------------------------------------------------------------

def initial_copy(fleet):
    """cp's time divided by the copy's. Before each, nothing of the image is in the page cache and nothing is to be written
    back; both end when the copy is on the medium."""
    def cp(disk):
        copy = os.path.join(fleet.workspace, "copy")
        forget_cached(fleet.workspace)
        before = time.monotonic()
        subprocess.run(["cp", "--reflink=never", "--sparse=never", os.path.join(disk.tandem.diskdir, DISK), copy], check=True,
                       stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, start_new_session=True)
        subprocess.run(["sync", copy], check=True, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, start_new_session=True)
        took = time.monotonic() - before
        os.unlink(copy)
        return took

    def mirror(disk):
        forget_cached(fleet.workspace)
        before = time.monotonic()
        disk.mirror(f"wait={COMMAND_SECONDS}s")
        took = time.monotonic() - before
        if disk.facts()["CopyState"] != "Synchronized":
            raise BenchError("its mirror is not in step")
        disk.end_mirror()
        return took
    values = []
    with mirrored_disk(fleet, fleet.settings.size) as disk:
        for number in range(rounds_of(fleet)):
            took = alternating(number, {"cp": functools.partial(cp, disk), "mirror": functools.partial(mirror, disk)})
            values.append(took["cp"] / took["mirror"])
    return values


def copy_beside(disk, depth, priority):
    """While all of the disk is copied with this priority, or without a copy."""
    if priority:
        disk.mirror(f"CopyPriority={priority}")
        time.sleep(COPY_RAMP)
        before = disk.facts()
    iops = guest_iops(disk.path, disk.size, depth, GUEST_SECONDS)
    if priority:
        after = disk.facts()
        if after["CopyState"] != "Unsynchronized":
            raise BenchError(f"the copy is over before the guest: {after['CopyState']}")
        if after["BehindBytes"] >= before["BehindBytes"]:
            raise BenchError("the copy makes no progress")
        disk.end_mirror()
    return iops


def guest_beside_copy(fleet, depth, priority):
    values = []
    with mirrored_disk(fleet, COPY_BYTES * (1 if priority == "Low" else 4)) as disk, held_open(disk.path):
        for number in range(rounds_of(fleet)):
            iops = alternating(number, {name: functools.partial(copy_beside, disk, depth, name) for name in (None, priority)})
            values.append(iops[priority] / iops[None])
    return values


# --- crashes ----------------------------------------------------------------------------------------------------------

def crash(disk):
    """The daemon is killed under a guest's writes, and another one serves."""
    died = disk.status()["Daemon"]["Pid"]
    with guest(disk.path, disk.size // WRITTEN_SHARE, 32, CRASH_SECONDS + process.START_SECONDS) as fio:
        time.sleep(CRASH_SECONDS)
        if fio.poll() is not None:
            raise BenchError(f"fio ended with {fio.returncode}")
        os.kill(died, signal.SIGKILL)
    if disk.status()["Daemon"]["Pid"] == died:
        raise BenchError("the daemon did not die")


def resync(fleet):
    """Per cent of the disk that are copied, which are what is marked: what was active, and 64 MiB that lie ahead of it. Somebody
    has to ask for the copy, so that what is marked can be read first."""
    values = []
    with mirrored_disk(fleet, fleet.settings.size) as disk:
        disk.mirror(f"CopyRecoveryMode=Manual wait={COMMAND_SECONDS}s")
        for _ in range(rounds_of(fleet)):
            crash(disk)
            before = disk.facts()
            if before["CopyState"] != "Suspended" or not before["BehindBytes"]:
                raise BenchError(f"nothing is marked: {before['CopyState']}")
            written = disk.written_bytes()
            disk.replica(f"Resume wait={COMMAND_SECONDS}s")
            copied = disk.written_bytes() - written
            if not 0 < copied <= before["BehindBytes"] + STATE_BYTES:
                raise BenchError(f"{copied} bytes are copied, {before['BehindBytes']} were marked")
            values.append(copied * 100 / disk.size)
    return values


def _guest_row(depth, priority, least):
    return (f"guest-{priority.lower()}-qd{depth}", f"4 KiB writes QD{depth} beside a copy, CopyPriority={priority} / without",
            "times", None, functools.partial(guest_beside_copy, depth=depth, priority=priority), "mirrors", least)


MIRROR_EXTRAS = (
    *((f"async-burst-qd{depth}", f"burst of 4 KiB writes QD{depth}, asynchronous mirror / plain", "times", None,
       functools.partial(async_burst, depth=depth), "mirrors", 0.9) for depth in (1, 32)),
    ("copy", "initial copy / cp --reflink=never and fsync", "times", None, initial_copy, "mirrors", 0.8),
    *(_guest_row(depth, "Low", 0.9) for depth in (1, 32)),
    *(_guest_row(depth, "High", None) for depth in (1, 32)),
    ("resync", f"of the disk, copied after a kill under writes to a {WRITTEN_SHARE}th of it", "%", None, resync, "mirrors", None),
)

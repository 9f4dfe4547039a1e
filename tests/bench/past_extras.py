# SPDX-License-Identifier: GPL-2.0-or-later
"""What snapshots cost apart from I/O: time, the longest wait of a guest, metadata, memory. Rows of PAST_EXTRAS are Extras."""
import contextlib
import functools
import json
import os
import random
import subprocess
import threading
import time

import process
from mirror_extras import alternating, guest_iops
from past import held_open, mount_xfs
from process import BenchError
from profiles import PIECE_BYTES, TRACKED_BYTES
from systems import Slot, Tandem, sync, write_image

DISK = "x.img"
MANY, QUICK_MANY = 10_000, 200
TIMED = 50                    # snapshots of which the time is taken
SMALL_BYTES, LARGE_BYTES = 1 << 30, 64 << 40
XFS_BYTES = 2 << 30           # for a large image: ext4 has none of more than 16 TiB
LOAD_SECONDS, LOAD_ROUNDS, LOAD_PAUSE = 3, 5, 0.1
LOAD_BYTES = 512 << 20
READS = 2000
KEPT_BLOCKS = 1 << 16
PLAIN = "plain.img"
LATER_SECONDS, LATER_ROUNDS = 1, 24
SPREAD_WRITES = 20_000        # over a TiB: into each of the pages in which a bit stands for a block


class Past:
    """One disk of a tandemfs of its own."""

    def __init__(self, tandem, size):
        self.tandem, self.size = tandem, size
        self.path = os.path.join(tandem.mountpoint, DISK)

    def tell(self, words):
        self.tandem.tell(DISK, words)

    def snapshot(self, name):
        """Milliseconds that the command took."""
        before = time.monotonic()
        self.tell(f"snapshot {name}")
        return (time.monotonic() - before) * 1000

    def write(self, places):
        """A piece at each of these places, all different."""
        handle = os.open(self.path, os.O_WRONLY)
        try:
            for place in places:
                os.pwrite(handle, place.to_bytes(8, "little") * (PIECE_BYTES // 8), place)
        finally:
            os.close(handle)

    def settle(self):
        self.tell("Settle wait")
        process.within(process.START_SECONDS, sync, self.path)

    def resident_mib(self):
        return process.resident_bytes(self.tandem.pids()) / (1 << 20)

    def catalogue_bytes(self):
        """Of its pages that hold something, or did; ahead of them the file has room for all disks together. Nothing may be
        writing it."""
        told = subprocess.run(["mdb_stat", "-e", os.path.join(self.tandem.diskdir, ".tandem", "catalogue")],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60).stdout
        words = dict(line.strip().split(": ", 1) for line in told.splitlines() if ": " in line)
        return int(words["Number of pages used"]) * int(words["Page size"])

    def store_bytes(self):
        past = os.path.join(self.tandem.diskdir, ".tandem", "past")
        return sum(os.stat(os.path.join(directory, name)).st_blocks * 512
                   for directory, _, names in os.walk(past) if os.path.basename(directory) == "store" for name in names)


@contextlib.contextmanager
def past_of(fleet, size, written=False, parent=None, options=(), others=()):
    """One image that a guest has open; stopped at the end. others: files of the workspace that are beside it."""
    diskdir = os.path.join(parent or fleet.workspace, "disks")
    os.makedirs(diskdir)
    for name in others:
        os.rename(os.path.join(fleet.workspace, name), os.path.join(diskdir, name))
    if written:
        write_image(os.path.join(diskdir, DISK), size)
    else:
        with open(os.path.join(diskdir, DISK), "wb") as image:
            image.truncate(size)
    tandem = Tandem(fleet.settings, diskdir, fleet.leftovers, options)
    try:
        tandem.start(fleet.undo)
        past = Past(tandem, size)
        with held_open(past.path):
            yield past
    finally:
        tandem.stop()


@contextlib.contextmanager
def large_past(fleet):
    """64 TiB, none of it written. The state is there too."""
    with process.cleaning_in(fleet.undo) as undo:
        slot = Slot(fleet.workspace, 0, undo, fleet.leftovers, fleet.settings)
        with past_of(fleet, LARGE_BYTES, parent=mount_xfs(slot, XFS_BYTES)) as past:
            yield past


def many(fleet):
    return QUICK_MANY if fleet.settings.quick else MANY


def small_past(fleet):
    return past_of(fleet, SMALL_BYTES)


# --- time -------------------------------------------------------------------------------------------------------------

def snapshot_times(fleet, disk, before):
    """Of an idle disk of which a block was written since the last one, as at the others."""
    before = min(before, many(fleet))
    with disk(fleet) as past:
        blocks = random.Random(before).sample(range(min(past.size, SMALL_BYTES) // TRACKED_BYTES), before + TIMED)
        for number in range(before):
            past.write([blocks[number] * TRACKED_BYTES])
            past.snapshot(f"before{number}")
        past.settle()
        milliseconds = []
        for number in range(TIMED):
            past.write([blocks[before + number] * TRACKED_BYTES])
            time.sleep(0.02)
            milliseconds.append(past.snapshot(f"timed{number}"))
        return milliseconds


def slow_write(past, snapshots):
    """Milliseconds, with or without a snapshot each tenth of a second; and how long these took. Of 10,000 writes one takes
    longer: those that are under way when one single snapshot stalls them all are more than that. The longest of all is
    the device's, and differs by tens of milliseconds from run to run."""
    fio = subprocess.Popen(["fio", "--name=load", f"--filename={past.path}", "--rw=randwrite", "--bs=4k", "--direct=1",
                            "--ioengine=libaio", "--iodepth=32", "--time_based", f"--runtime={LOAD_SECONDS}",
                            f"--size={past.size}", "--allow_file_create=0", "--thread", "--output-format=json"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                           start_new_session=True)
    took, ended = [], threading.Event()

    def take():
        while not ended.wait(LOAD_PAUSE):
            took.append(past.snapshot(f"load{time.monotonic_ns()}"))
    taker = threading.Thread(target=take, daemon=True)
    try:
        if snapshots:
            taker.start()
        out, _ = fio.communicate(timeout=LOAD_SECONDS + process.START_SECONDS)
    finally:
        ended.set()
        if fio.poll() is None:
            fio.kill()
            fio.communicate()
        if snapshots:
            taker.join(process.START_SECONDS)
    if fio.returncode:
        raise BenchError(f"fio ended with {fio.returncode}")
    if snapshots and not took:
        raise BenchError("no snapshot could be taken")
    write = json.loads(out[out.index("{"):])["jobs"][0]["write"]
    return write["clat_ns"]["percentile"]["99.990000"] / 1e6, took


def under_load(fleet, of_snapshots):
    """How much longer a slow write took with snapshots than without; or the times of the snapshots."""
    more, times = [], []
    with past_of(fleet, LOAD_BYTES, written=True) as past:
        past.snapshot("first")            # else the disk has no past when no snapshot is taken
        for _ in range(LOAD_ROUNDS):
            without, _ = slow_write(past, False)
            past.settle()
            slow, took = slow_write(past, True)
            past.settle()
            more.append(slow - without)
            times += took
    return times if of_snapshots else more


def read_time(past, name, places):
    """Microseconds of one block, the median."""
    handle = os.open(past.tandem.of_disk(DISK, "snapshots", name + ".raw"), os.O_RDONLY)
    try:
        times = []
        for place in places:
            before = time.monotonic()
            if os.pread(handle, 8, place) != place.to_bytes(8, "little"):
                raise BenchError(f"wrong data at {place} of {name}")
            os.pread(handle, PIECE_BYTES, place)
            times.append((time.monotonic() - before) * 1e6)
        return sorted(times)[len(times) // 2]
    finally:
        os.close(handle)


def oldest_read(fleet):
    """Blocks that were written over once since then: when it was the only snapshot, and when it is the oldest of many."""
    with small_past(fleet) as past:
        places = [number * TRACKED_BYTES for number in
                  random.Random(MANY).sample(range(SMALL_BYTES // TRACKED_BYTES), MANY)]
        past.write(places)
        past.snapshot("oldest")
        past.write([place + PIECE_BYTES for place in places])
        past.settle()
        alone = read_time(past, "oldest", places[:READS])
        for number in range(many(fleet) - 1):
            past.write([places[number] + 2 * PIECE_BYTES])
            past.snapshot(f"later{number}")
        past.settle()
        return [read_time(past, "oldest", places[:READS]) / alone]


# --- space ------------------------------------------------------------------------------------------------------------

def metadata_percent(fleet, block_size):
    """Of what is kept, once each block was written over in random order: the catalogue, and what the store takes beyond it."""
    with past_of(fleet, KEPT_BLOCKS * block_size, written=True, options=(f"--block-size={block_size}",)) as past:
        past.snapshot("before")
        past.settle()
        before = past.catalogue_bytes() + past.store_bytes()
        places = [number * block_size for number in range(past.size // block_size)]
        random.Random(block_size).shuffle(places)
        past.write(places)
        past.settle()
        added = past.catalogue_bytes() + past.store_bytes() - before
        return [(added - past.size) * 100 / past.size]


def memory_per_tib(fleet):
    """Between a disk without a past and the same with one, written to all over; its write log is empty."""
    with past_of(fleet, 1 << 40) as past:
        places = [number * TRACKED_BYTES for number in random.Random(0).sample(range(past.size // TRACKED_BYTES), SPREAD_WRITES)]
        past.write(places)
        before = past.resident_mib()
        past.snapshot("before")
        past.write(places)
        past.settle()
        return [past.resident_mib() - before]


# --- later writes -----------------------------------------------------------------------------------------------------

def later_beside_plain(fleet, depth):
    """Both disks are written and settled before the first measurement: a device that gives bursts, and less after much
    work, gives the two the same. Beside each other in time, not at once."""
    size = fleet.settings.size
    with contextlib.ExitStack() as stack:
        write_image(os.path.join(fleet.workspace, PLAIN), size)
        past = stack.enter_context(past_of(fleet, size, written=True, others=(PLAIN,)))
        plain = os.path.join(past.tandem.mountpoint, PLAIN)
        stack.enter_context(held_open(plain))
        past.snapshot("before")
        for path in (plain, past.path):
            write_image(path, size)
        past.settle()
        os.sync()
        measure = {"plain": functools.partial(guest_iops, plain, size, depth, LATER_SECONDS),
                   "later": functools.partial(guest_iops, past.path, size, depth, LATER_SECONDS)}
        values = []
        for number in range(2 if fleet.settings.quick else LATER_ROUNDS):
            iops = alternating(number, measure)
            values.append(iops["later"] / iops["plain"])
        return values


def _time_row(name, text, disk, before):
    return (name, f"a snapshot, idle disk of {text}", "ms", 10, functools.partial(snapshot_times, disk=disk, before=before))


PAST_EXTRAS = (
    _time_row("snap-1g",      "1 GiB with one",         small_past, 1),
    _time_row("snap-64t",     "64 TiB with one",        large_past, 1),
    _time_row("snap-1g-10k",  "1 GiB with 10,000",      small_past, MANY),
    _time_row("snap-64t-10k", "64 TiB with 10,000",     large_past, MANY),
    ("snap-load",   "a snapshot, disk under load",      "ms", None, functools.partial(under_load, of_snapshots=True)),
    ("snap-wait",   "slowest of 10,000 writes, more with a snapshot each 0.1 s", "ms", 10,
     functools.partial(under_load, of_snapshots=False)),
    ("snap-read",   "read of the oldest of 10,000, times that of the only one", "times", 1.5, oldest_read),
    ("meta-16k",    "space for more than what is kept, blocks of 16 KiB", "%", 2,
     functools.partial(metadata_percent, block_size=16 << 10)),
    ("meta-64k",    "space for more than what is kept, blocks of 64 KiB", "%", 0.5,
     functools.partial(metadata_percent, block_size=64 << 10)),
    ("rss-tib",     "memory of a TiB that has a past",  "MiB", 32, memory_per_tib),
)
# Each with the least that it is to be.
LATER_EXTRAS = tuple((f"later-beside-qd{depth}", f"later 4 KiB writes QD{depth} / of a plain disk beside it", "times", None,
                      functools.partial(later_beside_plain, depth=depth), "past", 0.97) for depth in (1, 32))

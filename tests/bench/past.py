# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes to disks whose past is kept: the first to a block after a snapshot, later ones, and while each second is kept.

Each measurement has an image, a server and a snapshot of its own: what one leaves in a log, a store or a file system's
tables must not be paid for by the next. Which blocks are written, in which order, is drawn once for a row and the same
for every system.
"""
import contextlib
import functools
import os
import random
import subprocess
import time
from dataclasses import replace

import process
from measure import measure, opens
from process import Absent, BenchError, interrupts
from profiles import PIECE_BYTES, TRACKED_BYTES
from systems import (CONVERT_SECONDS, QCOW2, QSD_TOOLS, TANDEM_TOOLS, Running, Slot, System, Tandem, check_content,
                     export_qsd, qemu_img, qsd_image, sync, write_image)

NAME = "before"                     # of the snapshot
HISTORY_SECONDS = 10                # a second of it is kept by then
CHECK_SECONDS = 120
XFS_SPARE_BYTES = 512 << 20
ROOM = 4                            # times the image: source, image, what is kept, and spare


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=CONVERT_SECONDS,
                          start_new_session=True)
    if done.returncode:
        raise BenchError(f"{command[0]}: " + process.first_line(done.stderr, f"ended with {done.returncode}"))
    return done.stdout.strip()


# --- systems ----------------------------------------------------------------------------------------------------------

def keep_history(tandem, disk, path):
    """Returns when the first second of it is there: until then nothing would have to be saved."""
    tandem.tell(disk, "KeepHistory Window=1h Granularity=1s")
    deadline = time.monotonic() + HISTORY_SECONDS
    while not moments(tandem, disk):
        if time.monotonic() > deadline:
            raise BenchError(f"no moment is kept after {HISTORY_SECONDS} s")
        with open(path, "r+b", buffering=0) as image:
            image.write(os.urandom(PIECE_BYTES))
            os.fsync(image.fileno())
        time.sleep(0.1)


def moments(tandem, disk):
    with open(tandem.of_disk(disk, "history"), encoding="utf-8", errors="replace") as lines:
        return sum(1 for _ in lines)


def launch_tandemfs(slot, plain=False):
    if not slot.settings.tandemfs:
        raise Absent("no binary: build it, or say --tandemfs PATH")
    image = slot.image(name="disks/x")
    tandem = Tandem(slot.settings, os.path.dirname(image), slot.leftovers)
    tandem.start(slot.undo)
    disk = os.path.basename(image)
    running = Running(os.path.join(tandem.mountpoint, disk), tandem.pids)
    if plain:
        return running
    if slot.keeps == "snapshot":
        tandem.tell(disk, f"snapshot {NAME}")
        running.check_past = functools.partial(check_content, tandem.of_disk(disk, "snapshots", NAME + ".raw"), slot.size)
    else:
        process.within(CHECK_SECONDS, keep_history, tandem, disk, running.path)

        def check():
            if not moments(tandem, disk):
                raise BenchError("no moment is kept")
        running.check_past = check
    running.settle = functools.partial(tandem.tell, disk, "Settle wait")
    return running


def launch_qcow2(slot, direct):
    return export_qsd(slot, qsd_image(slot.image(QCOW2), QCOW2, direct))


def launch_overlay(slot, direct):
    base, overlay = slot.image(QCOW2), os.path.join(slot.directory, "overlay.qcow2")
    qemu_img("create", QCOW2, "-q", "-f", "qcow2", "-b", os.path.basename(base), "-F", "qcow2", overlay)
    return export_qsd(slot, (*qsd_image(base, QCOW2, direct, 1, ",read-only=on"),
                             *qsd_image(overlay, QCOW2, direct, 0, ",backing=f1")))


def mount_xfs(slot, size):
    """An XFS in a file that is written, so that nothing has to be allocated below it. Where it is mounted."""
    if os.geteuid():
        raise Absent("only root can mount")
    container, mount = os.path.join(slot.directory, "container"), os.path.join(slot.directory, "xfs")
    write_image(container, size)
    os.mkdir(mount)
    with interrupts.held():
        device = _run("losetup", "--find", "--show", "--direct-io=on", container)
        slot.undo.callback(_undo, slot.leftovers, "losetup", "--detach", device)
    _run("mkfs.xfs", "-q", "-K", "-m", "reflink=1", device)       # -K: the file stays written
    with interrupts.held():
        _run("mount", "-t", "xfs", device, mount)
        slot.undo.callback(_undo, slot.leftovers, "umount", mount)
    return mount


def _undo(leftovers, *command):
    try:
        _run(*command)
    except (BenchError, subprocess.TimeoutExpired) as error:
        leftovers.append(str(error))


def launch_xfs(slot, plain=False):
    mount = mount_xfs(slot, 2 * slot.size + XFS_SPARE_BYTES)
    path, kept = os.path.join(mount, "x.img"), os.path.join(mount, "kept.img")
    write_image(path, slot.size)
    running = Running(path)
    if not plain:
        _run("cp", "--reflink=always", path, kept)
        sync(kept)
        running.check_past = functools.partial(check_content, kept, slot.size)
    return running


XFS_TOOLS = ("mkfs.xfs", "losetup", "mount", "umount")
PAST_SYSTEMS = (
    System("tandemfs-plain", "as asked", TANDEM_TOOLS,            functools.partial(launch_tandemfs, plain=True)),
    System("tandemfs",       "log only", TANDEM_TOOLS,            launch_tandemfs),
    System("qsd-plain",      "none",     (*QSD_TOOLS, "qemu-img"), functools.partial(launch_qcow2, direct=True)),
    System("qsd-direct",     "none",     (*QSD_TOOLS, "qemu-img"), functools.partial(launch_overlay, direct=True)),
    System("qsd-cached",     "always",   (*QSD_TOOLS, "qemu-img"), functools.partial(launch_overlay, direct=False)),
    System("xfs-plain",      "as asked", XFS_TOOLS,               functools.partial(launch_xfs, plain=True)),
    System("xfs",            "as asked", XFS_TOOLS,               launch_xfs),
)


# --- one measurement --------------------------------------------------------------------------------------------------

def extent_of(past, settings):
    """(bytes of the image, number of writes); where it is quick no more than each block once."""
    times, writes = (1, min(past.writes, 1)) if settings.quick else (past.times, past.writes)
    return settings.size * times, round(writes * settings.size / TRACKED_BYTES)


def offsets(past, size, count):
    """Where the writes of a row go. With the same words the same: no system gets other work."""
    draw = random.Random(f"{past} {size}")
    if past.once:
        return [number * TRACKED_BYTES for number in draw.sample(range(size // TRACKED_BYTES), count)]
    return [draw.randrange(size // PIECE_BYTES) * PIECE_BYTES for _ in range(count)]


def write_list(path, disk, places):
    """fio's --blockalign writes some blocks twice and others never, so it gets a list."""
    with open(path, "w", encoding="utf-8") as lines:
        lines.write(f"fio version 2 iolog\n{disk} add\n{disk} open\n")
        lines.writelines(f"{disk} write {place} {PIECE_BYTES}\n" for place in places)
        lines.write(f"{disk} close\n")


@contextlib.contextmanager
def held_open(path):
    """A guest has its disk open all the time: nothing is put off to a close or done at one."""
    handle = process.within(CHECK_SECONDS, os.open, path, os.O_RDWR)
    try:
        yield
    finally:
        os.close(handle)


def forget_cached(directory):
    """Files that servers have, not what they show."""
    os.sync()
    for place, below, names in os.walk(directory):
        below[:] = [name for name in below if not name.endswith(".mnt")]
        for name in names:
            path = os.path.join(place, name)
            if not process.is_mounted(path):
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(handle)


def measure_past(settings, root, undo, leftovers, round_number, profile, system):
    """With a new image, server and snapshot, none of which stays."""
    past = profile.past
    size, count = extent_of(past, settings)
    with process.cleaning_in(undo) as part:
        directory = process.make_workspace(root, part, leftovers)
        running = system.launch(Slot(directory, size, part, leftovers, settings, keeps=past.keeps))
        running.direct = opens(running, os.O_DIRECT)
        more = ()
        if count:
            plan = os.path.join(directory, "writes")
            write_list(plan, running.path, offsets(past, size, count))
            more = (f"--read_iolog={plan}",)
        with held_open(running.path):
            if not count:
                process.within(CONVERT_SECONDS, write_image, running.path, size)
                running.settle()
            os.sync()
            if past.cold:
                forget_cached(directory)
            one = measure(round_number, profile, system.name, running, size, settings.seconds, more)
        if count and one.operations != count:
            raise BenchError(f"{one.operations} writes instead of {count}")
        process.within(CHECK_SECONDS, running.check_past)
    return replace(one, direct=running.direct)

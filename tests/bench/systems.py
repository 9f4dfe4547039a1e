# SPDX-License-Identifier: GPL-2.0-or-later
"""The systems that are compared. A new column of the report is a launch function and an entry of SYSTEMS.

A launch function gets a Slot (a directory of its own, a written image, a stack of undos), starts its servers and returns
where fio finds the disk and which processes serve it.
"""
import contextlib
import functools
import os
import subprocess
import time
from dataclasses import dataclass, field

import process
from process import Absent, BenchError, interrupts

FILL_BYTES = 4 << 20


def write_image(path, size):
    """Fully written and on the medium: no system may profit from holes or unwritten extents."""
    noise = os.urandom(FILL_BYTES)
    with open(path, "wb") as image:
        for offset in range(0, size, FILL_BYTES):
            image.write(noise[:size - offset])
        image.flush()
        os.fsync(image.fileno())


@dataclass
class Slot:
    """What one system has in one place."""
    directory: str
    size: int
    undo: contextlib.ExitStack
    leftovers: list           # what undo could not undo
    settings: object          # the command line: binary and options of tandemfs

    @property
    def errors(self):
        return os.path.join(self.directory, "errors")

    def image(self, name="x.img"):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_image(path, self.size)
        return path

    def empty_file(self, name):
        path = os.path.join(self.directory, name)
        with open(path, "wb"):
            return path

    def spawn(self, argv, mount=None):
        """A server that is ended by undo; what it mounted is unmounted first, since nbdfuse must not be killed."""
        with interrupts.held():
            server = process.spawn(argv, self.errors, cwd=self.directory)
            self.undo.callback(process.end, server, self.leftovers)
            if mount:
                self.undo.callback(process.unmount, mount, self.leftovers)
        return server


@dataclass
class Running:
    path: str
    pids: object = field(default=lambda: ())      # call: the server's processes now
    direct: bool = True                           # whether it takes O_DIRECT; probed after the launch


@dataclass(frozen=True)
class System:
    name: str
    caching: str              # for the table: who caches on the server's side
    tools: tuple              # programs without which the column stays empty
    launch: object


def launch_file(slot):
    return Running(slot.image())


def launch_qsd(slot, direct):
    image, mount = slot.image(), slot.empty_file("mount.img")
    cache = "on" if direct else "off"
    server = slot.spawn(["qemu-storage-daemon",
                         "--blockdev", f"driver=file,filename={os.path.basename(image)},node-name=p0,cache.direct={cache}",
                         "--blockdev", "driver=raw,file=p0,node-name=f0",
                         "--export", "fuse,id=e0,node-name=f0,mountpoint=mount.img,writable=on"], mount)
    process.wait_mounted(mount, server, slot.errors)
    return Running(mount, lambda: (server.pid,))


def launch_nbdfuse(slot):
    image, mount = slot.image(), slot.empty_file("mount.img")
    # relative names, since a socket's path may have 107 bytes only
    nbdkit = slot.spawn(["nbdkit", "-f", "-P", "nbdkit.pid", "-U", "socket", "file", os.path.basename(image)])
    deadline = time.monotonic() + process.START_SECONDS
    while not os.path.exists(os.path.join(slot.directory, "nbdkit.pid")):
        if nbdkit.poll() is not None or time.monotonic() > deadline:
            raise BenchError("nbdkit does not start")
        time.sleep(0.02)
    nbdfuse = slot.spawn(["nbdfuse", "mount.img", "--unix", "socket"], mount)
    process.wait_mounted(mount, nbdfuse, slot.errors)
    return Running(mount, lambda: (nbdkit.pid, nbdfuse.pid))


class Tandem:
    """One tandemfs over DISKDIR: `tandemfs [OPTIONS] DISKDIR MOUNTPOINT`, which returns when it is mounted."""

    def __init__(self, settings, diskdir, leftovers):
        self.settings, self.diskdir, self.leftovers = settings, diskdir, leftovers
        self.mountpoint = diskdir + ".mnt"

    def start(self, undo):
        """Mounts; returns how many seconds the command took."""
        os.makedirs(self.mountpoint, exist_ok=True)
        undo.callback(self.stop)
        errors = self.diskdir + ".errors"
        with open(errors, "wb") as sink:      # a file: the daemon may keep it open, a pipe would never end
            before = time.monotonic()
            command = [self.settings.tandemfs, *self.settings.tandemfs_options, self.diskdir, self.mountpoint]
            try:
                code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                                      timeout=process.START_SECONDS, start_new_session=True).returncode
            except subprocess.TimeoutExpired:
                raise BenchError(f"did not mount within {process.START_SECONDS} s") from None
            took = time.monotonic() - before
        if code or not process.is_mounted(self.mountpoint):
            with open(errors, encoding="utf-8", errors="replace") as text:
                raise BenchError(process.first_line(text.read(), f"ended with {code}, not mounted"))
        return took

    def pids(self):
        return process.processes_naming(self.mountpoint)

    def stop(self):
        """Unmounts and waits until the daemon has ended, by its lock; by force only when that does not happen."""
        process.unmount(self.mountpoint, self.leftovers)
        lock = os.path.join(self.diskdir, ".tandem", "lock")
        if os.path.exists(lock):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["flock", lock, "true"], timeout=process.STOP_SECONDS, start_new_session=True)
        process.end_pids(self.pids, self.leftovers)


def launch_tandemfs(slot):
    if not slot.settings.tandemfs:
        raise Absent("no binary: build it, or say --tandemfs PATH")
    slot.image("disks/x.img")
    tandem = Tandem(slot.settings, os.path.join(slot.directory, "disks"), slot.leftovers)
    tandem.start(slot.undo)
    path = os.path.join(tandem.mountpoint, "x.img")
    if process.within(process.START_SECONDS, os.path.getsize, path) != slot.size:
        raise BenchError("mounted, but x.img has another size")
    return Running(path, tandem.pids)


QSD_TOOLS = ("qemu-storage-daemon", "fusermount3")
SYSTEMS = (
    System("file",       "as asked", (),                                   launch_file),
    System("tandemfs",   "as asked", ("fusermount3", "flock"),             launch_tandemfs),
    System("qsd-direct", "none",     QSD_TOOLS,                            functools.partial(launch_qsd, direct=True)),
    System("qsd-cached", "always",   QSD_TOOLS,                            functools.partial(launch_qsd, direct=False)),
    System("nbdfuse",    "always",   ("nbdfuse", "nbdkit", "fusermount3"), launch_nbdfuse),
)

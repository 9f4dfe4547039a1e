# SPDX-License-Identifier: GPL-2.0-or-later
"""The systems that are compared. A new column of the report is a launch function and an entry of SYSTEMS.

A launch function gets a Slot (a directory of its own, an image, a stack of undos), starts its servers and returns where
fio finds the disk and which processes serve it.
"""
import contextlib
import functools
import os
import subprocess
import time
from dataclasses import dataclass, field

import process
from process import Absent, BenchError, interrupts
from profiles import BLOCK_BYTES

FILL_BYTES = 4 << 20
SAMPLES, SAMPLE_BYTES = 64, 64 << 10
CONVERT_SECONDS = 600
COMMAND_SECONDS = 300


@functools.lru_cache(maxsize=None)
def noise():
    """What all images of a run are filled with."""
    return os.urandom(FILL_BYTES)


def write_image(path, size):
    """Fully written and on the medium: no system may profit from holes or unwritten extents."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    with open(handle, "wb", buffering=0) as image:
        for offset in range(0, size, FILL_BYTES):
            piece = memoryview(noise())[:size - offset]
            while piece:
                piece = piece[image.write(piece):]
        os.fsync(handle)


def check_content(path, size):
    """The whole disk is there with what was written: wrong answers are fast."""
    if os.path.getsize(path) != size:
        raise BenchError(f"it shows {os.path.getsize(path)} bytes instead of {size}")
    with open(path, "rb", buffering=0) as disk:
        for number in range(SAMPLES):
            offset = (size - SAMPLE_BYTES) * number // (SAMPLES - 1) // SAMPLE_BYTES * SAMPLE_BYTES
            if os.pread(disk.fileno(), SAMPLE_BYTES, offset) != noise()[offset % FILL_BYTES:][:SAMPLE_BYTES]:
                raise BenchError(f"wrong data at {offset}")


def check_blocks(path, size):
    """Something was written to the beginning of each block."""
    with open(path, "rb", buffering=0) as disk:
        for offset in range(0, size, BLOCK_BYTES):
            if not any(os.pread(disk.fileno(), 512, offset)):
                raise BenchError(f"the block at {offset} is empty")


@dataclass(frozen=True)
class Kind:
    """A format, in QEMU's words."""
    driver: str
    ending: str
    options: str = ""         # of qemu-img create and convert


RAW = Kind("raw", "img")
VHD = Kind("vpc", "vhd", "subformat=dynamic,force_size=on")          # without force_size: the size of a geometry
VHDX = Kind("vhdx", "vhdx", f"subformat=dynamic,block_size={BLOCK_BYTES}")
QCOW2 = Kind("qcow2", "qcow2")


def qemu_img(verb, kind, *words):
    options = ("-o", kind.options) if kind.options else ()
    try:
        done = subprocess.run(["qemu-img", verb, *options, *words], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=CONVERT_SECONDS, start_new_session=True)
    except subprocess.TimeoutExpired:
        raise BenchError(f"qemu-img {verb} takes more than {CONVERT_SECONDS} s") from None
    if done.returncode:
        raise BenchError(f"qemu-img {verb}: " + process.first_line(done.stderr, f"ended with {done.returncode}"))


@dataclass
class Slot:
    """What one system has in one place."""
    directory: str
    size: int
    undo: contextlib.ExitStack
    leftovers: list           # what undo could not undo
    settings: object          # the command line: binary and options of tandemfs
    fresh: bool = False       # its image is a new one, nothing is written to it
    keeps: str = ""           # of the past of the image, as it is when it is launched: see profiles.Past

    @property
    def errors(self):
        return os.path.join(self.directory, "errors")

    def _path(self, name):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def new_image(self, kind, name="x"):
        """Nothing is written to it."""
        path = self._path(f"{name}.{kind.ending}")
        qemu_img("create", kind, "-q", "-f", kind.driver, path, str(self.size))
        return path

    def image(self, kind=RAW, name="x"):
        """A new one where that is asked for, else one that somebody else has filled."""
        if self.fresh:
            return self.new_image(kind, name)
        path = self._path(f"{name}.{kind.ending}")
        source = path if kind is RAW else os.path.join(self.directory, "source")
        write_image(source, self.size)
        if kind is not RAW:
            qemu_img("convert", kind, "-S", "0", "-f", "raw", "-O", kind.driver, source, path)
            os.unlink(source)
            sync(path)
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


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass
class Running:
    path: str
    pids: object = field(default=lambda: ())      # call: the server's processes now
    direct: bool = True                           # whether it takes O_DIRECT; probed after the launch
    writable: bool = True                         # else rows that write stay empty
    settle: object = field(default=lambda: None)  # call: returns when what was written is where it belongs
    check_past: object = field(default=lambda: None)      # call: raises when what was to be kept is not there
    more: object = field(default=lambda profile: ())      # call: further options of fio
    shares: int = 1                               # so many files have each a share of what fio does


@dataclass(frozen=True)
class System:
    name: str
    caching: str              # for the table: who caches on the server's side
    tools: tuple              # programs without which the column stays empty
    launch: object
    fresh: bool = True        # measured over fresh images too; not where that says nothing new


def launch_file(slot):
    return Running(slot.image())


def qsd_image(image, kind, direct, number=0, more=""):
    """Words for qemu-storage-daemon: the image is its node f<number>."""
    cache = "on" if direct else "off"
    return ("--blockdev", f"driver=file,filename={os.path.basename(image)},node-name=p{number},cache.direct={cache}",
            "--blockdev", f"driver={kind.driver},file=p{number},node-name=f{number}{more}")


def export_qsd(slot, words):
    """Its node f0 as a file."""
    mount = slot.empty_file("mount.img")
    server = slot.spawn(["qemu-storage-daemon", *words,
                         "--export", "fuse,id=e0,node-name=f0,mountpoint=mount.img,writable=on"], mount)
    process.wait_mounted(mount, server, slot.errors)
    return Running(mount, lambda: (server.pid,))


def launch_qsd(slot, direct, kind=RAW):
    return export_qsd(slot, qsd_image(slot.image(kind), kind, direct))


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


def launch_vhdimount(slot, kind):
    image, mount = slot.image(kind), os.path.join(slot.directory, "mount")
    os.mkdir(mount)

    def pids():
        return process.processes_naming(mount)
    with interrupts.held():
        slot.undo.callback(process.end_pids, pids, slot.leftovers)
        slot.undo.callback(process.unmount, mount, slot.leftovers)
    with open(slot.errors, "wb") as sink:         # its daemon keeps it open
        code = subprocess.run(["vhdimount", image, mount], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                              timeout=process.START_SECONDS, start_new_session=True).returncode
    if code or not process.is_mounted(mount):
        raise BenchError(f"ended with {code}, not mounted")
    return Running(os.path.join(mount, "vhdi1"), pids, writable=False)


class Tandem:
    """One tandemfs over DISKDIR: `tandemfs [OPTIONS] DISKDIR MOUNTPOINT`, which returns when it is mounted."""

    def __init__(self, settings, diskdir, leftovers, options=()):
        self.settings, self.diskdir, self.leftovers = settings, diskdir, leftovers
        self.options = (*settings.tandemfs_options, *options)
        self.mountpoint = diskdir + ".mnt"

    def start(self, undo):
        """Mounts; returns how many seconds the command took."""
        os.makedirs(self.mountpoint, exist_ok=True)
        undo.callback(self.stop)
        errors = self.diskdir + ".errors"
        with open(errors, "wb") as sink:      # a file: the daemon may keep it open, a pipe would never end
            before = time.monotonic()
            command = [self.settings.tandemfs, *self.options, self.diskdir, self.mountpoint]
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

    def of_disk(self, label, *names):
        """A path in the directory of a disk."""
        return os.path.join(self.mountpoint, ".replication", "disks", label, *names)

    def tell(self, label, words, kind="disks"):
        """A command to a disk, or another kind of object; raises with the words that it is refused with."""
        def write(path):
            handle = os.open(path, os.O_RDWR)
            try:
                os.write(handle, words.encode())
            except OSError as error:
                result = os.pread(handle, 4096, 0).decode(errors="replace")
                why = next((line for line in result.splitlines() if line.startswith("Message: ")), str(error))
                raise BenchError(f"{words}: {why.removeprefix('Message: ')}") from None
            finally:
                os.close(handle)
        process.within(COMMAND_SECONDS, write, os.path.join(self.mountpoint, ".replication", kind, label, "control"))

    def stop(self):
        """Unmounts and waits until the daemon has ended, by its lock; by force only when that does not happen."""
        process.unmount(self.mountpoint, self.leftovers)
        lock = os.path.join(self.diskdir, ".tandem", "lock")
        if os.path.exists(lock):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["flock", lock, "true"], timeout=process.STOP_SECONDS, start_new_session=True)
        process.end_pids(self.pids, self.leftovers)


def launch_tandemfs(slot, kind=RAW, fills=False, others=()):
    """fills: an image that is written through tandemfs lies as tandemfs puts it, others as somebody else did.
    others: names of more such images."""
    if not slot.settings.tandemfs:
        raise Absent("no binary: build it, or say --tandemfs PATH")
    image = slot.new_image(kind, "disks/x") if fills else slot.image(kind, "disks/x")
    for other in others:
        slot.image(kind, f"disks/{other}")
    tandem = Tandem(slot.settings, os.path.dirname(image), slot.leftovers)
    tandem.start(slot.undo)
    name = os.path.basename(image) + ("" if kind is RAW else ".raw")
    path = os.path.join(tandem.mountpoint, name)
    if fills and not slot.fresh:
        process.within(CONVERT_SECONDS, write_image, path, slot.size)
    return Running(path, tandem.pids)


QSD_TOOLS = ("qemu-storage-daemon", "fusermount3")
TANDEM_TOOLS = ("fusermount3", "flock")
SYSTEMS = (
    System("file",       "as asked", (),                                   launch_file),
    System("tandemfs",   "as asked", TANDEM_TOOLS,                         launch_tandemfs),
    System("qsd-direct", "none",     QSD_TOOLS,                            functools.partial(launch_qsd, direct=True)),
    System("qsd-cached", "always",   QSD_TOOLS,                            functools.partial(launch_qsd, direct=False)),
    System("nbdfuse",    "always",   ("nbdfuse", "nbdkit", "fusermount3"), launch_nbdfuse),
)


def _formats_tandemfs(name, kind):
    return System(name, "as asked", (*TANDEM_TOOLS, "qemu-img"),
                  functools.partial(launch_tandemfs, kind=kind, fills=True))


def _formats_peers(kind):
    tools = (*QSD_TOOLS, "qemu-img")
    return (System("qsd-direct", "none",   tools, functools.partial(launch_qsd, direct=True, kind=kind)),
            System("qsd-cached", "always", tools, functools.partial(launch_qsd, direct=False, kind=kind)),
            System("vhdimount",  "always", ("vhdimount", "fusermount3", "qemu-img"),
                   functools.partial(launch_vhdimount, kind=kind)))


VHD_SYSTEMS = (
    _formats_tandemfs("tandemfs-raw", RAW),
    _formats_tandemfs("tandemfs", VHD),
    System("tandemfs-qemu", "mostly", (*TANDEM_TOOLS, "qemu-img"), functools.partial(launch_tandemfs, kind=VHD),
           fresh=False),
    *_formats_peers(VHD),
)
VHDX_SYSTEMS = (
    _formats_tandemfs("tandemfs-raw", RAW),
    _formats_tandemfs("tandemfs", VHDX),
    *_formats_peers(VHDX),
)

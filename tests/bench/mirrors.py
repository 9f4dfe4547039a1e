# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks with a synchronous mirror beside them: what the second copy costs, and what it must cost at least.

`two-files` is that least: fio has both files itself, and twice as many requests under way. A mirrored write is one in
each, so half of its speed is what counts. `two-disks` is the same through FUSE: two disks of one tandemfs, no mirror.
"""
import functools
import glob
import json
import os
import subprocess
import sys
import time

import process
from process import BenchError
from systems import COMMAND_SECONDS, RAW, TANDEM_TOOLS, Running, System, Tandem, launch_tandemfs, qsd_image


def in_both(slot, paths, pids=lambda: ()):
    def more(profile):
        return (f"--filename={':'.join(paths)}", f"--size={2 * slot.size}", "--ioengine=libaio",
                f"--iodepth={2 * profile.depth}")
    return Running(paths[0], pids, more=more, shares=len(paths))


def launch_two_files(slot):
    return in_both(slot, [slot.image(name=name) for name in ("one", "two")])


def launch_two_disks(slot):
    one = launch_tandemfs(slot, others=("two",))
    return in_both(slot, [one.path, os.path.join(os.path.dirname(one.path), "two.img")], one.pids)


AT_FLUSH = "CreateReplica SyncType=Mirror TargetStorageVolume=y.img AcknowledgeAt=Flush"


def launch_tandemfs_mirror(slot, words="", command="mirror y.img"):
    """The command that makes it, and more words of it."""
    image = slot.image(name="disks/x")
    tandem = Tandem(slot.settings, os.path.dirname(image), slot.leftovers)
    tandem.start(slot.undo)
    disk = os.path.basename(image)
    tandem.tell(disk, f"{command} {words} wait={COMMAND_SECONDS}s")
    (state,) = glob.glob(os.path.join(tandem.mountpoint, ".replication", "replicas", "*", "CopyState"))
    with open(state, encoding="utf-8") as text:
        if "Synchronized" not in text.read():
            raise BenchError("its mirror is not in step")
    return Running(os.path.join(tandem.mountpoint, disk), tandem.pids)


def qmp(slot, name, commands):
    """To a qemu-storage-daemon in its directory, by a program that runs there: a socket's path may have 107 bytes only."""
    code = "import sys, json, socket\n" \
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile('rw'); f.readline()\n" \
        "for line in json.loads(sys.argv[2]):\n" \
        "    print(json.dumps(line), file=f, flush=True)\n" \
        "    while not {'return', 'error'} & (answer := json.loads(f.readline())).keys(): pass\n" \
        "    if 'error' in answer: sys.exit(answer['error']['desc'])\n" \
        "print(json.dumps(answer['return']))\n"
    commands = [{"execute": "qmp_capabilities"}, *({"execute": verb, "arguments": words} for verb, words in commands)]
    done = subprocess.run([sys.executable, "-c", code, name, json.dumps(commands)], cwd=slot.directory, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, start_new_session=True)
    if done.returncode:
        raise BenchError("qemu-storage-daemon: " + process.first_line(done.stderr, f"ended with {done.returncode}"))
    return json.loads(done.stdout)


def launch_qsd(slot, mirrored):
    """Over NBD: it refuses to mirror what it exports through FUSE. fio speaks NBD itself."""
    one, two = slot.image(name="one"), slot.image(name="two")
    export = os.path.join(slot.directory, "nbd")
    server = slot.spawn(["qemu-storage-daemon", *qsd_image(one, RAW, True, 0), *qsd_image(two, RAW, True, 1),
                         "--chardev", "socket,id=c0,path=qmp,server=on,wait=off", "--monitor", "chardev=c0",
                         "--nbd-server", "addr.type=unix,addr.path=nbd",
                         "--export", "nbd,id=e0,node-name=f0,name=x,writable=on"])
    deadline = time.monotonic() + process.START_SECONDS
    while not os.path.exists(export):
        if server.poll() is not None or time.monotonic() > deadline:
            raise BenchError("qemu-storage-daemon does not start")
        time.sleep(0.02)
    if mirrored:
        qmp(slot, "qmp", [("blockdev-mirror", {"job-id": "m0", "device": "f0", "target": "f1", "sync": "full",
                                               "copy-mode": "write-blocking"})])
        deadline = time.monotonic() + COMMAND_SECONDS
        while [job["status"] for job in qmp(slot, "qmp", [("query-jobs", {})])] != ["ready"]:
            if time.monotonic() > deadline:
                raise BenchError("its mirror does not become ready")
            time.sleep(0.1)

    def more(profile):
        return ("--ioengine=nbd", f"--uri=nbd+unix:///x?socket={export}", f"--iodepth={profile.depth}")
    return Running(one, lambda: (server.pid,), more=more)


MIRROR_SYSTEMS = (
    System("two-files",      "as asked", (),                         launch_two_files),
    System("two-disks",      "as asked", TANDEM_TOOLS,               launch_two_disks),
    System("tandemfs-plain", "as asked", TANDEM_TOOLS,               launch_tandemfs),
    System("tandemfs",       "as asked", TANDEM_TOOLS,               launch_tandemfs_mirror),
    System("at-flush",       "as asked", TANDEM_TOOLS,               functools.partial(launch_tandemfs_mirror, command=AT_FLUSH)),
    System("qsd-plain",      "none",     ("qemu-storage-daemon",),   functools.partial(launch_qsd, mirrored=False)),
    System("qsd-direct",     "none",     ("qemu-storage-daemon",),   functools.partial(launch_qsd, mirrored=True)),
)

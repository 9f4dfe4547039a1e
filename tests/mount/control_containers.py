#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""control_containers.py GROUP MOUNTPOINT DISKDIR: CreateDisk, DeleteDisk and Resize of images that are not raw.

Each group is a function; control.test says what each proves.
"""
import errno as E
import os
import sys

from control import exists, nothing_changes, plans
from disk_calls import PLACES, backing, eventually, make, must, ok, refused, served
from replication import control, done, fields, read, state_of, status


def has_qemu():
    return "qcow2" in fields(read("capabilities"))["formats"].split(", ")


def kinds():
    """(name, words, what its status says then: kind, size, sector size, block size)"""
    rows = [("d.vhd", "Size=1G", "vhd", 1 << 30, 512, 2 << 20),
            ("d.AVHD", "size=512 format=VHD blocksize=4k", "vhd", 512, 512, 4096),
            ("d.vhd", "Size=2040G BlockSize=256M", "vhd", 2040 << 30, 512, 256 << 20),
            ("f.vhd", "Size=10M Format=vhd-fixed", "vhd-fixed", 10 << 20, 512, None),
            ("d.vhdx", "Size=1G", "vhdx", 1 << 30, 512, 2 << 20),
            ("d.Avhdx", "Size=64T", "vhdx", 64 << 40, 512, 32 << 20),
            ("s.vhdx", "Size=10M LogicalSectorSize=4K BlockSize=1M", "vhdx", 10 << 20, 4096, 1 << 20),
            ("f.vhdx", "Size=10M Format=Vhdx-Fixed BlockSize=256M LogicalSectorSize=512", "vhdx-fixed", 10 << 20, 512, 256 << 20)]
    if has_qemu():
        rows += [("q.qcow2", "Size=1G", "qcow2", 1 << 30, 512, 65536),
                 ("q.qcow2", "Size=1G BlockSize=128K", "qcow2", 1 << 30, 512, 128 << 10),
                 ("m.vmdk", "Size=1G", "vmdk", 1 << 30, 512, 65536),
                 ("v.vdi", "Size=1G", "vdi", 1 << 30, 512, 1 << 20),
                 ("p.hdd", "Size=1G Format=parallels", "parallels", 1 << 30, 512, 1 << 20),
                 ("e.qed", "Size=1G", "qed", 1 << 30, 512, 65536)]
    else:
        nothing_changes(E.EOPNOTSUPP, "CreateDisk Name=q.qcow2 Size=1G")
    for name, words, kind, size, sector, block in rows:
        command = f"CreateDisk Name={name} {words}"
        plans(command)
        must(not exists(name), f"a plan made {name}")
        result = done(command)
        must(result["ElementName"] == name and f"format {kind}" in result["Message"], f"the result of {command}: {result}")
        disk, st = status()["Disks"][name], os.stat(served(os.fsencode(name) + b".raw"))
        found = disk["Format"], disk["Size"], disk["LogicalSectorSize"], disk["BlockSize"]
        must(found == (kind, size, sector, block), f"{command} made {found}")
        must(disk["State"] == "Ready" and disk["Name"] == name + ".raw" and disk["Image"] == name, f"{name} is {disk}")
        must(disk["Parent"] is None and disk["Children"] == 0 and disk["Warning"] is None, f"{name} is {disk}")
        must(st.st_size == size and st.st_blocks == os.stat(backing(os.fsencode(name))).st_blocks, f"the file {name}.raw")
        nothing_changes(E.EEXIST, command)
        done(f"DeleteDisk Name={name}")
        must(not exists(name), f"{name} is deleted")
    ok("each kind of container")

    for words in ("Name=x.vhd", "Name=x.vhdx Format=vhdx", "Name=x.vhd Size=0", "Name=x.vhd Size=513", "Name=x.vhd Size=2041G",
                  "Name=x.vhdx Size=65T", "Name=x.vhdx Size=512 LogicalSectorSize=4096", "Name=x.vhd Size=1G BlockSize=257M",
                  "Name=x.vhd Size=1G BlockSize=18446744073709551616", "Name=x.vhd Size=1G BlockSize=4294967296",
                  "Name=x.vhd Size=1G BlockSize=2K", "Name=x.vhd Size=1G BlockSize=3M", "Name=x.vhdx Size=1G BlockSize=512K",
                  "Name=x.vhdx Size=1G BlockSize=3M", "Name=x.vhd Size=1G BlockSize=-4096", "Name=x.vhd Size=1G BlockSize=",
                  "Name=x.vhd Size=1G Format=vhd-fixed BlockSize=2M", "Name=x.img Size=1G BlockSize=2M",
                  "Name=x.vhdx Size=1G LogicalSectorSize=1000", "Name=x.vhdx Size=1G LogicalSectorSize=0",
                  "Name=x.vhdx Size=1G LogicalSectorSize=8192", "Name=x.vhdx Size=1G LogicalSectorSize=4294967808",
                  "Name=x.vhd Size=1G LogicalSectorSize=4096", "Name=x.img Size=1G LogicalSectorSize=4096",
                  "Name=x.vhd Size=1G Format=vhdx", "Name=x.vhdx Size=1G Format=vhd", "Name=x.vhd Size=1G Format=raw",
                  "Name=x.qcow2 Size=1G Format=vmdk", "Name=x.vhd.raw Size=1G Format=vhd"):
        nothing_changes(E.EINVAL, "CreateDisk " + words)
    for words in ("Name=x.vhdx Size=1G Format=vhdx-differencing", "Name=x.vhd Size=1G Format=vhd-differencing",
                  "Name=x.vhd Size=1G Format=floppy", "Name=x.hdd Size=1G Format=hdd"):
        nothing_changes(E.EOPNOTSUPP, "CreateDisk " + words)
    refused(E.EPERM, "making one by open(2)", os.open, served(b"x.vhdx"), os.O_CREAT | os.O_WRONLY)
    ok("containers that are wrong")


def children():
    done("CreateDisk Name=base.vhd Size=10M")
    with open(served(b"base.vhd.raw"), "r+b", buffering=0) as file:
        file.write(b"of the base".ljust(4096))
        nothing_changes(E.EBUSY, "CreateDisk Name=child.vhd Parent=base.vhd")
    eventually(5, lambda: status()["Disks"]["base.vhd"]["Openers"] == 0, "base.vhd is closed")
    with open(backing(b"bad.vhd"), "wb") as file:
        file.write(bytes(4096))
    eventually(5, lambda: state_of("bad.vhd") == "Invalid", "bad.vhd is Invalid")
    for words in "Parent=none.vhd", "Parent=bad.vhd", "Parent=nopool:base.vhd", "Parent=../base.vhd", "Parent=child.vhd":
        nothing_changes(E.ENOENT, "CreateDisk Name=child.vhd " + words)
        nothing_changes(E.ENOENT, "Plan CreateDisk Name=child.vhd " + words)
    os.unlink(backing(b"bad.vhd"))
    make(b"raw.img")
    nothing_changes(E.EINVAL, "CreateDisk Name=child.vhd Parent=raw.img")
    nothing_changes(E.EINVAL, "CreateDisk Name=child.vhd Parent=base.vhd Format=vhd-fixed")
    nothing_changes(E.EINVAL, "CreateDisk Name=child.vhd Parent=")
    for name in "child.img", "child.vhdx", "child.qcow2":
        nothing_changes(E.EOPNOTSUPP, f"CreateDisk Name={name} Parent=base.vhd")
    done("DeleteDisk Name=raw.img")
    eventually(5, lambda: state_of("bad.vhd") is None, "bad.vhd goes")
    ok("parents that are wrong")

    plans("CreateDisk Name=child.vhd Parent=base.vhd")
    done("CreateDisk Name=child.vhd Parent=base.vhd")
    done("CreateDisk Name=grand.vhd Parent=child.vhd.raw Size=20M")
    disks = status()["Disks"]
    must([disks[name]["Children"] for name in ("base.vhd", "child.vhd", "grand.vhd")] == [2, 1, 0], f"Children: {disks}")
    must([disks[name]["Parent"] for name in ("base.vhd", "child.vhd", "grand.vhd")] == [None, "base.vhd", "child.vhd"], f"Parent: {disks}")
    must([disks[name]["State"] for name in ("base.vhd", "child.vhd", "grand.vhd")] == ["ReadOnly", "ReadOnly", "Ready"], f"State: {disks}")
    must(disks["base.vhd"]["Reason"] == "2 disks are built upon it", f"the Reason of a parent: {disks['base.vhd']}")
    must(disks["grand.vhd"]["Size"] == 20 << 20 and disks["child.vhd"]["Size"] == 10 << 20, f"sizes of children: {disks}")
    with open(served(b"grand.vhd.raw"), "rb") as file:
        must(file.read(11) == b"of the base", "a child reads what its parents have")
    for name in b"base.vhd", b"child.vhd":
        refused(E.EROFS, f"writing to {name}", os.open, served(name + b".raw"), os.O_RDWR)
        nothing_changes(E.EBUSY, b"DeleteDisk Name=" + name)
        nothing_changes(E.EBUSY, b"DeleteDisk Force Name=" + name)
        nothing_changes(E.EBUSY, b"Plan DeleteDisk Name=" + name)
        nothing_changes(E.EBUSY, "Resize Size=1G", control(name))
        nothing_changes(E.EBUSY, "Accept Force", control(name))
    ok("parents that have children")
    for name in "grand.vhd", "child.vhd":
        done(f"DeleteDisk Name={name}")
    must(state_of("base.vhd") == "Ready" and status()["Disks"]["base.vhd"]["Children"] == 0, "a parent without children is Ready")
    done("DeleteDisk Name=base.vhd")
    ok("parents that have none any more")


def resize():
    for name, words in (("g.vhd", ""), ("g.vhd", "Format=vhd-fixed"), ("g.vhdx", ""), ("g.vhdx", "Format=vhdx-fixed")):
        done(f"CreateDisk Name={name} Size=10M {words}")
        where, disk = control(name), served(os.fsencode(name) + b".raw")
        plans("Resize Size=20M", where)
        done("Resize Size=20M", where)
        must(os.stat(disk).st_size == status()["Disks"][name]["Size"] == 20 << 20, f"{name} has grown")
        for command in "Resize Size=10M", "Resize Size=10M Force", "Plan Resize Size=10M Force":
            nothing_changes(E.EOPNOTSUPP, command, where)
        nothing_changes(E.EINVAL, "Resize Size=513", where)
        nothing_changes(E.EINVAL, "Resize Size=65T", where)
        with open(disk, "r+b", buffering=0) as file:
            done("Resize Size=30M", where)
            must(file.seek(0, os.SEEK_END) == 30 << 20, "who has it open sees the new size")
            os.ftruncate(file.fileno(), 40 << 20)
            refused(E.EINVAL, "truncating it", os.ftruncate, file.fileno(), 30 << 20)
            refused(E.EINVAL, "half a sector", os.ftruncate, file.fileno(), (40 << 20) + 100)
            file.seek(40 << 20)
            refused(E.ENOSPC, "writing past its end", file.write, b"x")
        must(os.stat(disk).st_size == 40 << 20, f"{name} has grown by ftruncate, and by nothing else")
        eventually(5, lambda name=name: status()["Disks"][name]["Openers"] == 0, f"{name} is closed")
        done(f"DeleteDisk Name={name}")
    ok("Resize of containers")
    if has_qemu():
        done("CreateDisk Name=k.qcow2 Size=10M")
        nothing_changes(E.EOPNOTSUPP, "Resize Size=20M", control("k.qcow2"))
        refused(E.EOPNOTSUPP, "truncate", os.truncate, served(b"k.qcow2.raw"), 20 << 20)
        eventually(5, lambda: status()["Disks"]["k.qcow2"]["Openers"] == 0, "k.qcow2 is closed")
        done("DeleteDisk Name=k.qcow2")
        ok("a format that keeps its size")


if __name__ == "__main__":
    PLACES["MNT"], PLACES["DISKS"] = (os.fsencode(path) for path in sys.argv[2:4])
    globals()[sys.argv[1]]()

# SPDX-License-Identifier: GPL-2.0-or-later
"""patch_vhdx.py IMAGE PARENT [NAME]: makes an empty VHDX one that is built upon PARENT, which it calls NAME, or
as PARENT is called, in the same directory; with all three names that a VHDX has for a parent."""
import os
import struct
import sys
import uuid

HEADERS = 0x10000, 0x20000
REGIONS = 0x30000
METADATA = uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E").bytes_le
PARAMETERS = uuid.UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B").bytes_le
LOCATOR = uuid.UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C").bytes_le
LOCATOR_TYPE = uuid.UUID("B04AEFB7-D19E-4A81-B789-25B8E9445913").bytes_le
HAS_PARENT = 2


def identity(path):
    """Its DataWriteGuid, of the header that counts."""
    with open(path, "rb") as file:
        head = file.read(0x30000)
    headers = [head[at : at + 4096] for at in HEADERS]
    return max((struct.unpack_from("<Q", h, 8)[0], h[32:48]) for h in headers if h[:4] == b"head")[1]


def locator(pairs):
    table, text = b"", b""
    for key, value in pairs:
        at = 20 + 12 * len(pairs) + len(text)
        key, value = key.encode("utf-16-le"), value.encode("utf-16-le")
        table += struct.pack("<IIHH", at, at + len(key), len(key), len(value))
        text += key + value
    return LOCATOR_TYPE + struct.pack("<HH", 0, len(pairs)) + table + text


def find(table, first, guid):
    for at in range(first, first + 32 * 64, 32):
        if table[at : at + 16] == guid:
            return at
    sys.exit("it is no VHDX as it was expected")


def main():
    path, parent = sys.argv[1:3]
    name = sys.argv[3] if len(sys.argv) > 3 else os.path.basename(parent)
    whole = os.path.join(os.path.dirname(os.path.abspath(parent)), name).replace("/", "\\")
    with open(path, "r+b") as file:
        image = file.read(0x40000)
        (base,) = struct.unpack_from("<Q", image, find(image, REGIONS + 16, METADATA) + 16)
        file.seek(base)
        table = bytearray(file.read(0x20000))
        (count,) = struct.unpack_from("<H", table, 10)
        (parameters,) = struct.unpack_from("<I", table, find(table, 32, PARAMETERS) + 16)
        table[parameters + 4] |= HAS_PARENT
        item = locator([("parent_linkage", "{%s}" % uuid.UUID(bytes_le=identity(parent))),
                        ("relative_path", ".\\" + name),
                        ("absolute_win32_path", whole), ("volume_path", whole)])
        struct.pack_into("<H", table, 10, count + 1)
        struct.pack_into("<16sIIII", table, 32 + 32 * count, LOCATOR, 0x18000, len(item), 4, 0)
        table[0x18000 : 0x18000 + len(item)] = item
        file.seek(base)
        file.write(table)


main()

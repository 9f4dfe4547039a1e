# SPDX-License-Identifier: GPL-2.0-or-later
"""patch_vhd.py IMAGE KEY=VALUE...: makes another, valid head of a dynamic or differencing VHD.

    parent=IMAGE    it says that it was made upon this one: by its identity and its name in the same directory
    absolute=PATH   what it calls the parent by its whole path
    footer=no       zeros where the footer at the end is; its copy stays
"""
import struct
import sys

IDENTITY = 68
HEADER_CHECKSUM, PARENT_IDENTITY, LOCATORS, LOCATOR_SIZE = 36, 40, 576, 24


def checksum(part, at):
    struct.pack_into(">I", part, at, 0)
    struct.pack_into(">I", part, at, ~sum(part) & 0xFFFFFFFF)


def set_locator(image, header, code, path):
    for i in range(8):
        locator = LOCATORS + LOCATOR_SIZE * i
        if header[locator : locator + 4] == code:
            (at,) = struct.unpack_from(">Q", header, locator + 16)
            text = path.encode("utf-16-le")
            struct.pack_into(">I", header, locator + 8, len(text))
            image[at : at + len(text)] = text
            return
    sys.exit(f"there is no locator {code}")


def main():
    path, *changes = sys.argv[1:]
    with open(path, "r+b") as file:
        image = bytearray(file.read())
        (at,) = struct.unpack_from(">Q", image, 16)
        header = bytearray(image[at : at + 1024])
        for key, _, value in (change.partition("=") for change in changes):
            if key == "parent":
                with open(value, "rb") as parent:
                    header[PARENT_IDENTITY : PARENT_IDENTITY + 16] = parent.read(512)[IDENTITY : IDENTITY + 16]
                set_locator(image, header, b"W2ru", ".\\" + value.rpartition("/")[2])
            elif key == "absolute":
                set_locator(image, header, b"W2ku", value.replace("/", "\\"))
            elif key == "footer":
                image[-512:] = bytes(512)
            else:
                sys.exit(f"what is {key}?")
        checksum(header, HEADER_CHECKSUM)
        image[at : at + 1024] = header
        file.seek(0)
        file.write(image)


main()

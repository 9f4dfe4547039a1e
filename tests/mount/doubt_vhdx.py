# SPDX-License-Identifier: GPL-2.0-or-later
"""doubt_vhdx.py IMAGE: its older header becomes the newer one, with another identity, but its sum does not fit. Whoever
checks sums passes it over; libvhdi does not."""
import struct
import sys

HEADERS = 0x10000, 0x20000


def main():
    with open(sys.argv[1], "r+b") as file:
        head = file.read(0x30000)
        numbers = [struct.unpack_from("<Q", head, at + 8)[0] for at in HEADERS]
        older = HEADERS[numbers[0] > numbers[1]]
        file.seek(older + 8)
        file.write(struct.pack("<Q", max(numbers) + 1))
        file.seek(older + 32)
        file.write(b"0123456789abcdef")


main()

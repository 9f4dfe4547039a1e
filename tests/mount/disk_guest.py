# SPDX-License-Identifier: GPL-2.0-or-later
"""disk_guest.py DISK DIR: what a guest is: one descriptor from the beginning to the end, O_DIRECT, and every block that is
written is read back later.

It ends once DIR/enough is there, and leaves what the disk is to hold in DIR/model. DIR/turns says how far it is. A request
that fails with EIO is tried again, as that of a guest that is stopped by an error and goes on later; DIR/errors counts those.
"""
import errno
import mmap
import os
import random
import sys
import time

LARGEST = 64 << 10


def tell(name, number):
    with open(os.path.join(sys.argv[2], name), "w", encoding="ascii") as file:
        file.write(str(number))


errors = 0


def insist(request, *arguments):
    global errors
    while True:
        try:
            return request(*arguments)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            errors += 1
            tell("errors", errors)
            time.sleep(0.05)


def read_all(path):
    with open(path, "rb") as file:
        return bytearray(file.read())


def main():
    disk = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
    model = read_all(sys.argv[1])
    size = len(model)
    buffer = mmap.mmap(-1, LARGEST)
    random.seed(4)
    turns = 0

    def check(place, length):
        assert insist(os.preadv, disk, [memoryview(buffer)[:length]], place) == length
        assert buffer[:length] == model[place:place + length], f"at {place} it is different"

    while not os.path.exists(os.path.join(sys.argv[2], "enough")):
        length = random.randrange(1, 17) * 4096
        place = random.randrange((size - length) // 4096) * 4096
        if random.randrange(3):
            buffer[:length] = random.randbytes(length)
            assert insist(os.pwritev, disk, [memoryview(buffer)[:length]], place) == length
            model[place:place + length] = buffer[:length]
        else:
            check(place, length)
        if turns % 50 == 0:
            insist(os.fsync, disk)
        turns += 1
        tell("turns", turns)
    os.fsync(disk)
    for place in range(0, size, LARGEST):
        check(place, min(LARGEST, size - place))
    with open(os.path.join(sys.argv[2], "model"), "wb") as file:
        file.write(model)


main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""read_vhd.py IMAGE: the disk in a VHD of any kind, to stdout.

Simple and slow, after the specification alone, so that it shares no mistake with anybody. Parents are found by the
absolute locator, then by the relative one.
"""
import os
import struct
import sys

FOOTER = struct.Struct(">8sIIQI4sI4sQQ4sII16s")
HEADER = struct.Struct(">8sQQIIII16sII")
LOCATOR = struct.Struct(">4sIIIQ")
ABSENT = 0xFFFFFFFF


class Image:
    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.bytes = file.read()
        fields = FOOTER.unpack_from(self.bytes, len(self.bytes) - 512)
        self.check(self.bytes[-512:], 64)
        assert fields[0] == b"conectix", "no footer"
        self.size, self.type, self.identity = fields[9], fields[11], fields[13]
        self.parent = None
        if self.type != 2:
            self.read_header(fields[3])

    @staticmethod
    def check(part, at):
        (want,) = struct.unpack_from(">I", part, at)
        total = sum(part) - sum(part[at : at + 4])
        assert want == ~total & 0xFFFFFFFF, "wrong checksum"

    def read_header(self, at):
        header = self.bytes[at : at + 1024]
        self.check(header, 36)
        fields = HEADER.unpack_from(header)
        assert fields[0] == b"cxsparse", "no header"
        self.block = fields[5]
        self.table = struct.unpack_from(f">{fields[4]}I", self.bytes, fields[2])
        assert self.bytes[:512] == self.bytes[-512:], "the copy of the footer differs"
        if self.type == 4:
            self.parent = Image(self.parent_path(header))
            assert self.parent.identity == fields[7], "another parent"

    def parent_path(self, header):
        found = {}
        for i in range(8):
            code, _, length, _, at = LOCATOR.unpack_from(header, 576 + 24 * i)
            if code in (b"W2ru", b"W2ku"):
                found[code] = self.bytes[at : at + length].decode("utf-16-le").rstrip("\0").replace("\\", "/")
        if b"W2ku" in found and os.path.exists(found[b"W2ku"]):
            return found[b"W2ku"]
        return os.path.join(os.path.dirname(self.path), found[b"W2ru"])

    def flat(self):
        if self.type == 2:
            return bytearray(self.bytes[: self.size])
        out = self.parent.flat() if self.parent else bytearray(self.size)
        out = out[: self.size] + bytes(max(0, self.size - len(out)))
        sectors = self.block // 512
        bitmap_length = (sectors // 8 + 511) // 512 * 512
        for number, place in enumerate(self.table):
            if place == ABSENT or number * self.block >= self.size:
                continue
            bitmap = self.bytes[place * 512 : place * 512 + bitmap_length]
            data = place * 512 + bitmap_length
            assert data + self.block <= len(self.bytes) - 512, "a block lies over the footer"
            self.copy_block(out, number * self.block, data, bitmap, sectors)
        return out

    def copy_block(self, out, to, data, bitmap, sectors):
        if not any(bitmap) and self.parent:
            return
        for sector in range(min(sectors, (self.size - to) // 512)):
            at = to + sector * 512
            if bitmap[sector // 8] & 0x80 >> sector % 8:
                out[at : at + 512] = self.bytes[data + sector * 512 : data + sector * 512 + 512]
            elif not self.parent:
                out[at : at + 512] = bytes(512)


sys.stdout.buffer.write(Image(sys.argv[1]).flat())

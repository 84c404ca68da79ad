#!/usr/bin/env python3
"""Fails unless a wasm module imports nothing and exports these functions.

    imports.py MODULE NAME...
"""

import pathlib
import sys

IMPORTS, EXPORTS = 2, 7


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self):
        """LEB128."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text(self):
        return self.take(self.number()).decode()


def sections(module):
    if module.take(8) != b"\0asm\1\0\0\0":
        raise SystemExit("no wasm module")
    found = {}
    while module.at < len(module.data):
        kind = module.take(1)[0]
        found[kind] = Bytes(module.take(module.number()))
    return found


def main():
    path, *names = sys.argv[1:]
    found = sections(Bytes(pathlib.Path(path).read_bytes()))
    if IMPORTS in found and found[IMPORTS].number() > 0:
        raise SystemExit(f"{path} imports {found[IMPORTS].text()}.{found[IMPORTS].text()}")
    exports = found[EXPORTS]
    exported = set()
    for _ in range(exports.number()):
        exported.add(exports.text())
        exports.take(1)
        exports.number()
    if not exported >= set(names):
        raise SystemExit(f"{path} exports {sorted(exported)}, not all of {names}")


main()

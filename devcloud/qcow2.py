# SPDX-License-Identifier: Apache-2.0
"""A tiny bootable disk image, written by hand so that the demo needs no other program.

The format is described in QEMU's docs/interop/qcow2.txt. The disk has one allocated cluster, which
begins with a boot sector that prints a message through the BIOS and halts.
"""

import struct
from pathlib import Path

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_COPIED = 1 << 63  # the cluster's reference count is exactly one
# Where each part lies, in clusters; the header is in cluster 0.
_REFCOUNT_TABLE, _REFCOUNT_BLOCK, _L1, _L2, _DATA = range(1, 6)
_CLUSTERS = 6

_PRINT_AND_HALT = bytes.fromhex(
    "31c0"  # xor ax, ax
    "8ed8"  # mov ds, ax
    "fc"  # cld
    "be197c"  # mov si, 0x7c19: the message behind this code, where the BIOS loads it
    "ac"  # next: lodsb
    "84c0"  # test al, al
    "7409"  # jz halt
    "b40e"  # mov ah, 0x0e: teletype output
    "bb0700"  # mov bx, 7
    "cd10"  # int 0x10
    "ebf2"  # jmp next
    "f4"  # halt: hlt
    "ebfd"  # jmp halt
)


def boot_sector(message: str) -> bytes:
    """A sector that a PC's BIOS boots: it prints *message* and halts."""
    text = message.encode("ascii") + b"\r\n\0"
    code = _PRINT_AND_HALT + text
    if len(code) > 510:
        raise ValueError("the message does not fit into a boot sector")
    return code.ljust(510, b"\0") + b"\x55\xaa"


def write(path: Path, message: str, size: int = 8 << 20) -> None:
    """Write a qcow2 (version 3) of *size* bytes whose disk boots and prints *message*."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,  # version
        0,  # backing file: offset
        0,  # and length of its name
        _CLUSTER_BITS,
        size,
        0,  # not encrypted
        1,  # entries of the L1 table
        _L1 * _CLUSTER,
        _REFCOUNT_TABLE * _CLUSTER,
        1,  # clusters of the refcount table
        0,  # snapshots
        0,
        0,  # incompatible features
        0,  # compatible features
        0,  # autoclear features
        4,  # refcounts have 1 << 4 bits
        104,  # length of this header
    )
    clusters = [
        header + struct.pack(">II", 0, 0),  # no header extensions
        struct.pack(">Q", _REFCOUNT_BLOCK * _CLUSTER),
        struct.pack(f">{_CLUSTERS}H", *[1] * _CLUSTERS),
        struct.pack(">Q", _COPIED | _L2 * _CLUSTER),
        struct.pack(">Q", _COPIED | _DATA * _CLUSTER),
        boot_sector(message),
    ]
    path.write_bytes(b"".join(cluster.ljust(_CLUSTER, b"\0") for cluster in clusters))

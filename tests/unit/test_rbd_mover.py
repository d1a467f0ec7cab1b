# SPDX-License-Identifier: Apache-2.0
"""What a copy into a Ceph pool leaves running; all else is shown on real clusters."""

import threading

import pytest

from glancesync.transports.rbd_mover import PIECE, Copy, Failed, Pieces

ORDER = {
    "targets": {"RegionTwo": {}},
    "size": 2 * PIECE,
    "hash_algo": "sha512",
    "hash_value": "",
    "stall": 20,
    "rates": {},
}


def test_no_write_goes_on_when_a_copy_has_failed() -> None:
    """The image is closed then, and Ceph's library may die of who still writes to it."""
    begun, may_end = threading.Event(), threading.Event()
    ended: list[int] = []

    class Slow:
        def write(self, data: bytes, offset: int) -> None:
            begun.set()
            may_end.wait(30)
            ended.append(offset)

    def pieces() -> Pieces:
        yield 0, PIECE, b"x" * PIECE
        assert begun.wait(30)
        threading.Timer(0.2, may_end.set).start()
        raise Failed("source", "it broke off")

    with pytest.raises(Failed, match="it broke off"):
        Copy(ORDER)._copy(pieces(), Slow())
    assert ended == [0]

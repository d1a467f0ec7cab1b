# SPDX-License-Identifier: Apache-2.0
"""Passwords and keys: as they stand in ``glance_store.yaml``, or fetched from where it points."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from glancesync.documents.files import read
from glancesync.schemes import Secret
from glancesync.stores.keys import Keys

_LIMIT = 64 * 1024
_FIT = re.compile(r"[^\x00-\x1f\x7f]{1,4096}")


def fetch(reference: Mapping[str, str], keys: Keys) -> Secret:
    """The secret that ``{env: NAME}``, ``{file: PATH}`` or ``{castellan: ID}`` points at.

    Of what a file or a key manager holds it is the first line.

    :raises ValueError: there is none; the message says why, without it
    """
    if "env" in reference:
        what = f"the environment variable {reference['env']}"
        value = os.environ.get(reference["env"], "")
        if not value:
            raise ValueError(f"{what} is not set")
    elif "file" in reference:
        what = reference["file"]
        value = _line(what, _content(what))
    else:
        what = f"the key manager's {reference['castellan']}"
        value = _line(what, keys(reference["castellan"]))
    if not _FIT.fullmatch(value):
        raise ValueError(f"{what} is longer than 4096 characters or holds control characters")
    return Secret(value)


def _content(path: str) -> bytes:
    try:
        found = read(path, _LIMIT)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    if found.public:
        raise ValueError(f"everybody may read {path}; try 'chmod o= {path}'")
    return found.data


def _line(what: str, content: bytes) -> str:
    try:
        value = content.partition(b"\n")[0].decode().removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not UTF-8") from None
    if not value:
        raise ValueError(f"the first line of {what} is empty")
    return value

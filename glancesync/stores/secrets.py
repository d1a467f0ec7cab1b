"""Passwords and keys: as they stand in ``glance_store.yaml``, or fetched from where it points."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from glancesync.schemes import Secret
from glancesync.stores.files import read

_LIMIT = 64 * 1024
_FIT = re.compile(r"[^\x00-\x1f\x7f]{1,4096}")


def fetch(reference: Mapping[str, str]) -> Secret:
    """The secret that ``{env: NAME}`` or ``{file: PATH}`` points at: of a file the first line.

    :raises ValueError: there is none; the message says why, without it
    """
    if "env" in reference:
        what = f"the environment variable {reference['env']}"
        value = os.environ.get(reference["env"], "")
        if not value:
            raise ValueError(f"{what} is not set")
    else:
        what = reference["file"]
        try:
            found = read(what, _LIMIT)
        except ValueError as error:
            raise ValueError(f"{what} {error}") from None
        if found.public:
            raise ValueError(f"everybody may read {what}; try 'chmod o= {what}'")
        try:
            value = found.data.partition(b"\n")[0].decode().removesuffix("\r")
        except UnicodeDecodeError:
            raise ValueError(f"{what} is not UTF-8") from None
        if not value:
            raise ValueError(f"the first line of {what} is empty")
    if not _FIT.fullmatch(value):
        raise ValueError(f"{what} is longer than 4096 characters or holds control characters")
    return Secret(value)

# SPDX-License-Identifier: Apache-2.0
"""What Keystone keeps on disk, as ``keystone-manage`` would make it.

That program takes seconds to load, and clouds differ in little: so the database is bootstrapped
once for an environment and copied, and keys and the admin's password are put in from here.
"""

import base64
import hashlib
import os
import sqlite3
from pathlib import Path

_COST = 4  # the binary logarithm; cheap, as all passwords of a devcloud are


def make_keys(directory: Path) -> None:
    """A repository of Fernet keys: the staged and the primary one, for their owner only."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for name in ("0", "1"):
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


def set_password(database: Path, password: str) -> None:
    """Give the one user of a bootstrapped *database* this password; Keystone must not run."""
    connection = sqlite3.connect(database)
    try:
        with connection:
            sql = "UPDATE password SET password_hash = ?"
            changed = connection.execute(sql, (_hashed(password),)).rowcount
            assert changed == 1, changed
    finally:
        connection.close()


def _hashed(password: str) -> str:
    salt = os.urandom(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=2**_COST, r=8, p=1, dklen=32)
    salted, hashed = (base64.b64encode(one).rstrip(b"=").decode() for one in (salt, digest))
    return f"$scrypt$ln={_COST},r=8,p=1${salted}${hashed}"

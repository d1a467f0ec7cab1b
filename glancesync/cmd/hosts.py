# SPDX-License-Identifier: Apache-2.0
"""Whether hosts let glance-sync in by ssh, and what they let it do."""

from __future__ import annotations

import pathlib
import tempfile

from glancesync.schemes import Filesystem
from glancesync.transports.hosts import End, Host, Trouble

_PATIENCE = 10.0  # seconds

#: directory -> missing, closed, readable or writable
_LOOK = """
main() {
  if [ ! -d "$1/" ]; then say missing
  elif [ ! -r "$1/" ] || [ ! -x "$1/" ]; then say closed
  elif [ -w "$1/" ]; then say writable
  else say readable
  fi
}
"""


def trouble(scheme: Filesystem, directory: str, write: bool) -> str:
    """Why a directory of another host can't be used; "" if it can. Changes nothing there.

    :param write: whether it must be possible to write to it, besides reading
    """
    password = scheme.login_password.value if scheme.login_password else ""
    end = End(
        "source",
        directory,
        host=scheme.host,
        port=scheme.port,
        user=scheme.login_user,
        password=password,
        key_file=scheme.key_file,
        known_hosts=scheme.known_hosts,
        host_key=scheme.host_key,
    )
    with tempfile.TemporaryDirectory(prefix="glancesync-", ignore_cleanup_errors=True) as folder:
        host = Host(end, pathlib.Path(folder), _PATIENCE)
        try:
            host.connect()
            (found,) = host.ask(_LOOK, directory)
        except Trouble as error:
            return str(error)
        finally:
            host.close()
    who = scheme.login_user or "the account that logs in"
    if found == "missing":
        return f"{scheme.host} has no directory {directory}"
    if found == "closed":
        return f"{scheme.host}: {directory} can't be read by {who}"
    if write and found != "writable":
        return f"{scheme.host}: {directory} can't be written by {who}"
    return ""

# SPDX-License-Identifier: Apache-2.0
"""Makes what blocks in this process green: import it before anything else.

Eventlet does it all but for one thing: libpq heeds ``connect_timeout`` only where it waits itself,
and under eventlet it does not. A PostgreSQL that takes the connection and then says nothing would
be waited for for ever.
"""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it is deprecated is known: see the decision records
    import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402 - everything else must be imported after the patch
import eventlet.hubs

try:
    import psycopg2
    from psycopg2 import extensions
except ImportError:  # another database is used
    psycopg2 = None


def _wait(connection: Any) -> None:
    """Let other green threads run until psycopg2 has what it waits for.

    A host that does not answer at all is a matter of ``tcp_user_timeout``: libpq tries the next.
    """
    limit = None
    if connection.status == extensions.STATUS_SETUP:
        limit = int(extensions.parse_dsn(connection.dsn).get("connect_timeout", 0)) or None
    while (wanted := connection.poll()) != extensions.POLL_OK:
        read = wanted == extensions.POLL_READ
        eventlet.hubs.trampoline(
            connection.fileno(),
            read=read,
            write=not read,
            timeout=limit if read else None,
            timeout_exc=psycopg2.OperationalError("timeout expired: the server lets nobody in"),
        )


if psycopg2 is not None:
    extensions.set_wait_callback(_wait)

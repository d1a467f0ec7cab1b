# SPDX-License-Identifier: Apache-2.0
"""``glance-sync``: serves the API and works on tasks.

Green threads (eventlet) carry the API's requests and the workers' waiting on hundreds of regions;
copying and hashing happen in child processes, so nothing stalls the hub.
"""

from __future__ import annotations

import glancesync.cmd.green  # noqa: F401 - before anything else

# isort: split
import functools
import logging
import signal
import sys
import threading
import time
import types
from collections.abc import Sequence
from typing import Any

import eventlet
import eventlet.wsgi
from oslo_config import cfg
from oslo_log import log as oslo_logging

from glancesync import wiring
from glancesync.api import deploy
from glancesync.cmd.version import VERSION
from glancesync.conf import broken, load
from glancesync.errors import ConfigurationError, JournalError
from glancesync.journal.journal import Journal
from glancesync.selecting import Selecting

LOG = logging.getLogger(__name__)

_SIGNAL_POLL = 0.2  # seconds between two looks whether a signal came

ROLE = cfg.StrOpt(
    "role",
    default="all",
    choices=["all", "api", "worker"],
    help="What this process does: serve the API, work on tasks, or both.",
)


def main(args: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; exit code 2 for what the operator must mend."""
    try:
        conf = load(
            sys.argv[1:] if args is None else args, prog="glance-sync", version=VERSION, cli=[ROLE]
        )
        oslo_logging.setup(conf, "glance-sync")
        return Daemon(conf).run()
    except (ConfigurationError, JournalError) as error:
        sys.stderr.write(f"glance-sync: {error}\n")
        return 2


class Daemon:
    """The process: its listening socket, its loops, its signals."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        database = wiring.database(conf)
        database.wait(conf.database.max_retries, conf.database.retry_interval)
        self._journal = Journal(database)
        self._stopping = threading.Event()
        self._told_to_stop = False
        self._told_to_reload = False
        self._ruling = wiring.ruling(conf, self._journal)
        self._engine: wiring.Engine | None = None
        if conf.role != "api":
            places = self._ruling.destinations
            self._engine = wiring.engine(conf, self._journal, self._spawn, places)
        self._routing = wiring.routing(conf, self._journal) if conf.role != "worker" else None
        self._selecting = Selecting(wiring.selection(conf))
        self._presence = wiring.presence(conf, self._journal, self._ruling)
        self._app = None
        if self._routing is not None:
            parts = (self._routing, self._ruling, self._selecting)
            self._app = deploy.load(conf, self._journal, *parts)

    def _spawn(self, work: Any) -> None:
        eventlet.spawn_n(work)  # the worker itself limits how many there are

    def run(self) -> int:
        """Serve until told to stop."""
        listener = self._listen() if self._app is not None else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hup)
        threads = []
        if self._engine is not None:
            threads += self._start_engine(self._engine)
        teller = functools.partial(self._presence.keep_telling, self._stopping)
        threads.append(threading.Thread(target=teller, daemon=True))
        threads[-1].start()
        server = None
        if listener is not None:
            server = eventlet.spawn(
                eventlet.wsgi.server,
                listener,
                self._app,
                custom_pool=eventlet.GreenPool(self._conf.api_concurrency),
                log=logging.getLogger("eventlet.wsgi.server"),
                log_output=False,
                debug=False,
                socket_timeout=60,
            )
        LOG.info("glance-sync %s is up (role %s)", VERSION, self._conf.role)
        while not self._told_to_stop:
            time.sleep(_SIGNAL_POLL)
            if self._told_to_reload:
                self._told_to_reload = False
                self._reload()
        LOG.info("stopping")
        self._stopping.set()
        if server is not None:
            server.kill()  # requests that are being answered go on
        if listener is not None:
            listener.close()  # not before: what gets its number next would never be woken
        if self._engine is not None:
            self._engine.worker.stop(self._conf.drain_timeout)
        for thread in threads:
            thread.join(5)
        self._journal.database.dispose()
        LOG.info("stopped")
        return 0

    def _listen(self) -> Any:
        where = (self._conf.bind_host, self._conf.bind_port)
        try:
            return eventlet.listen(where, backlog=self._conf.backlog, reuse_port=False)
        except OSError as error:
            said = f"can't listen on {where[0]}:{where[1]}: {error.strerror}"
            raise broken(self._conf, "DEFAULT", "bind_port", said) from error

    def _start_engine(self, engine: wiring.Engine) -> list[threading.Thread]:
        """The first look at the catalog decides whether the configuration can work at all.

        While Keystone is silent hints are taken, but no task is claimed: none could succeed.
        """
        known = engine.discovery.look()
        if known:
            wiring.check_regions(self._conf, self._journal.regions())

        def serve() -> None:
            if not known:
                engine.discovery.wait(self._stopping)
            engine.worker.serve()

        look = functools.partial(
            engine.discovery.keep_looking, self._conf.catalog_interval, self._stopping
        )
        purge = functools.partial(
            engine.purge.keep_running, lambda: self._conf.purge_after_days, self._stopping
        )
        threads = [
            threading.Thread(target=loop, daemon=True)
            for loop in (serve, engine.worker.keep_alive, look, purge)
        ]
        for thread in threads:
            thread.start()
        return threads

    # -- signals only leave word; run() looks for it, as the hub may be asleep when they arrive ----

    def _stop(self, number: int, frame: types.FrameType | None) -> None:
        self._told_to_stop = True

    def _hup(self, number: int, frame: types.FrameType | None) -> None:
        self._told_to_reload = True

    def _reload(self) -> None:
        """Options marked mutable take effect; the rest needs a restart, and oslo.config says so."""
        try:
            changed = self._conf.mutate_config_files()
            parts = (self._routing, self._ruling, self._selecting)
            wiring.reload(self._conf, self._journal, self._engine, *parts)
        except Exception as error:
            LOG.error("the configuration was not reloaded: %s", error)
            return
        self._presence.tell()
        if self._engine is not None:
            self._look_again()
        LOG.info("configuration reloaded; changed: %s", ", ".join(sorted(o for _, o in changed)))

    def _look_again(self) -> None:
        """Another strategy may want other images in the regions."""
        try:
            self._journal.look_again()
        except JournalError as error:
            LOG.warning("regions will only be looked at when it is their time: %s", error)


if __name__ == "__main__":
    sys.exit(main())

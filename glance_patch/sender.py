# SPDX-License-Identifier: Apache-2.0
"""Carries hints from Glance to the glance-sync server.

``Sender.offer`` is all that runs in the user's call: it notes the image in a dict under a lock.
One daemon thread per process sends what has gathered. What could not be sent stays in the dict,
where further changes of the same image merge with it, so memory is bounded by ``queue_size`` and a
server that was away is told about each changed image once.

A hint that is lost here (queue full, process killed) costs delay, not correctness: whatever makes
the server look at the image again, its next change at the latest, brings all that was missed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import json
import logging
import os
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from keystoneauth1 import loading
from keystoneauth1 import session as ks_session
from oslo_config import cfg

from glance_patch import opts

LOG = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
"""How long the end of the process may wait for a last batch."""

FIRST_BACKOFF = 0.25
MAX_ANSWER = 65536


class RefusedError(Exception):
    """The server has read the batch and finds fault with it: sending it again cannot help."""


class NotTakenError(Exception):
    """Anything else but an acknowledgement: the same batch may be taken later."""


class Hint(NamedTuple):
    actor: dict[str, Any]
    """who asked for the latest change"""
    merged: int
    """how many changes this hint stands for"""
    removed: bool
    """whether one of them removed the image"""


class Sender:
    """Gathers hints, merges them by image, and sends them in batches.

    ``post`` sends one request body; it returns when the server has acknowledged it and raises
    ``RefusedError`` or any other exception when not. ``jitter`` returns a float in [0, 1).
    """

    def __init__(
        self,
        post: Callable[[dict[str, Any]], None],
        *,
        queue_size: int = 10000,
        batch_size: int = 500,
        merge_window: float = 0.02,
        max_backoff: float = 10.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._post = post
        self._queue_size = queue_size
        self._batch_size = batch_size
        self._merge_window = merge_window
        self._max_backoff = max_backoff
        self._jitter = jitter
        self._hints: dict[str, Hint] = {}
        self._dropped = 0
        self._lock = threading.Lock()
        self._gathered = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        # The rest belongs to whoever calls step(), normally the thread.
        self._limit = batch_size
        self._failures = 0
        self._reachable: bool | None = None
        self._told_of_drops = False
        self._told_of_refusal = False

    def offer(self, image_id: str, actor: dict[str, Any], removed: bool = False) -> None:
        """Note that an image changed, or is gone. Takes microseconds, does no I/O."""
        with self._lock:
            known = self._hints.get(image_id)
            if known is None and len(self._hints) >= self._queue_size:
                self._dropped += 1
            else:
                before = known or Hint({}, 0, False)
                self._hints[image_id] = Hint(actor, before.merged + 1, before.removed or removed)
            # A WSGI server that forks after loading Glance leaves the thread in its parent.
            if self._pid != os.getpid() or self._thread is None or not self._thread.is_alive():
                self._start()
        self._gathered.set()

    def step(self) -> float | None:
        """Send one batch; return the seconds to wait before the next, None if there is nothing.

        A hint is forgotten only after the server acknowledged it, or refused it by itself. One that
        was renewed meanwhile is kept: the server may have read the image before the change.
        """
        with self._lock:
            sent = dict(itertools.islice(self._hints.items(), self._limit))
            dropped = self._dropped
            if not sent:
                self._gathered.clear()
                return None
        events = [{"image_id": image_id, **hint._asdict()} for image_id, hint in sent.items()]
        try:
            self._post({"events": events, "dropped": dropped})
        except RefusedError as exc:
            return self._split(sent, exc)
        except Exception as exc:
            return self._back_off(exc)
        return self._acknowledged(sent, dropped)

    def close(self) -> None:
        """Try once more to send what is left, for at most FLUSH_SECONDS, and stop the thread."""
        if self._thread is None or self._pid != os.getpid():
            return
        self._closing.set()
        self._gathered.set()
        self._thread.join(FLUSH_SECONDS)
        if self._hints:
            LOG.warning("glance_sync: %d changed images were not told of", len(self._hints))

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="glance_sync", daemon=True)
        self._thread.start()
        self._pid = os.getpid()
        atexit.unregister(self.close)
        atexit.register(self.close)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._gathered.wait()
            self._closing.wait(self._merge_window)
            while (pause := self.step()) is not None and not self._closing.wait(pause):
                pass
        self.step()

    def _acknowledged(self, sent: dict[str, Hint], dropped: int) -> float:
        full = len(sent) >= self._limit
        with self._lock:
            for image_id in sent:
                self._forget(image_id, sent[image_id])
            self._dropped -= dropped
        if self._reachable is not True:
            LOG.info(
                "glance_sync: the server takes hints (%d failed tries, %d images dropped)",
                self._failures,
                dropped,
            )
        self._reachable, self._told_of_drops = True, False
        self._failures = 0
        if self._limit == self._batch_size:
            self._told_of_refusal = False
        self._limit = min(self._limit * 2, self._batch_size)
        return 0.0 if full else self._merge_window

    def _split(self, sent: dict[str, Hint], reason: RefusedError) -> float:
        """Halve the batch until the hint at fault is alone, then drop that one."""
        if len(sent) > 1:
            self._limit = len(sent) // 2
            return 0.0
        [(image_id, hint)] = sent.items()
        with self._lock:
            self._forget(image_id, hint)
            self._dropped += 1
        if not self._told_of_refusal:
            self._told_of_refusal = True
            LOG.warning("glance_sync: the server refuses hints, of %s: %s", image_id, reason)
        return 0.0

    def _back_off(self, reason: Exception) -> float:
        self._failures += 1
        if self._reachable is not False:
            LOG.warning(
                "glance_sync: the server does not take hints, trying on: %s: %.300s",
                type(reason).__name__,
                reason,
            )
        self._reachable = False
        if self._dropped and not self._told_of_drops:
            self._told_of_drops = True
            LOG.warning(
                "glance_sync: %d changed images are waiting, further ones are dropped",
                len(self._hints),
            )
        # The exponent is capped as well, else 2 ** failures grows without bound.
        pause = min(self._max_backoff, FIRST_BACKOFF * 2.0 ** min(self._failures - 1, 16))
        return pause * (0.5 + self._jitter() / 2)

    def _forget(self, image_id: str, sent: Hint) -> None:
        """Take off what was sent; keep what came while it was on its way. Needs the lock."""
        now = self._hints[image_id]
        if now is sent:
            del self._hints[image_id]
        else:
            self._hints[image_id] = now._replace(merged=now.merged - sent.merged)


class HttpPost:
    """Sends a body to ``POST /v1/events`` with the token of the service user.

    The session, and with it the token, is made on first use in each process: at import time neither
    the options of ``[keystone_authtoken]`` nor Keystone need be there yet, and two processes must
    not share a connection. keystoneauth fetches a new token when the server answers 401.
    """

    def __init__(
        self,
        url: str,
        open_session: Callable[[], ks_session.Session],
        verify: bool | str = True,
        cert: tuple[str, str] | str | None = None,
    ) -> None:
        self._url = url
        self._open_session = open_session
        self._verify = verify
        self._cert = cert
        self._session: ks_session.Session | None = None
        self._pid = 0

    def __call__(self, body: dict[str, Any]) -> None:
        """Return when the server has acknowledged the hints; only its own 202 says so."""
        if self._session is None or self._pid != os.getpid():
            self._session, self._pid = self._open_session(), os.getpid()
        response = self._session.post(
            self._url,
            json=body,
            redirect=False,
            raise_exc=False,
            log=False,
            stream=True,
            verify=self._verify,
            cert=self._cert,
        )
        # What listens there may be anything, also something that never stops talking.
        with contextlib.closing(response):
            answer = _object(response.raw.read(MAX_ANSWER, decode_content=True))
        status = response.status_code
        if status == 202 and "accepted" in answer:
            return
        if status in (400, 413) and "error" in answer:
            raise RefusedError(f"HTTP {status}: {answer['error']!r:.200}")
        raise NotTakenError(f"HTTP {status} from {self._url}")


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def from_conf(conf: cfg.ConfigOpts) -> Sender:
    """The sender that glance-api.conf asks for. Connects to nothing yet."""
    own = conf[opts.GROUP]
    host = conf.sync_server_host
    if ":" in host:
        host = f"[{host}]"
    url = f"{own.sync_server_scheme}://{host}:{conf.sync_server_port}/v1/events"
    verify, cert = _tls(own)
    return Sender(
        HttpPost(url, functools.partial(session_from_conf, conf), verify, cert),
        queue_size=own.queue_size,
        batch_size=own.batch_size,
        merge_window=own.merge_window,
        max_backoff=own.max_backoff,
    )


def session_from_conf(conf: cfg.ConfigOpts) -> ks_session.Session:
    """A session of the service user of ``[glance_sync]``, else of ``[keystone_authtoken]``."""
    own = conf[opts.GROUP]
    section = opts.GROUP if own.auth_section or own.auth_type else "keystone_authtoken"
    loading.register_auth_conf_options(conf, section)
    auth = loading.load_auth_from_conf_options(conf, section)
    if auth is None:
        raise NotTakenError(f"no auth_type in [{opts.GROUP}] nor in [keystone_authtoken]")
    verify, cert = _tls(conf[section])
    return ks_session.Session(
        auth=auth, verify=verify, cert=cert, timeout=own.timeout, app_name="glance_sync"
    )


def _tls(section: Any) -> tuple[bool | str, tuple[str, str] | str | None]:
    """How to verify the other side, and our certificate, as requests takes them."""
    verify = False if getattr(section, "insecure", False) else getattr(section, "cafile", None)
    cert, key = getattr(section, "certfile", None), getattr(section, "keyfile", None)
    return (True if verify is None else verify), ((cert, key) if cert and key else cert)

# SPDX-License-Identifier: Apache-2.0
"""``scp`` and ``rsync``: files from host to host over ssh (see :mod:`.courier`).

The landed file is registered with the target's Glance. If that says no, the file is taken away
again. After any other error Glance may have it in use: the next try finds it there, and right.
Until Glance has it, a mark beside it says that it is ours, as :mod:`.berth` has it.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glancesync.errors import Corrupt, Refused, RegionError, Transient, WayBlocked
from glancesync.interfaces import Capabilities, Source, Target
from glancesync.schemes import Filesystem, Place
from glancesync.transports import child, courier
from glancesync.transports.settings import TransferSettings


class _Ssh:
    """What both have; ``name`` is also the program that copies."""

    name = ""
    capabilities = Capabilities(
        needs_formats=True,
        direct=True,
        reads=frozenset({Filesystem.name}),
        writes=frozenset({Filesystem.name}),
        tidies=True,
    )

    def __init__(self, settings: TransferSettings) -> None:
        self._settings = settings

    def move(
        self,
        source: Source,
        targets: Sequence[Target],
        settle: Callable[[Target, RegionError | None], None],
    ) -> None:
        """See ``interfaces.Transport``."""
        for target in targets:
            try:
                if self._deliver(source, target):
                    settle(target, None)
            except RegionError as error:
                settle(target, error)

    def tidy(self, target: Target) -> None:
        """See ``interfaces.Leaver``."""
        assert target.place is not None  # noqa: S101 - by our capabilities
        order = {
            **self._about(target),
            "source": {"path": target.place.path},
            "size": 0,
            "hash_algo": "",
            "hash_value": "",
            "straight": False,
            "tidy": True,
        }
        line, _ = self._send(order, target, {})
        if line is None or not line["ok"]:
            said = line["message"] if line else "the host was not asked"
            raise WayBlocked(target.region, f"something may be left over: {said}")

    def _deliver(self, source: Source, target: Target) -> bool:
        """Whether the file is there, and registered; not if it was told to stop.

        :raises RegionError: it is not
        """
        order = self._order(source, target)
        waiting = {target.region: target}
        line, landing = self._send(
            order, target, waiting, functools.partial(self._register, source)
        )
        if line is None and not target.cancelled():
            raise Transient(target.region, "the copying was broken off")
        if line is None:
            if landing:  # it may have got its name just before
                self._send({**order, "remove": landing}, target, {})
            return False
        if line["ok"]:
            return True
        message, home = line["message"], source.service.region
        if line["side"] == "corrupt":
            raise Corrupt(home, f"image {source.image.id}: {message}")
        raise WayBlocked(home if line["side"] == "source" else target.region, message)

    def _send(
        self,
        order: dict[str, Any],
        target: Target,
        waiting: Mapping[str, Target],
        landed: Callable[[Target, dict[str, Any]], None] = lambda target, line: None,
    ) -> tuple[dict[str, Any] | None, str]:
        """The last line of a courier, and the state of the file it was about to give its name.

        :param landed: is called when the courier has brought a file, and waits to hear that it is
            Glance's
        """
        landing = ""
        with (
            tempfile.TemporaryDirectory(
                prefix="glancesync-ssh-", ignore_cleanup_errors=True
            ) as own,
            child.lines_of({**order, "folder": own}, waiting, courier.__file__) as lines,
        ):
            for line in lines:
                if "progress" in line:
                    target.report(line["progress"][target.region])
                elif "landing" in line:
                    landing = line["landing"]
                else:
                    if "made" in line:
                        landed(target, line)
                        lines.say({"settled": True})
                    return line, landing
        return None, landing

    def _register(self, source: Source, target: Target, landed: dict[str, Any]) -> None:
        """Have Glance use the file; what was made here goes again if Glance says no."""
        assert target.place is not None  # noqa: S101 - see _order
        if target.cancelled():
            raise Transient(target.region, "cancelled" + self._taken_back(source, target, landed))
        try:
            target.service.register(target.image_id, target.place.location, source.image)
        except Refused as error:
            # After any other error it may yet have adopted the file: the next attempt finds it.
            left = self._taken_back(source, target, landed)
            raise WayBlocked(target.region, error.message + left) from error

    def _taken_back(self, source: Source, target: Target, landed: dict[str, Any]) -> str:
        """Have the file removed, if it is of this order; what an error has to say of that."""
        if not landed["made"]:
            return ""
        line, _ = self._send({**self._order(source, target), "remove": landed["state"]}, target, {})
        if line is not None and line["ok"]:
            return ""
        path = target.place.path if target.place is not None else ""
        return f"; {path!r} is left over: {line['message'] if line else 'the host was not asked'}"

    def _order(self, source: Source, target: Target) -> dict[str, Any]:
        """What the courier is told; holds passwords, so it is only ever written to its input."""
        if source.place is None or target.place is None:
            raise WayBlocked(target.region, f"{self.name} was not told where the files are")
        image = source.image
        algorithm, expected = image.digest or ("", "")
        return {
            **self._about(target),
            "source": _end(source.place),
            "size": image.size or 0,
            "hash_algo": algorithm,
            "hash_value": expected,
            "straight": source.relayed,
            "tidy": False,
        }

    def _about(self, target: Target) -> dict[str, Any]:
        """What every order says."""
        assert target.place is not None  # noqa: S101 - see _order
        return {
            "name": target.region,
            "way": self.name,
            "target": _end(target.place),
            "stall": self._settings.stall,
            "timeout": self._settings.copy,
            "remove": "",
        }


class Scp(_Ssh):
    """Copies with scp."""

    name = "scp"


class Rsync(_Ssh):
    """Copies with rsync, which goes on where an earlier copy broke off."""

    name = "rsync"


def _end(place: Place) -> dict[str, Any]:
    scheme = place.scheme
    assert isinstance(scheme, Filesystem)  # noqa: S101 - as the capabilities say
    if scheme.here:
        return {"path": place.path}
    return {
        "path": place.path,
        "host": scheme.host,
        "port": scheme.port,
        "user": scheme.login_user,
        "password": scheme.login_password.value if scheme.login_password else "",
        "key_file": scheme.key_file,
        "known_hosts": scheme.known_hosts,
        "host_key": scheme.host_key,
    }

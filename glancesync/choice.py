"""Which transport: the first configured one whose capabilities fit both ends."""

from __future__ import annotations

from collections.abc import Iterable

from glancesync.interfaces import Capabilities, Transport
from glancesync.model import Image


def unfit(needs: Capabilities, image: Image, import_methods: Iterable[str]) -> str | None:
    """Why a transport can't bring ``image`` to a region, or None if it can."""
    if needs.needs_import_method and needs.needs_import_method not in import_methods:
        return f"the region does not offer the import method {needs.needs_import_method}"
    if needs.needs_formats and not (image.container_format and image.disk_format):
        return "the image has no container_format or disk_format"
    return None


def choose(
    transports: Iterable[Transport], image: Image, import_methods: Iterable[str]
) -> tuple[Transport | None, dict[str, str]]:
    """The transport to take, and why each one before it was passed over."""
    methods = frozenset(import_methods)
    passed: dict[str, str] = {}
    for transport in transports:
        why = unfit(transport.capabilities, image, methods)
        if why is None:
            return transport, passed
        passed[transport.name] = why
    return None, passed

# SPDX-License-Identifier: Apache-2.0
"""The filters that come with glance-sync. Pure.

What an operator says of a region stands in its labels: ``availability_zones`` and ``disk_formats``
list names with commas between them.
"""

from __future__ import annotations

from collections.abc import Mapping

from glancesync.placement.selection import Candidate, Settings, Verdict, Wish

ZONES = "availability_zones"
FORMATS = "disk_formats"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class _Filter:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings


class Enabled(_Filter):
    """Regions that are in the catalog and enabled."""

    name = "enabled"

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        if not candidate.region.present:
            return Verdict(False, "it is not in the catalog")
        if not candidate.region.enabled:
            return Verdict(False, "it is disabled")
        return Verdict(True, "it is enabled")


class Maintenance(_Filter):
    """Regions that are not in maintenance."""

    name = "maintenance"

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        if candidate.region.maintenance:
            return Verdict(False, "it is in maintenance")
        return Verdict(True, "it is not in maintenance")


class AvailabilityZone(_Filter):
    """Regions that have the availability zone."""

    name = "availability_zone"

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        zone = wish.availability_zone
        if zone is None:
            return Verdict(True, "no zone is asked for")
        if zone in _listed(candidate.region.labels, ZONES):
            return Verdict(True, f"it has the zone {zone}")
        return Verdict(False, f"its label {ZONES} does not have {zone}")


class Labels(_Filter):
    """Regions whose labels are as asked for."""

    name = "labels"

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        labels = candidate.region.labels
        for label, wanted in sorted(wish.labels.items()):
            if label not in labels:
                return Verdict(False, f"it has no label {label}")
            if labels[label] != wanted:
                return Verdict(False, f"its label {label} is {labels[label]}, not {wanted}")
        if not wish.labels:
            return Verdict(True, "no label is asked for")
        return Verdict(True, "it has the labels")


class DiskFormat(_Filter):
    """Regions that can use the disk format; all can unless their label lists what they can."""

    name = "disk_format"

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        if wish.disk_format is None:
            return Verdict(True, "no format is asked for")
        if FORMATS not in candidate.region.labels:
            return Verdict(True, f"it has no label {FORMATS}: any will do")
        if wish.disk_format in _listed(candidate.region.labels, FORMATS):
            return Verdict(True, f"it can use {wish.disk_format}")
        return Verdict(False, f"its label {FORMATS} does not have {wish.disk_format}")


class Capacity(_Filter):
    """Regions where enough is free; those whose capacity is not known have."""

    name = "capacity"

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        capacity = candidate.capacity(self._settings)
        if capacity is None and candidate.region.capacity is not None:
            return Verdict(True, "its capacity was said too long ago to count")
        if capacity is None:
            return Verdict(True, "nobody has said its capacity")
        free = capacity.free_bytes
        if wish.size is not None and wish.size > free:
            return Verdict(False, f"{_size(free)} are free, {_size(wish.size)} are wanted")
        if capacity.total_bytes is None:
            return Verdict(bool(free), f"{_size(free)} are free")
        share = 100 * (free - (wish.size or 0)) / capacity.total_bytes
        said = f"{share:.3g} % of {_size(capacity.total_bytes)} would be free"
        if share < self._settings.min_free:
            return Verdict(False, f"{said}; {self._settings.min_free:g} % must stay free")
        return Verdict(True, said)


class Allowed(_Filter):
    """Regions that the project may be bound to."""

    name = "allowed"

    def judge(self, wish: Wish, candidate: Candidate) -> Verdict:
        allowed = self._settings.allowed.get(wish.project_id)
        if allowed is None:
            return Verdict(True, "the project may be bound to any region")
        if candidate.region.name in allowed:
            return Verdict(True, "the project may be bound to it")
        return Verdict(False, f"the project may only be bound to {', '.join(sorted(allowed))}")


def _listed(labels: Mapping[str, str], label: str) -> list[str]:
    return [part.strip() for part in labels.get(label, "").split(",")]


def _size(count: int) -> str:
    """Bytes in the largest binary unit of which there is at least one."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{count / (1 << 10 * power):.4g} {_UNITS[power]}"

# SPDX-License-Identifier: Apache-2.0
"""Repositories that say which image they changed.

They sit outermost in the layers that ``glance.gateway.Gateway`` builds and do not wrap the images
and members that pass through, so nothing in Glance meets a type it does not know. A hint follows
every change that Glance has accepted; whether it matters to a replica is for the server to decide.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import glance.domain.proxy

LOG = logging.getLogger(__name__)

Offer = Callable[[str, dict[str, Any], bool], None]


def actor_of(context: Any) -> dict[str, Any]:
    """Who asks for the change, as the events API takes it (fields may be null)."""
    return {
        "user_id": context.user_id,
        "project_id": context.project_id,
        "roles": list(context.roles or ()),
        "request_id": context.request_id,
    }


class Teller:
    """Offers a hint about an image, and raises nothing: the user's change has already happened."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self.failures = 0

    def __call__(self, image: Any, context: Any, removed: bool = False) -> None:
        try:
            self._offer(image.image_id, actor_of(context), removed)
        except Exception:
            self.failures += 1
            if self.failures == 1:
                LOG.exception("glance_sync cannot note changes; images must be synced by hand")


class ImageRepoProxy(glance.domain.proxy.Repo):  # type: ignore[misc]
    """An image repository that tells of what was added, saved and removed."""

    def __init__(self, base: Any, context: Any, tell: Teller) -> None:
        super().__init__(base)
        self._context = context
        self._tell = tell

    def add(self, item: Any) -> Any:
        result = super().add(item)
        self._tell(item, self._context)
        return result

    def save(self, item: Any, from_state: str | None = None) -> Any:
        result = super().save(item, from_state=from_state)
        self._tell(item, self._context)
        return result

    def remove(self, item: Any) -> Any:
        result = super().remove(item)
        self._tell(item, self._context, removed=True)
        return result

    # The atomic property methods need no hint: Glance uses them only for the lock of an import
    # (os_glance_import_task), which is never copied, and saves the image when the import ends.


class ImageMemberRepoProxy(glance.domain.proxy.MemberRepo):  # type: ignore[misc]
    """A member repository; a change of members is a change of their image."""

    def __init__(self, base: Any, image: Any, context: Any, tell: Teller) -> None:
        super().__init__(image, base)
        self._context = context
        self._tell = tell

    def add(self, member: Any) -> Any:
        result = super().add(member)
        self._tell(self.image, self._context)
        return result

    def save(self, member: Any, from_state: str | None = None) -> Any:
        result = super().save(member, from_state=from_state)
        self._tell(self.image, self._context)
        return result

    def remove(self, member: Any) -> Any:
        result = super().remove(member)
        self._tell(self.image, self._context)
        return result

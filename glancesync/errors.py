# SPDX-License-Identifier: Apache-2.0
"""Every error glancesync raises on purpose, and whether trying again makes sense.

::

    SyncError
    ├── ConfigurationError     the operator must mend a file; refused at start
    ├── JournalError           the database is not one of ours, or of another version
│   ├── JournalUnavailable it does not answer, can't write, or chose us to break a deadlock
│   └── JournalRefused     it answered that a statement breaks a rule of its own
    ├── LeaseLost              another worker owns the task now; stop, write nothing
    ├── BadRequest             a caller of our API broke a rule; names field and rule
    └── RegionError            a Glance or Keystone answered, or did not; carries the region
        ├── Transient          no answer, 5xx, broken connection: try again with backoff
        │   ├── Throttled      429 or 503 with Retry-After: try again, not before it says
        │   └── WayBlocked     this way of moving bytes does not work now; another one may
        ├── Credential         401: our credentials, or the region's own set-up
        ├── Refused            other 4xx: policy, protection, quota, schema
        │   └── Misdirected    a home image says that its bytes are where they can't be
        ├── Unready            what is to be copied has no bytes yet: look again, at no cost
        ├── Conflict           the region holds something that contradicts what we would make
        └── Corrupt            bytes arrived whose size or hash is not that of the home image

Foreign exceptions (glanceclient, keystoneauth, SQLAlchemy) are translated where they enter, in
``regions`` and ``journal``; nothing above those packages sees one. What is none of these is a bug
of ours: it is logged with its traceback, shown, and tried again at long intervals.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping, Sequence
from typing import Self


class SyncError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(SyncError):
    """A configuration that can't work.

    :param option: the option as ``[section] name``
    :param reason: the rule it breaks, in words
    :param source: the file it was read from, or where it would have been
    """

    def __init__(self, option: str, reason: str, source: str = "the configuration") -> None:
        super().__init__(f"{source}: {option}: {reason}")
        self.option = option
        self.reason = reason
        self.source = source


class JournalError(SyncError):
    """The database can't be used: not ours, or of another version than this program.

    :param retries: how often it makes sense to try the whole transaction again, at once
    """

    def __init__(self, message: str, *, retries: int = 0) -> None:
        super().__init__(message)
        self.retries = retries


class JournalUnavailable(JournalError):  # noqa: N818
    """The database does not answer, or can't write; nothing was committed that was not said to be.

    After a connection that broke it is not known whether the last commit was made.
    """


class JournalRefused(JournalError):  # noqa: N818
    """The database did not take what we wrote: a duplicate, a broken rule, a value too long."""


class LeaseLost(SyncError):  # noqa: N818 - it is an event of the queue, named as one
    """The lease on a task ended or was taken over; whoever held it must not write."""


class BadRequest(SyncError):  # noqa: N818 - named after the HTTP status it becomes
    """A request to our API that breaks a rule.

    :param code: HTTP status, 400 unless told
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class RegionError(SyncError):
    """Something went wrong with one region.

    :param region: name of the region
    :param message: what happened, in words an operator understands, free of secrets
    :param retry_after: seconds the region asked us to wait, if it did
    """

    retryable = False

    def __init__(self, region: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{region}: {message}")
        self.region = region
        self.message = message
        self.retry_after = retry_after

    def after(self, others: Sequence[str]) -> Self:
        """The same, and what had gone wrong before it: often that is the cause."""
        if not others:
            return self
        said = f"{self.message}; before that {'; '.join(others)}"
        return type(self)(self.region, said, retry_after=self.retry_after)


class Transient(RegionError):  # noqa: N818
    """No answer, a server error, or a connection that broke."""

    retryable = True


class Throttled(Transient):
    """The region asked us to come back later."""


class WayBlocked(Transient):
    """A way to move bytes does not work, for a reason that others need not have."""


class Credential(RegionError):  # noqa: N818
    """The region did not accept our token."""


class Refused(RegionError):  # noqa: N818
    """The region understood and said no."""


class Misdirected(Refused):
    """A home image says that its bytes are where they can't be; the message names the property."""


class Unready(RegionError):  # noqa: N818
    """What is to be copied has no bytes yet, and will have; ``retry_after`` says when to look."""


class Conflict(RegionError):  # noqa: N818
    """The region holds an image that contradicts the one we would make."""


class Corrupt(RegionError):  # noqa: N818
    """What arrived is not what the home image is."""

    retryable = True


def from_status(
    region: str, message: str, status: int, headers: Mapping[str, str] | None = None
) -> RegionError:
    """The error that an HTTP answer means; the same for every call to a region, whoever makes it.

    :param message: what happened, in words; the status is not added
    :param headers: those of the answer, in any case
    """
    if status == 401:
        return Credential(region, message)
    if status == 409:
        return Conflict(region, message)
    wait = retry_after(headers or {})
    if status == 429 or (status == 503 and wait is not None):
        return Throttled(region, message, retry_after=wait)
    if 400 <= status < 500 and status not in (404, 408, 410):
        return Refused(region, message)
    return Transient(region, message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks us to wait; None if it does not, or not as RFC 9110 has it.

    A point in time is taken by the answer's own ``Date``, so that clocks need not agree.
    """
    fields = {name.lower(): value.strip() for name, value in headers.items()}
    said = fields.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        then = email.utils.parsedate_to_datetime(said)
        now = email.utils.parsedate_to_datetime(fields.get("date", ""))
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError):
        return None


def without_secrets(text: str) -> str:
    """Without the user and password of a URL, which far ends may repeat: locations have them."""
    return re.sub(r"(?<=://)[^\s@'\"]+@", "***@", text)

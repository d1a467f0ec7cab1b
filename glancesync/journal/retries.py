# SPDX-License-Identifier: Apache-2.0
"""Transactions that are worth another try."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from glancesync.errors import JournalError

LOG = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_PAUSES = (0.05, 0.1, 0.3, 0.8, 2.0)  # seconds before the next try, at most


def retried(method: Callable[P, T]) -> Callable[P, T]:
    """Run a transaction again after a deadlock, a lost connection, or a row that came between.

    Safe because each is one transaction of absolute or fenced writes. If its commit was made and
    only the answer got lost: a hint is counted twice, a claimed task is claimed by nobody until its
    lease ends, and a task that was concluded is found concluded (LeaseLost).
    """

    @functools.wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for tried, pause in enumerate(_PAUSES):
            try:
                return method(*args, **kwargs)
            except JournalError as error:
                if tried >= error.retries:
                    raise
                LOG.debug("%s: once more after: %s", method.__name__, error)
            # At random, so that those who met once do not meet again.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        return method(*args, **kwargs)

    return run

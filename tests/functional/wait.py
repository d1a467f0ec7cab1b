# SPDX-License-Identifier: Apache-2.0
"""Waiting on a condition with a deadline: the only way a functional test may wait."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

POLL = 0.1  # seconds
LONGEST = 0.5


def until(predicate: Callable[[], Seen], timeout: float, what: str, poll: float = POLL) -> Seen:
    """Poll *predicate* until it returns something true, and return that.

    A predicate that raises AssertionError has not come true yet, so plain asserts may stand in it;
    every other exception is the test's. Raises AssertionError after *timeout* seconds, saying what
    was waited for and what was last seen. The predicate is asked at least twice; the longer it
    takes, the less often, as asking keeps busy who is waited for.
    """
    began = time.monotonic()
    deadline = began + timeout
    last = "nothing"
    late = False
    while True:
        try:
            seen = predicate()
        except AssertionError as error:
            last = str(error) or "an assertion without words"
        else:
            if seen:
                return seen
            last = repr(seen)
        if late:
            raise AssertionError(f"{what}: not within {timeout:g} s; last seen: {last}")
        late = time.monotonic() > deadline
        time.sleep(min(LONGEST, max(poll, (time.monotonic() - began) / 5)))

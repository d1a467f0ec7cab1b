# SPDX-License-Identifier: Apache-2.0
"""Waits until a URL answers 200: ``wait_healthy.py URL SECONDS``; exits 1 if it never does."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request


def wait(url: str, seconds: float) -> str | None:
    """None once the URL answered 200, else what it said last after that many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - http(s) by install.sh
                if answer.status == 200:
                    return None
                said = f"status {answer.status}"
        except (OSError, urllib.error.URLError) as error:
            said = str(error)
        if time.monotonic() >= end:
            return said
        time.sleep(0.5)


if __name__ == "__main__":
    problem = wait(sys.argv[1], float(sys.argv[2]))
    if problem is not None:
        sys.exit(f"{sys.argv[1]} does not answer with 200: {problem}")

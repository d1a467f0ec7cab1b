# SPDX-License-Identifier: Apache-2.0
"""The programs that copy: how the courier calls them, and what they say."""

from __future__ import annotations

import shlex
import subprocess

from glancesync.transports.hosts import Host, environment, last_words


def scp(source: Host, target: Host, path: str, partial: str) -> list[str]:
    """The command. By the protocol of old, which is faster and brings bytes in order."""
    relayed = [] if source.here or target.here else ["-3"]
    said = subprocess.run(["scp", "-O"], capture_output=True, check=False, env=environment())
    # Before OpenSSH 8.7 it was the only one.
    old = [] if b"option -- O" in said.stderr else ["-O"]
    return [
        *("scp", *source.config, *old, "-T", "-q", *relayed, "--"),
        path if source.here else f"source:{_quoted(path)}",
        partial if target.here else f"target:{_quoted(partial)}",
    ]


def rsync(source: Host, target: Host, path: str, partial: str, options: list[str]) -> list[str]:
    """The command; one end is here."""
    return [
        *("rsync", *options, "-e", shlex.join(["ssh", *source.config, "-T"]), "--"),
        path if source.here else f"source:{path}",
        partial if target.here else f"target:{partial}",
    ]


def rsync_options(there: int, holes: bool, patience: float) -> list[str]:
    """Into the file as it is: of one that is there, only what differs is sent.

    :param there: bytes that are
    :param patience: seconds without a byte
    """
    return [
        *("--inplace", "--ignore-times", "-s", "--no-human-readable", "--info=progress2"),
        f"--timeout={max(1, int(patience))}",
        "--no-whole-file" if there else "--whole-file",
        *(["--sparse"] if holes else []),
    ]


def reason(said: bytes) -> str:
    """Why a program failed; rsync says that first, and its exit code last."""
    lines = said.replace(b"\r", b"\n").split(b"\n")
    first = [line for line in lines if line.startswith(b"rsync: ")]
    return last_words(first[0] if first else said)


def progress(said: bytes) -> int | None:
    """The bytes that rsync says it has come to."""
    for line in reversed(said.replace(b"\n", b"\r").split(b"\r")):
        number, _, rest = line.strip().partition(b" ")
        if number.isdigit() and b"%" in rest:
            return int(number)
    return None


def _quoted(path: str) -> str:
    """A path as a shell takes it, its last part as plain as can be."""
    return "/".join(shlex.quote(part) if part else "" for part in path.split("/"))

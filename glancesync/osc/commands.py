# SPDX-License-Identifier: Apache-2.0
"""What all commands share."""

from __future__ import annotations

import abc
import argparse
import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

from osc_lib.command import command

from glancesync.osc.client import Client
from glancesync.osc.wait import Exit, Seen, wait

Fields = tuple[tuple[str, ...], tuple[Any, ...]]


class Command(command.Command, metaclass=abc.ABCMeta):
    """A command that talks to glance-sync."""

    @property
    def manager(self) -> Any:
        """openstackclient's ClientManager, which has an attribute for each plugin."""
        return self.app.client_manager

    @property
    def sync(self) -> Client:
        """The client of the cloud in use."""
        client: Client = self.manager.image_sync
        return client


class Lister(Command, command.Lister):
    """A command that prints lines."""


class ShowOne(Command, command.ShowOne):
    """A command that prints the fields of one thing."""


class Patient(ShowOne):
    """A command that may wait for work."""

    exit = Exit.WELL
    timeout_help = "Wait no longer than that"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("--timeout", metavar="<seconds>", type=_seconds, help=self.timeout_help)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Do it; the exit code."""
        return super().run(parsed_args) or self.exit

    def wait(
        self,
        parsed_args: argparse.Namespace,
        see: Callable[[], Seen],
        show: Callable[[Seen], None] = lambda seen: None,
    ) -> Seen:
        """The last look; it is still busy if time was up, which sets the exit code."""
        timeout = parsed_args.timeout
        seen = wait(
            see,
            show,
            deadline=None if timeout is None else time.monotonic() + timeout,
            clock=time.monotonic,
            sleep=time.sleep,
        )
        if seen.busy:
            self.exit = Exit.TIMEOUT
        return seen


class Waiting(Patient):
    """A command that asks for work, and waits for it if told to."""

    timeout_help = "Wait no longer than that; implies --wait"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--wait", action="store_true", help="Wait until it is done")
        return parser

    @staticmethod
    def waits(parsed_args: argparse.Namespace) -> bool:
        """Whether the user wants to wait."""
        return parsed_args.wait or parsed_args.timeout is not None


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")

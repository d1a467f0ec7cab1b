"""What all commands share."""

from __future__ import annotations

import abc
from typing import Any

from osc_lib.command import command

from glancesync.osc.client import Client

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

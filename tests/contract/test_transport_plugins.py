# SPDX-License-Identifier: Apache-2.0
"""Transports that somebody else has brought, and that can't be loaded."""

import logging
from pathlib import Path

import pytest
from stevedore import ExtensionManager

from glancesync import wiring
from glancesync.errors import ConfigurationError
from glancesync.transports.loader import leavers
from glancesync.transports.settings import TransferSettings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TransferSettings:
    """With ``gone`` among the transports, of which there is only the name."""
    about = tmp_path / "pigeons-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[glancesync.transports]\ngone = pigeons:Gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    # stevedore looks once in a process.
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    return TransferSettings()


def test_it_is_refused_where_it_is_asked_for(settings: TransferSettings) -> None:
    with pytest.raises(ConfigurationError, match=r"transports: gone can't be loaded: .*pigeons"):
        wiring.load_transports(["upload", "gone"], settings)


def test_it_stops_nobody_who_did_not_ask_for_it(
    settings: TransferSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert "filesystem" in leavers(settings)
    assert "gone of glancesync.transports can't be loaded" in caplog.text

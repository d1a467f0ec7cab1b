# SPDX-License-Identifier: Apache-2.0
"""The version of the installed distribution."""

from __future__ import annotations

from importlib import metadata

VERSION = metadata.version("glancesync")

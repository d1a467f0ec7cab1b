# SPDX-License-Identifier: Apache-2.0
"""The ways to move bytes; the contract is ``interfaces.Transport``.

Each is an entry point ``glancesync.transports``. ``[DEFAULT] transports`` names those in use, best
first. This package's ``__init__`` imports nothing: ``mover`` runs as a program of its own.
"""

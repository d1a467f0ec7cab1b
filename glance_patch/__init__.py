# SPDX-License-Identifier: Apache-2.0
"""The part of glancesync that runs inside the Glance API of the home region.

It tells the glance-sync server *which* image changed and who did it, and never makes a Glance call
fail or wait. It is installed by copying this directory next to Glance, so it imports only the
standard library, Glance and what Glance itself requires. Read filter.py, proxy.py, sender.py.
"""

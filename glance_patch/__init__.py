# SPDX-License-Identifier: Apache-2.0
"""The part of glancesync that runs inside Glance.

In the home region it tells the glance-sync server *which* image changed and who did it, and never
makes a Glance call fail or wait: filter.py, proxy.py, sender.py. In a target region it lets files
in that lie in Glance's own store: locations.py. It is installed by copying this directory next to
Glance, so it imports only the standard library, Glance and what Glance itself requires.
"""

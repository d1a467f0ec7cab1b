# SPDX-License-Identifier: Apache-2.0
"""The programs. Eventlet is patched in ``sync``, and only there."""

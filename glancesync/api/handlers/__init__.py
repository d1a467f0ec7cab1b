# SPDX-License-Identifier: Apache-2.0
"""One module per noun; a handler takes a ``Call`` and returns status and body."""

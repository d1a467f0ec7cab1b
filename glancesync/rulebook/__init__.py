# SPDX-License-Identifier: Apache-2.0
"""``sync_rules.yaml``: what the operator says of where images go."""

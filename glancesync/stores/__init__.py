# SPDX-License-Identifier: Apache-2.0
"""How the stores of regions are reached, as the operator wrote it down."""

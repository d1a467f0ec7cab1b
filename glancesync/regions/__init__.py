# SPDX-License-Identifier: Apache-2.0
"""The regions: Keystone sessions, what the catalog lists, and each region's Glance."""

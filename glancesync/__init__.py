# SPDX-License-Identifier: Apache-2.0
"""Image synchronization for multi-region OpenStack clouds.

``doc/source/tour.rst`` lists the modules in reading order.
"""

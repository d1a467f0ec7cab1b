# SPDX-License-Identifier: Apache-2.0
"""Measurements on a real devcloud, each against a baseline of the same run; ``python -m bench``.

A bench is a module with ``run(quick) -> Report`` (``hook`` has a command line of its own).
Everything is done at least three times, the thing measured and its baseline by turns, so that
what else the machine does falls on both; medians are told, and the spread beside them.
"""

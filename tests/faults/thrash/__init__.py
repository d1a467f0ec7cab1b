# SPDX-License-Identifier: Apache-2.0
"""A randomized run: users at home, faults everywhere, and at the end every region equals home.

``schedule`` decides everything beforehand, from a seed; ``users`` and ``breakage`` carry it out on
a real cloud; ``stage`` builds what they need; ``verdict`` looks from outside at what came of it.
``python -m tests.faults.thrash --help`` is its command line.
"""

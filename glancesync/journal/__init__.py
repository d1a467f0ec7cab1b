# SPDX-License-Identifier: Apache-2.0
"""The journal: everything that must survive a crash, in one SQL database.

``schema`` holds the tables, ``database`` the connection and its transactions, and each other
module the statements about one noun. A function that takes a connection runs inside the caller's
transaction, so that one commit ends a task and records its result (P2).
"""

# SPDX-License-Identifier: Apache-2.0
"""The REST API, ``/v1``: one table of routes, one handler, schema and policy per noun."""

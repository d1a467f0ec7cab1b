# SPDX-License-Identifier: Apache-2.0
"""One module per noun: what requests must look like (JSON Schema 2020-12)."""

from __future__ import annotations

from typing import Any

NO_QUERY: dict[str, Any] = {"type": "object", "properties": {}}

IMAGE_ID: dict[str, Any] = {
    "type": "string",
    "maxLength": 36,  # "$" also matches before an end of line
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 255}

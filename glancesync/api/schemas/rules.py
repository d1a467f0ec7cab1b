# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.api.schemas import IMAGE_ID

_FILE: dict[str, Any] = {"type": "string", "minLength": 1}

TEST: dict[str, Any] = {
    "type": "object",
    "required": ["image_id"],
    "additionalProperties": False,
    "properties": {"image_id": IMAGE_ID, "rules": _FILE},
}

PREVIEW: dict[str, Any] = {
    "type": "object",
    "required": ["rules"],
    "additionalProperties": False,
    "properties": {"rules": _FILE},
}

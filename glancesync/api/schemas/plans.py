# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.api.schemas import IMAGE_ID, NAME

CREATE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "regions": {"type": "array", "minItems": 1, "maxItems": 1000, "items": NAME},
        "image_id": IMAGE_ID,
    },
}

SHOW: dict[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "maxLength": 255}},
}

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.api.schemas import IMAGE_ID

_TEXT = {"type": ["string", "null"], "maxLength": 255}

CREATE: dict[str, Any] = {
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {
        "events": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["image_id"],
                "additionalProperties": False,
                "properties": {
                    "image_id": IMAGE_ID,
                    "merged": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
                    "removed": {"type": "boolean"},
                    "actor": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "user_id": _TEXT,
                            "project_id": _TEXT,
                            "request_id": _TEXT,
                            "roles": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {"type": "string", "maxLength": 255},
                            },
                        },
                    },
                },
            },
        },
        "dropped": {"type": "integer", "minimum": 0, "maximum": 2**53},
    },
}

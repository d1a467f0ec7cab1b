# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.api.schemas import IMAGE_ID, NAME

_REGIONS: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": 1000, "items": NAME}

SYNC: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"regions": _REGIONS, "force": {"type": "boolean"}},
}

VERIFY: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"regions": _REGIONS, "full": {"type": "boolean"}},
}

ADOPT: dict[str, Any] = {
    "type": "object",
    "required": ["region"],
    "additionalProperties": False,
    "properties": {
        "region": NAME,
        "replica_id": IMAGE_ID,
        "own": {"type": "boolean"},
    },
}

ENSURE: dict[str, Any] = {
    "type": "object",
    "required": ["region"],
    "additionalProperties": False,
    "properties": {"region": NAME},
}

ROUTES: dict[str, Any] = {
    "type": "object",
    "required": ["region"],
    "properties": {"region": NAME},
}

INDEX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "project_id": {"type": "string", "maxLength": 255},
        "name": {"type": "string", "maxLength": 255},
    },
}

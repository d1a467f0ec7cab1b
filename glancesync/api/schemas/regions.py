# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.states import DeleteMode

_LABEL = {"type": "string", "maxLength": 255}

ADOPT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"own": {"type": "boolean"}},
}

UPDATE: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        "enabled": {"type": "boolean"},
        "maintenance": {"type": "boolean"},
        "labels": {
            "type": "object",
            "maxProperties": 100,
            "propertyNames": {"minLength": 1, "maxLength": 255},
            "additionalProperties": _LABEL,
        },
        "limits": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "tasks": {"type": "integer", "minimum": 1, "maximum": 10000},
                "sources": {"type": "integer", "minimum": 1, "maximum": 10000},
                "bandwidth": {"type": "string", "minLength": 1, "maxLength": 1000},
            },
        },
        "capacity": {
            "type": ["object", "null"],
            "required": ["free_bytes"],
            "additionalProperties": False,
            "properties": {
                "free_bytes": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
                "total_bytes": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
            },
        },
        "delete_mode": {"enum": [*(mode.value for mode in DeleteMode), None]},
    },
}

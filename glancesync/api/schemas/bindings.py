# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.api.schemas import NAME

_GROUP = {"type": "string", "maxLength": 64}
_CAUSE = {"type": "string", "minLength": 1, "maxLength": 1000}

SELECT: dict[str, Any] = {
    "type": "object",
    "required": ["project_id"],
    "additionalProperties": False,
    "properties": {
        "project_id": NAME,
        "group": _GROUP,
        "requirements": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "availability_zone": NAME,
                "labels": {
                    "type": "object",
                    "maxProperties": 100,
                    "propertyNames": {"minLength": 1, "maxLength": 255},
                    "additionalProperties": {"type": "string", "maxLength": 255},
                },
                "disk_format": NAME,
                "size": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
            },
        },
    },
}

SELECT_QUERY: dict[str, Any] = {
    "type": "object",
    "properties": {"dry_run": {"enum": ["0", "1"]}},
}

CREATE: dict[str, Any] = {
    "type": "object",
    "required": ["project_id", "region"],
    "additionalProperties": False,
    "properties": {"project_id": NAME, "group": _GROUP, "region": NAME, "cause": _CAUSE},
}

INDEX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "project_id": {"type": "string", "maxLength": 255},
        "region": {"type": "string", "maxLength": 255},
        "active": {"enum": ["0", "1"]},
    },
}

DELETE: dict[str, Any] = {
    "type": "object",
    "properties": {"cause": _CAUSE, "release": {"enum": ["0", "1"]}},
}

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.api.schemas import NAME
from glancesync.states import ItemState, JobState

SET: dict[str, Any] = {
    "type": "object",
    "required": ["source", "target", "resources"],
    "additionalProperties": False,
    "properties": {
        "resource_type": {"enum": ["image"]},
        "source": NAME,
        "target": {"type": "array", "minItems": 1, "maxItems": 1000, "items": NAME},
        "resources": {"type": "array", "minItems": 1, "items": NAME},
        "force": {"type": "boolean"},
        "on_conflict": {"enum": ["fail", "replace"]},
    },
}

TEMPLATE: dict[str, Any] = {
    "type": "object",
    "required": ["template"],
    "additionalProperties": False,
    "properties": {"template": {"type": "array", "minItems": 1, "maxItems": 1000, "items": SET}},
}

ANY: dict[str, Any] = {"type": ["object", "array"]}

PROMOTE: dict[str, Any] = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {"image": NAME, "force": {"type": "boolean"}},
}

INDEX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "state": {"enum": [state.value for state in JobState]},
        "project_id": {"type": "string", "maxLength": 255},
    },
}

SHOW: dict[str, Any] = {
    "type": "object",
    "properties": {"state": {"enum": [state.value for state in ItemState]}},
}

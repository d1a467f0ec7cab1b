# SPDX-License-Identifier: Apache-2.0
"""What ``sync_rules.yaml`` may hold, as a JSON schema.

Each leaf has a ``description`` that goes on after "must be"; see
:mod:`glancesync.documents.complaints`.
"""

from __future__ import annotations

from typing import Any

from glancesync.placement.matching import AMOUNTS, FIELDS
from glancesync.placement.rules import PRIORITIES
from glancesync.states import DeleteMode

_TEXT = r"\A[^\x00-\x1f\x7f]{1,255}\Z"

MOST_RULES = 1000
MODES = sorted(mode.value for mode in DeleteMode)

NAME = {
    "type": "string",
    "pattern": _TEXT,
    "description": "text of 1 to 255 characters, none for control",
}
NAMES = {
    "type": "array",
    "items": NAME,
    "minItems": 1,
    "maxItems": 10_000,
    "description": "a list of texts, one or more",
}
TEXTS = {
    "type": ["string", "array"],
    "pattern": _TEXT,
    "items": NAME,
    "minItems": 1,
    "maxItems": 10_000,
    "description": "text, or a list of texts",
}


def _mapping(of: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": of,
        "minProperties": 1,
        "description": description,
    }


def _object(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _amount(units: str) -> dict[str, Any]:
    bound = {"type": ["integer", "string"], "description": units}
    return _object(
        {"at_least": bound, "less_than": bound},
        minProperties=1,
        description="a mapping with at_least, less_than or both",
    )


UNITS = {
    "size": "bytes: a whole number, or as 512K, 50M, 1.5G",
    "age": "a time as 90s, 30m, 12h, 7d, 2w",
}

_MATCHES = {
    "type": "array",
    "items": {"$ref": "#/$defs/match"},
    "minItems": 1,
    "description": "a list of matches, one or more",
}

MATCH = _object(
    {
        "all": _MATCHES,
        "any": _MATCHES,
        "not": {"$ref": "#/$defs/match"},
        "name": TEXTS,
        "properties": _mapping(TEXTS, "a mapping of names of properties to what they may be"),
        **dict.fromkeys(FIELDS, TEXTS),
        **{field: _amount(UNITS[field]) for field in AMOUNTS},
    },
    minProperties=1,
    description="a mapping with one condition or more",
)

AREA = _object(
    {
        "all": {"const": True, "description": "true"},
        "names": NAMES,
        "groups": NAMES,
        "labels": _mapping(TEXTS, "a mapping of labels to what they may be"),
        "bound": {"const": True, "description": "true"},
        "except": NAMES,
    },
    type=["object", "array", "string"],
    minProperties=1,
    items=NAME,
    minItems=1,
    pattern=r"\A(all|none)\Z",
    description="all, none, a list of regions, or a mapping with all, names, groups, labels, "
    "bound or except",
)

EFFECT = {
    "regions": AREA,
    "delete_mode": {
        "enum": MODES,
        "description": f"one of {', '.join(MODES)}",
    },
    "priority": {
        "enum": sorted(PRIORITIES),
        "description": f"one of {', '.join(PRIORITIES)}",
    },
    "transports": {**NAMES, "description": "a list of transports, the best first"},
}

SCHEMA: dict[str, Any] = {
    "$defs": {"match": MATCH},
    **_object(
        {
            "groups": _mapping(NAMES, "a mapping of names to lists of regions"),
            "rules": {
                "type": "array",
                "maxItems": MOST_RULES,
                "items": _object(
                    {"name": NAME, "match": {"$ref": "#/$defs/match"}, **EFFECT},
                    "name",
                    "match",
                    "regions",
                    description="a mapping with name, match and regions",
                ),
                "description": f"a list of {MOST_RULES} rules at the most",
            },
            "default": _object(EFFECT, "regions", description="a mapping with regions"),
            "override": {
                **MATCH,
                "type": ["object", "string"],
                "pattern": r"\A(all|none)\Z",
                "description": "all, none, or a match: a mapping with one condition or more",
            },
        },
        "rules",
        description="a mapping with rules",
    ),
}

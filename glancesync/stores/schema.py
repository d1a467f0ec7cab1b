# SPDX-License-Identifier: Apache-2.0
"""What ``glance_store.yaml`` may hold, as a JSON schema made from the dataclasses of the schemes.

Each leaf has a ``description`` that goes on after "must be": complaints are made of it, as those of
jsonschema quote the value, which may be a password.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from glancesync.schemes import RATE, SCHEMES, Scheme, Secret

_NO_CONTROL = r"\A[^\x00-\x1f\x7f]*\Z"
_PATH = r"\A/[^\x00-\x1f\x7f]*\Z"


def _text(pattern: str, description: str) -> dict[str, Any]:
    return {"type": "string", "maxLength": 4096, "pattern": pattern, "description": description}


def _whole(least: int, most: int) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": least,
        "maximum": most,
        "description": f"a whole number from {least} to {most}",
    }


TEXT = _text(_NO_CONTROL, "text without control characters")
NAME = _text(r"\A[^\x00-\x1f\x7f]{1,255}\Z", "text of 1 to 255 characters, none for control")
WORD = _text(r"\A(?!-)[^\x00-\x20\x7f]+\Z", "a word that does not begin with '-'")
HOST = _text(r"\A(?!-)[A-Za-z0-9._:%-]{1,253}\Z", "the name or address of a host")
PATH = _text(_PATH, "an absolute path")
URL = _text(r"\Ahttps?://[^\x00-\x20\x7f@]+\Z", "a URL with http:// or https:// and no password")
SECRET = {
    "type": ["string", "object"],
    "maxLength": 4096,
    "minLength": 1,
    "pattern": _NO_CONTROL,
    "properties": {
        "env": _text(r"\A[A-Za-z_][A-Za-z0-9_]*\Z", "the name of an environment variable"),
        "file": PATH,
        "castellan": _text(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z", "the id of a secret"),
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
    "description": "text, or {env: NAME}, or {file: /PATH}, or {castellan: ID}",
}

_KINDS: dict[Any, dict[str, Any]] = {str: TEXT, int: _whole(0, 1_000_000), Secret: SECRET}

#: Of fields that more is to be said of than their type does; of some in one scheme only.
_FIELDS: dict[str, dict[str, Any]] = {
    "store": NAME,
    "max_parallel": _whole(1, 10_000),
    "bandwidth": {
        "type": ["integer", "string"],
        "minimum": 1024,
        "maximum": 2**50,
        "pattern": RATE,
        "description": "bytes per second: a whole number from 1024 on, or as 512K, 50M, 1.5G",
    },
    "port": _whole(1, 65535),
    "host": HOST,
    "datadir": _text(
        r"\A(?!.*/\.\.(?:/|\Z))/[^\x00-\x1f\x7f]*\Z",
        "an absolute path without '..', line breaks and other control characters",
    ),
    "login_user": WORD,
    "key_file": PATH,
    "known_hosts": PATH,
    "host_key": _text(
        r"\A[a-z][a-z0-9@.-]+ [A-Za-z0-9+/]{16,}={0,2}(?: [^\x00-\x1f\x7f]*)?\Z",
        "a type and a key as in known_hosts, without the name of the host",
    ),
    "share": NAME,
    "netloc": _text(r"\A(?!-)[A-Za-z0-9._:%\[\]-]{1,260}\Z", "HOST or HOST:PORT"),
    "path": PATH,
    "auth_address": URL,
    "auth_version": {"enum": ["1", "2", "3", 1, 2, 3], "description": "1, 2 or 3"},
    "swift.user": _text(r"\A[^\x00-\x20\x7f:]+:[^\x00-\x1f\x7f]+\Z", "PROJECT:USER"),
    "endpoint": URL,
    "container": _text(r"\A[^\x00-\x1f\x7f/]{1,256}\Z", "the name of a container"),
    "cacert": PATH,
    "s3.host": URL,
    "bucket": _text(r"\A[A-Za-z0-9._-]{1,255}\Z", "the name of a bucket"),
    "access_key": WORD,
    "ceph_conf": PATH,
    "rbd.user": WORD,
    "keyring": PATH,
    "pool": _text(r"\A(?!-)[^\x00-\x20\x7f/@]+\Z", "the name of a pool"),
    "fsid": _text(r"\A[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z", "a UUID"),
}


def kinds(scheme: type[Scheme]) -> dict[str, Any]:
    """The fields of a scheme and their types, without the None that may stand for "not set"."""
    hints = typing.get_type_hints(scheme)
    return {
        field.name: next(
            (one for one in typing.get_args(hints[field.name]) if one is not type(None)),
            hints[field.name],
        )
        for field in dataclasses.fields(scheme)
    }


def _parameters(scheme: type[Scheme]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            name: _FIELDS.get(f"{scheme.name}.{name}") or _FIELDS.get(name) or _KINDS[kind]
            for name, kind in kinds(scheme).items()
        },
        "required": [
            field.name
            for field in dataclasses.fields(scheme)
            if field.default is dataclasses.MISSING
        ],
        "additionalProperties": False,
        "description": "a mapping of names to values",
    }


def _object(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        "description": f"a mapping with {' and '.join(required)}",
        **more,
    }


def _list(items: dict[str, Any], least: int) -> dict[str, Any]:
    of = "a list" if not least else f"a list of {least} or more"
    return {"type": "array", "items": items, "minItems": least, "description": of}


_SCHEME = _object(
    {
        "name": {
            "type": "string",
            "enum": sorted(SCHEMES),
            "description": f"one of {', '.join(sorted(SCHEMES))}",
        },
        "parameters": True,
    },
    "name",
    "parameters",
    allOf=[
        {
            "if": {"properties": {"name": {"const": name}}},
            "then": {"properties": {"parameters": _parameters(scheme)}},
        }
        for name, scheme in SCHEMES.items()
    ],
)

SCHEMA: dict[str, Any] = _object(
    {
        "glances": _list(
            _object(
                {"name": NAME, "region": NAME, "service_ip": HOST, "schemes": _list(_SCHEME, 1)},
                "name",
                "schemes",
            ),
            0,
        )
    },
    "glances",
)

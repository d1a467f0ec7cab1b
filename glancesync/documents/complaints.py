# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a document by its JSON schema, in words, at a line.

Each leaf of such a schema has a ``description`` that goes on after "must be". No complaint quotes a
value: it may be a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

from glancesync.documents.document import Document, Path

_WORD = re.compile(r"[A-Za-z_]\w{0,39}")


def check(document: Document, validator: Validator) -> None:
    """Refuse what the schema does not allow.

    :raises ConfigurationError: for the first such line
    """
    found = [_complaint(error) for error in validator.iter_errors(document.data)]
    if found:
        path, reason = min(found, key=lambda one: (document.line(one[0]), len(one[0])))
        raise document.wrong(path, reason)


def unknown(name: str, known: Iterable[str]) -> str:
    """That there is no such name here, and what there is."""
    names = sorted(known)
    like = difflib.get_close_matches(name, names, 1) if _WORD.fullmatch(name) else []
    if like:
        return f"is not known here; is it to be {like[0]}?"
    return f"is not known here; there is {', '.join(names) or 'none'}"


def _complaint(error: ValidationError) -> tuple[Path, str]:
    path: Path = tuple(error.absolute_path)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    given: Any = error.instance
    if error.validator == "required":
        missing = [name for name in schema["required"] if name not in given]
        return path, f"lacks {' and '.join(missing)}"
    if error.validator == "additionalProperties" and "env" not in schema["properties"]:
        name = next(name for name in given if name not in schema["properties"])
        return (*path, name), unknown(name, schema["properties"])
    reason = f"must be {schema.get('description', 'something else')}"
    if given is None:
        reason = f"is empty; it {reason}"
    elif isinstance(given, (bool, int, float)) and "string" in schema.get("type", ()):
        reason += "; put it in quotes"
    return path, reason

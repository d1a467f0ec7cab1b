# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

RELEASE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"finished_at": {"type": "string", "maxLength": 40}},
}

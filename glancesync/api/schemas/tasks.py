# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.states import TaskKind, TaskState

INDEX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "state": {"enum": [state.value for state in TaskState]},
        "kind": {"enum": [kind.value for kind in TaskKind]},
        "region": {"type": "string", "maxLength": 255},
        "image_id": {"type": "string", "maxLength": 36},
        "sort_dir": {"enum": ["asc", "desc"]},
    },
}

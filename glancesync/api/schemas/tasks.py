from __future__ import annotations

from typing import Any

from glancesync.states import TaskState

INDEX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "state": {"enum": [state.value for state in TaskState]},
        "region": {"type": "string", "maxLength": 255},
        "image_id": {"type": "string", "maxLength": 36},
    },
}

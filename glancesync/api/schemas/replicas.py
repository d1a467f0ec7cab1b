# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from glancesync.states import ReplicaState

INDEX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "maxLength": 255},
        "state": {"enum": [state.value for state in ReplicaState]},
        "project_id": {"type": "string", "maxLength": 255},
    },
}

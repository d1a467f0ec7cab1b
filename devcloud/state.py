# SPDX-License-Identifier: Apache-2.0
"""What a devcloud remembers between two commands: ``state.json``."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devcloud import configs, identity
from devcloud.errors import DevcloudError


@dataclass
class Settings:
    """What a cloud is to be; kept, so that ``up`` after ``down`` asks nothing again."""

    base_port: int = 9590
    versions: list[str] = field(default_factory=list)  # Glance release of region 1, 2, ...
    hook: bool = True
    sync: bool = True
    file_locations: bool | list[str] = True  # whether target regions adopt files, or which do
    # service or region name -> section -> option -> value
    overrides: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)


def load(path: Path) -> Settings | None:
    """The settings kept in *path*; None if there are none."""
    try:
        return Settings(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DevcloudError(
            f"{path} cannot be read ({error}); 'python -m devcloud clean' starts afresh"
        ) from error


def save(path: Path, settings: Settings) -> None:
    """Keep *settings*, readable by their owner only."""
    configs.write_private(path, json.dumps(asdict(settings), indent=1) + "\n")


def new_passwords() -> dict[str, str]:
    """One password for each user of a devcloud."""
    return {user: secrets.token_urlsafe(18) for user in identity.PROJECT_OF}

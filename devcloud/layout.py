# SPDX-License-Identifier: Apache-2.0
"""What a devcloud consists of and where it keeps what; nothing here starts or writes anything."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glanceclient import client as glanceclient
from keystoneauth1 import session as ksa
from keystoneauth1.identity import v3

from devcloud import configs, identity, ports, state, venvs
from devcloud.errors import DevcloudError

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_VERSION = "33"
_NUMBERS = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
MAX_REGIONS = len(_NUMBERS)
_SYNC_OFFSET = 5  # ports: Keystone at the base, glance-sync here, the Glance of region i at 10 + i
_GLANCE_OFFSET = 10
PORT_WIDTH = _GLANCE_OFFSET + MAX_REGIONS + 1  # ports a devcloud may use, from its base on


@dataclass(frozen=True)
class Region:
    """One region's Glance and where it keeps what."""

    name: str
    url: str
    port: int
    version: str  # of Glance
    datadir: Path  # of its file store
    staging: Path
    config_dir: Path
    database: Path
    log: Path


class Layout:
    """The parts of a cloud, from its name and what is asked of it; see :class:`devcloud.Cloud`."""

    def __init__(
        self,
        name: str = "default",
        root: Path | None = None,
        regions: int | None = None,
        base_port: int | None = None,
        glance_version: str | Mapping[str, str] | None = None,
        hook: bool | None = None,
        sync: bool | None = None,
        file_locations: bool | Collection[str] | None = None,
        overrides: configs.Overrides | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if not name or name == "venvs" or not name.replace("-", "").replace("_", "").isalnum():
            raise DevcloudError(f"{name!r} is no name for a devcloud: letters, digits, - and _")
        self.name = name
        self.root = (root or CHECKOUT / ".devcloud").resolve()
        self.directory = self.root / name
        self.say = say or (lambda message: None)
        self.state_file = self.directory / "state.json"
        kept = state.load(self.state_file)
        self.settings = settings = kept or state.Settings()
        self.kept_port = kept.base_port if kept else None
        if base_port is not None:
            settings.base_port = base_port
        if not 1024 <= settings.base_port <= 65535 - PORT_WIDTH:
            raise DevcloudError(f"base port {settings.base_port} is out of range")
        if hook is not None:
            settings.hook = hook
        if sync is not None:
            settings.sync = sync
        if file_locations is not None:
            settings.file_locations = (
                file_locations if isinstance(file_locations, bool) else sorted(file_locations)
            )
        if overrides is not None:
            settings.overrides = {
                service: {section: dict(options) for section, options in sections.items()}
                for service, sections in overrides.items()
            }
        if not settings.passwords:
            settings.passwords = state.new_passwords()
        settings.versions = _versions(settings.versions, regions, glance_version)
        unknown = set(settings.overrides) - {"keystone", "glance-sync", *self.names}
        if unknown:
            raise DevcloudError(f"overrides for what is not there: {', '.join(sorted(unknown))}")
        if not isinstance(settings.file_locations, bool) and file_locations is not None:
            for region in settings.file_locations:
                self.region(region)

    @property
    def names(self) -> list[str]:
        """The regions, home first."""
        return _names(len(self.settings.versions))

    @property
    def home(self) -> str:
        """The home region."""
        return self.names[0]

    @property
    def auth_url(self) -> str:
        """Keystone's v3 API."""
        return f"http://{ports.HOST}:{self.settings.base_port}/v3"

    @property
    def sync_url(self) -> str:
        """glance-sync's endpoint."""
        return f"http://{ports.HOST}:{self.settings.base_port + _SYNC_OFFSET}"

    @property
    def clouds_yaml(self) -> Path:
        """For openstacksdk and the openstack CLI: a cloud per region, and ``<Region>-demo``."""
        return self.directory / "clouds.yaml"

    @property
    def sync_config(self) -> Path:
        """The glance-sync.conf in use."""
        return self.directory / "glance-sync" / "glance-sync.conf"

    @property
    def sync_port(self) -> int:
        """glance-sync's port."""
        return self.settings.base_port + _SYNC_OFFSET

    def region(self, name: str) -> Region:
        """The region called *name*."""
        if name not in self.names:
            raise DevcloudError(f"no region {name!r}; there are {', '.join(self.names)}")
        number = self.names.index(name)
        port = self.settings.base_port + _GLANCE_OFFSET + number + 1
        directory = self.directory / name
        return Region(
            name=name,
            url=f"http://{ports.HOST}:{port}",
            port=port,
            version=self.settings.versions[number],
            datadir=directory / "images",
            staging=directory / "staging",
            config_dir=directory / "etc",
            database=directory / "glance.sqlite",
            log=self.log(f"glance-{name}"),
        )

    def session(self, user: str = "admin") -> ksa.Session:
        """A Keystone session of admin, demo, other, glance or glance-sync."""
        login = self.credentials(user)
        return ksa.Session(
            auth=v3.Password(
                auth_url=login["auth_url"],
                username=login["username"],
                password=login["password"],
                user_domain_id=login["user_domain_id"],
                project_name=login["project_name"],
                project_domain_id=login["project_domain_id"],
            )
        )

    def glance(self, region: str, user: str = "admin", session: ksa.Session | None = None) -> Any:
        """A glanceclient (v2) for one region; several may have one session."""
        session = session or self.session(user)
        return glanceclient.Client("2", session=session, region_name=self.region(region).name)

    def password(self, user: str) -> str:
        """The password of one of its users."""
        if user not in self.settings.passwords:
            known = ", ".join(self.settings.passwords)
            raise DevcloudError(f"no user {user!r}; there are {known}")
        return self.settings.passwords[user]

    def credentials(self, user: str) -> dict[str, str]:
        """What a client needs to log in as *user*."""
        return {
            "auth_url": self.auth_url,
            "username": user,
            "password": self.password(user),
            "user_domain_id": "default",
            "project_name": identity.PROJECT_OF[user],
            "project_domain_id": "default",
        }

    def keystone_venv(self) -> Path:
        """The environment Keystone runs in."""
        version = venvs.full_version(venvs.KEYSTONE_SERIES)
        return self.root / "venvs" / f"glance-{version}"

    def glance_venv(self, region: Region) -> Path:
        """The environment the Glance of *region* runs in."""
        return self.root / "venvs" / f"glance-{region.version}"

    def sync_venv(self) -> Path:
        """The environment glance-sync runs in."""
        return self.root / "venvs" / "glance-sync"

    def log(self, service: str) -> Path:
        """The log of one service."""
        return self.directory / "logs" / f"{service}.log"

    def hooked(self, region: str) -> bool:
        """Whether the Glance of *region* has the hook."""
        return self.settings.hook and region == self.home

    def prepared(self, region: str) -> bool:
        """Whether the installer makes *region* a target of glance-sync."""
        return self.settings.sync and region != self.home

    def adopts_files(self, region: str) -> bool:
        """Whether *region* has the door for files; the Glance of a target that has not is stock."""
        which = self.settings.file_locations
        return self.prepared(region) and (which if isinstance(which, bool) else region in which)


def _names(count: int) -> list[str]:
    return [f"Region{number}" for number in _NUMBERS[:count]]


def _versions(
    kept: list[str], regions: int | None, wanted: str | Mapping[str, str] | None
) -> list[str]:
    """The Glance release of each region, from what was kept and what is asked for now."""
    count = regions if regions is not None else len(kept) or 3
    if not 1 <= count <= MAX_REGIONS:
        raise DevcloudError(f"{count} regions: devcloud makes 1 to {MAX_REGIONS}")
    default = venvs.full_version(wanted if isinstance(wanted, str) else DEFAULT_VERSION)
    versions = [default] * count
    if not isinstance(wanted, str):
        versions[: len(kept)] = kept[:count]
    if isinstance(wanted, Mapping):
        names = _names(count)
        for name, version in wanted.items():
            if name not in names:
                raise DevcloudError(f"a Glance version for {name!r}, which is not there")
            versions[names.index(name)] = venvs.full_version(version)
    return versions

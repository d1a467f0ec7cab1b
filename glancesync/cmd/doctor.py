# SPDX-License-Identifier: Apache-2.0
"""``glance-sync-manage doctor``: looks at everything glance-sync relies on, and says in words what
is wrong and how to mend it."""

from __future__ import annotations

import email.utils
import functools
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import requests
from keystoneauth1.session import Session
from oslo_config import cfg

from glancesync import wiring
from glancesync.api import deploy
from glancesync.cmd import hosts, stores
from glancesync.conf import CREDENTIALS, rules_file, store_file, strategy_name
from glancesync.errors import ConfigurationError, Credential, JournalError, RegionError
from glancesync.interfaces import ImageService
from glancesync.model import Region, unversioned
from glancesync.placement.rules import Book
from glancesync.regions.catalog import KEYSTONE, home_region, image_endpoints
from glancesync.regions.images import GlanceImages
from glancesync.regions.translate import translated
from glancesync.rulebook import file as rulebook
from glancesync.schemes import Filesystem
from glancesync.stores.file import Entry, entries
from glancesync.transports.loader import load as load_transports

#: Seconds between two clocks beyond which tokens and logs become misleading.
MAX_SKEW = 30.0

Finding = tuple[bool, str, str]  # is it well, what was looked at, what was found


def run(conf: cfg.ConfigOpts) -> int:
    """Look at configuration, journal, Keystone and every region's Glance."""
    sick = 0
    for well, where, said in examine(conf):
        sick += not well
        sys.stdout.write(f"{'ok  ' if well else 'FAIL'}  {where}: {said}\n")
    sys.stdout.write("all is well\n" if not sick else f"{sick} to mend\n")
    return 1 if sick else 0


def examine(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """Every finding, in an order in which they explain each other."""
    yield from _configuration(conf)
    written = yield from _store_file(conf)
    book = yield from _rules_file(conf)
    yield _journal(conf)
    try:
        session = wiring.session(conf)
        endpoints = image_endpoints(session, conf[CREDENTIALS].interface)
    except Credential as error:
        yield False, KEYSTONE, f"{error.message}; check user and password in [{CREDENTIALS}]"
        return
    except (RegionError, ConfigurationError) as error:
        yield False, KEYSTONE, f"{error}; check auth_url in [{CREDENTIALS}]"
        return
    yield True, KEYSTONE, f"lists {len(endpoints)} regions with an image endpoint"
    yield _roles(session)
    try:
        home = home_region(endpoints, conf.cascading_endpoint_url)
        yield True, "home", f"is {home} at {endpoints[home]}"
    except ConfigurationError as error:
        home = ""
        yield False, "home", str(error)
    regions = [Region(name, url, home=name == home) for name, url in endpoints.items()]
    if book is not None:
        yield from _rules(conf, book, regions)
    try:
        wiring.check_regions(conf, regions)
    except ConfigurationError as error:
        yield False, "option snapshot_region_names", str(error)
    services = {
        name: GlanceImages(name, session, url, conf[CREDENTIALS].interface)
        for name, url in sorted(endpoints.items())
    }
    for name, service in services.items():
        yield from _region(conf, service, name, endpoints[name], is_home=name == home)
    asked = {
        name: functools.partial(stores.ask, service, is_home=name == home)
        for name, service in services.items()
    }
    log_in = hosts.trouble if {"scp", "rsync"} & set(conf.transports) else _no_ssh
    yield from stores.examine(store_file(conf), written, asked, home, log_in)


def _configuration(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    checks: dict[str, Callable[[], Any]] = {
        "paste_config": lambda: deploy.paste_file(conf),
        "transports": lambda: load_transports(conf.transports, wiring.transfer_settings(conf)),
    }
    for option, check in checks.items():
        try:
            check()
            yield True, f"option {option}", "can be used"
        except ConfigurationError as error:
            yield False, f"option {option}", str(error)
    if conf.sync_strategy == "None":
        said = "is None: nothing is synced; set it to another, such as ALL"
        yield False, "option sync_strategy", said
    if conf.evict_after and strategy_name(conf) != "LAZY":
        said = f"does nothing with sync_strategy = {conf.sync_strategy}: only LAZY evicts"
        yield False, "option evict_after", said
    elif 0 < conf.evict_after < conf.audit_interval:
        said = (
            f"is {conf.evict_after:g} s, yet only audits of home evict, every "
            f"{conf.audit_interval:g} s (audit_interval)"
        )
        yield False, "option evict_after", said


def _no_ssh(scheme: Filesystem, directory: str, write: bool) -> str:
    return f"{scheme.host} is reached by ssh, but transports has neither rsync nor scp"


def _store_file(conf: cfg.ConfigOpts) -> Generator[Finding, None, tuple[Entry, ...]]:
    path = store_file(conf)
    if not path:
        return ()
    where = "option glance_store_cfg_file"
    try:
        written = entries(path, wiring.key_manager(conf))
    except ConfigurationError as error:
        yield False, where, str(error)
        return ()
    yield True, where, f"{path} tells of {len(written)} regions"
    return written


def _rules_file(conf: cfg.ConfigOpts) -> Generator[Finding, None, Book | None]:
    """The rules, if they are in force or there is a file with some all the same."""
    where, path = "option sync_rules_file", rules_file(conf)
    if conf.sync_strategy != "USER" and not os.path.exists(path):
        return None
    if not path:
        yield True, where, "is empty: images go where their project is bound"
        return None
    try:
        book = rulebook.load(path, conf.transports)
    except ConfigurationError as error:
        yield False, where, str(error)
        return None
    in_force = "" if conf.sync_strategy == "USER" else ", which are not in force"
    yield True, where, f"{path} has {len(book.rules)} rules{in_force}"
    return book


def _rules(conf: cfg.ConfigOpts, book: Book, regions: Sequence[Region]) -> Iterator[Finding]:
    """What they name that Keystone does not."""
    for error in rulebook.strange(book, regions, rules_file(conf)):
        yield False, "option sync_rules_file", str(error)


def _journal(conf: cfg.ConfigOpts) -> Finding:
    try:
        database = wiring.database(conf)
        database.check()
        skew = abs(database.now() - time.time())
    except (JournalError, ConfigurationError) as error:
        return False, "journal", str(error)
    except Exception as error:
        return False, "journal", f"{error}; check [database] connection"
    if skew > MAX_SKEW:
        return False, "journal", f"its clock is {skew:.0f} s off this host's; run NTP on both"
    return True, "journal", f"answers, at revision {database.version()}"


def _roles(session: Session) -> Finding:
    access = session.auth.get_access(session)  # type: ignore[union-attr]
    missing = {"admin", "service"} - {role.lower() for role in access.role_names or ()}
    if missing:
        return (
            False,
            "service user",
            f"{access.username} lacks role {' and '.join(sorted(missing))} in project "
            f"{access.project_name}; run 'openstack role add --user {access.username} "
            f"--project {access.project_name} {min(missing)}'",
        )
    return True, "service user", f"{access.username} has the roles admin and service"


def _region(
    conf: cfg.ConfigOpts,
    service: ImageService,
    name: str,
    url: str,
    *,
    is_home: bool,
) -> Iterator[Finding]:
    try:
        with translated(name, "ask for its versions"):
            response = requests.get(
                f"{unversioned(url)}/versions",
                timeout=10,
                verify=conf[CREDENTIALS].cafile or not conf[CREDENTIALS].insecure,
            )
            versions = [entry["id"] for entry in response.json()["versions"]]
    except RegionError as error:
        yield False, name, f"{error.message}; is Glance up at {url}?"
        return
    yield True, name, f"speaks up to {versions[0]} of the image API"
    yield from _skew(name, response.headers.get("Date"))
    try:
        methods = service.import_methods()
    except RegionError as error:
        advice = "compare [keystone_authtoken] of its glance-api.conf with Keystone"
        yield False, name, f"{error.message}; {advice}"
        return
    try:
        service.require_admin()
        yield True, name, "treats us as an admin"
    except RegionError as error:
        yield False, name, error.message
    if not is_home and "pull" in conf.transports and "glance-download" not in methods:
        yield (
            False,
            name,
            "transport pull is configured, but the region does not offer glance-download; run "
            "'installation/install.sh region' there",
        )


def _skew(name: str, date: str | None) -> Iterator[Finding]:
    if date is None:
        return
    skew = abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time())
    if skew > MAX_SKEW:
        yield False, name, f"its clock is {skew:.0f} s off this host's; run NTP on both"

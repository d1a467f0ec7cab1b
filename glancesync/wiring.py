# SPDX-License-Identifier: Apache-2.0
"""The only place that builds objects from configuration."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
import pathlib
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from keystoneauth1 import loading as ks_loading
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session
from oslo_config import cfg

from glancesync.bandwidth import Timetable
from glancesync.breaker import Breaker
from glancesync.conf import CREDENTIALS, broken, check, rules_file, store_file, strategy_name
from glancesync.destinations import Destinations
from glancesync.errors import ConfigurationError
from glancesync.executor import Executor, Flow
from glancesync.jobs import Jobbing
from glancesync.journal.database import Database
from glancesync.journal.journal import Journal
from glancesync.maintenance import Discovery, Presence, Purge
from glancesync.model import Region
from glancesync.pacing import Limits, Pacing
from glancesync.placement import rules
from glancesync.placement.lazy import lazy
from glancesync.placement.rules import Book
from glancesync.placement.selection import Selection
from glancesync.placement.selection import Settings as SelectionSettings
from glancesync.placement.strategies import STRATEGIES, Strategy
from glancesync.planning import Planning
from glancesync.reconciler import AuditSettings, Reconciler
from glancesync.recording import Settings
from glancesync.regions.projects import KeystoneProjects
from glancesync.regions.services import CatalogServices
from glancesync.retry import RetryPolicy
from glancesync.routing import Routing
from glancesync.rulebook import file as rulebook
from glancesync.ruling import Ruling
from glancesync.schemes import Scheme
from glancesync.selecting import Selecting
from glancesync.selecting import load as load_selection
from glancesync.snapshots import Patience
from glancesync.states import DeleteMode, TaskKind
from glancesync.stores.file import load as load_stores
from glancesync.stores.keys import KeyManager
from glancesync.transports.loader import leavers
from glancesync.transports.loader import load as load_transports
from glancesync.transports.reading import Reading
from glancesync.transports.settings import TransferSettings
from glancesync.worker import Spawn, Worker, WorkerSettings

LOG = logging.getLogger(__name__)

#: The options of ``[database]`` that engines are made with.
_ENGINE = (
    "connection_parameters",
    "connection_recycle_time",
    "max_overflow",
    "max_pool_size",
    "mysql_sql_mode",
    "mysql_wsrep_sync_wait",
    "pool_timeout",
)


#: What decides what a replica should be: nodes that differ in it undo each other's work.
SHARED = (
    "sync_strategy",
    "preserve_properties",
    "delete_mode",
    "delete_grace",
    "delete_guard_images",
    "delete_guard_percent",
    "binding_filters",
    "binding_min_free",
    "binding_capacity_age",
    "binding_allowed_regions",
    "evict_after",
    "home_mapping",
    "snapshot_region_names",
)


class SystemClock:
    """``interfaces.Clock`` of this process."""

    def monotonic(self) -> float:
        return time.monotonic()


@dataclasses.dataclass(frozen=True)
class Engine:
    """All that works on tasks in one process."""

    services: CatalogServices
    pacing: Pacing
    discovery: Discovery
    worker: Worker
    purge: Purge


def database(conf: cfg.ConfigOpts) -> Database:
    """The journal's database; nothing is asked of it yet.

    :raises ConfigurationError: the URL can't be used
    """
    section = conf.database
    options = {name: getattr(section, name) for name in _ENGINE if section[name] is not None}
    url = section.connection
    try:
        if url.startswith("sqlite:///"):
            path = pathlib.Path(url.removeprefix("sqlite:///"))
            if not path.parent.is_dir():
                raise ConfigurationError("", f"the directory {path.parent} does not exist")
        return Database(url, **options)
    except Exception as error:
        reason = error.reason if isinstance(error, ConfigurationError) else str(error)
        raise broken(conf, "database", "connection", reason) from error


def session(conf: cfg.ConfigOpts) -> Session:
    """A Keystone session of the service user.

    :raises ConfigurationError: ``[service_credentials]`` is incomplete
    """
    try:
        auth = ks_loading.load_auth_from_conf_options(conf, CREDENTIALS)
        if auth is None:
            raise ConfigurationError("", "must be set, as in 'password'")
    except Exception as error:
        reason = error.reason if isinstance(error, ConfigurationError) else str(error)
        raise broken(conf, CREDENTIALS, "auth_type", reason) from error
    made: Session = ks_loading.load_session_from_conf_options(conf, CREDENTIALS, auth=auth)
    return made


def transfer_settings(conf: cfg.ConfigOpts) -> TransferSettings:
    """What is said about transfers."""
    return TransferSettings(
        chunk=conf.upload_chunk_size,
        window=conf.upload_window,
        patience=conf.upload_patience,
        stall=conf.stall_timeout,
        copy=conf.scp_copy_timeout,
        cafile=conf[CREDENTIALS].cafile,
        insecure=conf[CREDENTIALS].insecure,
    )


def schemes(conf: cfg.ConfigOpts) -> Mapping[str, Sequence[Scheme]]:
    """How the stores of each region are reached.

    :raises ConfigurationError: the file that says so can't be used
    """
    path = store_file(conf)
    return load_stores(path, key_manager(conf)) if path else {}


def key_manager(conf: cfg.ConfigOpts) -> KeyManager:
    """What ``[key_manager]`` names; nothing is asked of it yet."""

    def login() -> BaseAuthPlugin:
        auth = session(conf).auth
        assert auth is not None  # noqa: S101 - a session without is refused
        return auth

    return KeyManager(conf, login)


def catalog(conf: cfg.ConfigOpts) -> CatalogServices:
    """The Glances of the Keystone catalog; nothing is asked of Keystone yet."""
    return CatalogServices(
        functools.partial(session, conf), conf[CREDENTIALS].interface, conf.cascading_endpoint_url
    )


def limits(conf: cfg.ConfigOpts) -> Limits:
    """What is said about bandwidth.

    :raises ConfigurationError: naming option and rule
    """
    try:
        everything = Timetable.parse(conf.bandwidth) if conf.bandwidth else None
    except ValueError as error:
        raise broken(conf, "DEFAULT", "bandwidth", str(error)) from None
    transports = {}
    for entry in conf.transport_bandwidth:
        name, colon, said = entry.partition(":")
        try:
            if not colon:
                raise ValueError(f"{entry!r} is not like scp: 50M")
            transports[name.strip()] = Timetable.parse(said)
        except ValueError as error:
            raise broken(conf, "DEFAULT", "transport_bandwidth", str(error)) from None
    return Limits(everything, transports)


def _minute() -> int:
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min


def pacing(conf: cfg.ConfigOpts, journal: Journal) -> Pacing:
    """What shares out the bandwidth."""
    nodes = functools.partial(_count_nodes, journal)
    return Pacing(journal.regions, nodes, SystemClock(), _minute, limits(conf))


def _count_nodes(journal: Journal) -> int:
    return len(journal.nodes())


def _known_services(conf: cfg.ConfigOpts, journal: Journal) -> Callable[[], CatalogServices]:
    """The Glances of the regions that workers have found."""
    services = catalog(conf)

    def known() -> CatalogServices:
        regions = [region for region in journal.regions() if region.present]
        home = next((region.name for region in regions if region.home), "")
        services.use({region.name: region.url for region in regions}, home)
        return services

    return known


def routing(conf: cfg.ConfigOpts, journal: Journal) -> Routing:
    """What explains which way an image would go.

    :raises ConfigurationError: an option can't work
    """
    transports = load_transports(conf.transports, transfer_settings(conf))
    return Routing(journal, _known_services(conf, journal), transports, schemes(conf))


def rule_book(conf: cfg.ConfigOpts, journal: Journal) -> Book | None:
    """The rules that are in force by the options; None: the strategy is another.

    A region that they name and nobody knows may be one that is yet to come: that is only said.

    :raises ConfigurationError: the file with them can't be used
    """
    if conf.sync_strategy != "USER":
        return None
    path = rules_file(conf)
    if not path:
        return Book()
    book = rulebook.load(path, conf.transports)
    regions = journal.regions()
    for error in rulebook.strange(book, regions, path) if regions else ():
        LOG.warning("%s", error)
    return book


def destinations(conf: cfg.ConfigOpts, journal: Journal, book: Book | None) -> Destinations:
    """Where images go.

    :param book: the rules in force, if any are
    """
    by = strategy(conf) if book is None else rules.strategy(book)
    projects = KeystoneProjects(
        functools.partial(session, conf), conf[CREDENTIALS].interface, time.monotonic
    )
    return Destinations(by, journal, projects, conf.snapshot_region_names)


def check_regions(conf: cfg.ConfigOpts, regions: Sequence[Region]) -> None:
    """Test the option that names regions.

    :raises ConfigurationError: it names one that there is not, or home
    """
    others = {region.name for region in regions if not region.home}
    for name in conf.snapshot_region_names:
        if name not in others:
            there = ", ".join(sorted(others)) or "none"
            said = f"there is no region {name!r} beside home; there is {there}"
            raise broken(conf, "DEFAULT", "snapshot_region_names", said)


def ruling(conf: cfg.ConfigOpts, journal: Journal) -> Ruling:
    """What says where images go, and why.

    :raises ConfigurationError: an option can't work, or the file with the rules can't be used
    """
    book = rule_book(conf, journal)
    known = _known_services(conf, journal)
    places = destinations(conf, journal, book)
    return Ruling(places, book, journal, journal, known, conf.transports)


def selection(conf: cfg.ConfigOpts) -> Selection:
    """What regions for projects are chosen by.

    :raises ConfigurationError: an option can't work
    """
    weighers = {}
    for name, multiplier in conf.binding_weighers.items():
        try:
            weighers[name] = float(multiplier)
        except ValueError:
            weighers[name] = math.nan
        if not math.isfinite(weighers[name]):
            said = f"{name}: {multiplier!r} is not a number"
            raise broken(conf, "DEFAULT", "binding_weighers", said)
    settings = SelectionSettings(
        min_free=conf.binding_min_free,
        capacity_age=conf.binding_capacity_age or math.inf,
        allowed=_allowed(conf),
    )
    return load_selection(conf.binding_filters, weighers, settings)


def _allowed(conf: cfg.ConfigOpts) -> dict[str, frozenset[str]]:
    """Project -> the regions that it may be bound to."""
    allowed: dict[str, frozenset[str]] = {}
    for entry in conf.binding_allowed_regions:
        project, colon, names = entry.partition(":")
        regions = frozenset(name.strip() for name in names.split(",")) - {""}
        if not colon or not project.strip() or not regions:
            said = f"{entry!r} is not like PROJECT: REGION, REGION"
            raise broken(conf, "DEFAULT", "binding_allowed_regions", said)
        allowed[project.strip()] = allowed.get(project.strip(), frozenset()) | regions
    return allowed


def executor(
    conf: cfg.ConfigOpts,
    journal: Journal,
    services: CatalogServices,
    pacing: Pacing,
    destinations: Destinations,
) -> Executor:
    """What runs a task, by the options as they are now.

    :raises ConfigurationError: an option can't work
    """
    heard = functools.partial(journal.note_region, breaker=breaker(conf))
    reconciler = Reconciler(
        journal,
        journal,
        journal,
        services,
        destinations,
        audit_settings(conf),
        random.random,
        heard,
    )
    settings = Settings(
        destinations=destinations,
        transports=load_transports(conf.transports, transfer_settings(conf)),
        reader=Reading(transfer_settings(conf)),
        clock=SystemClock(),
        pacing=pacing,
        schemes=schemes(conf),
        leavers=leavers(transfer_settings(conf)),
        preserve=conf.preserve_properties,
        source_transfers=conf.source_transfers,
        source_patience=conf.source_patience,
        poll=conf.import_poll_interval,
        stuck=conf.stuck_timeout,
        delete_mode=DeleteMode(conf.delete_mode),
        delete_grace=conf.delete_grace,
        home_mapping=conf.home_mapping,
        snapshots=Patience(conf.snapshot_timeout, conf.snapshot_sleep_interval),
    )
    jobbing = Jobbing(journal.jobs, journal, services, lambda: str(uuid.uuid4()))
    planning = Planning(journal, journal, journal, journal.plans, services, settings)
    return Executor(
        journal,
        journal,
        services,
        RetryPolicy(
            fast_attempts=conf.task_retry_times,
            base=conf.retry_interval,
            cap=conf.retry_max_interval,
        ),
        settings,
        random.random,
        {
            TaskKind.WATCH: Flow(reconciler.watch, conf.watch_interval),
            TaskKind.AUDIT: Flow(reconciler.audit, conf.audit_interval),
            TaskKind.PLAN: Flow(planning.run),
            TaskKind.JOB: Flow(jobbing.run),
        },
        heard,
    )


def strategy(conf: cfg.ConfigOpts) -> Strategy:
    """The strategy in force, if it is not USER."""
    name = strategy_name(conf)
    return lazy(conf.evict_after) if name == "LAZY" else STRATEGIES[name]


def breaker(conf: cfg.ConfigOpts) -> Breaker:
    """When a region is left alone."""
    return Breaker(
        threshold=conf.breaker_failures,
        pause=conf.breaker_pause,
        cap=conf.breaker_max_pause,
        patience=conf.retry_max_interval,
    )


def audit_settings(conf: cfg.ConfigOpts) -> AuditSettings:
    """What is said about audits."""
    return AuditSettings(
        watch_interval=conf.watch_interval,
        audit_interval=conf.audit_interval,
        guard_images=conf.delete_guard_images,
        guard_percent=conf.delete_guard_percent,
        home_mapping=conf.home_mapping,
    )


def worker_settings(conf: cfg.ConfigOpts) -> WorkerSettings:
    """How much a worker does at a time."""
    return WorkerSettings(
        slots=conf.workers,
        region_slots=conf.region_workers,
        lease=conf.lease,
        poll=conf.poll_interval,
        fast_attempts=conf.task_retry_times,
        pause=conf.retry_max_interval,
    )


def node_name() -> str:
    """What people know this process by."""
    return f"{socket.gethostname()}:{os.getpid()}"


def shared(conf: cfg.ConfigOpts, ruling: Ruling) -> dict[str, str]:
    """The settings in which all nodes should agree, as they are now."""
    values = {name: conf[name] for name in SHARED}
    values["sync_strategy"] = ruling.destinations.strategy.mark  # with the version of its rules
    return {
        name: ", ".join(sorted(value)) if isinstance(value, list) else str(value)
        for name, value in values.items()
    }


def presence(conf: cfg.ConfigOpts, journal: Journal, ruling: Ruling) -> Presence:
    """What tells other nodes of this one."""
    return Presence(
        node_name(),
        functools.partial(shared, conf, ruling),
        journal.say_node,
        journal.nodes,
        journal.leave_node,
    )


def engine(
    conf: cfg.ConfigOpts, journal: Journal, spawn: Spawn, destinations: Destinations
) -> Engine:
    """The workers of one process and what they need.

    :raises ConfigurationError: an option can't work
    """
    services = catalog(conf)
    sharing = pacing(conf, journal)
    worker = Worker(
        node_name(),
        journal,
        journal,
        executor(conf, journal, services, sharing, destinations).run,
        spawn,
        worker_settings(conf),
    )
    journal.on_work(worker.wake)
    discovery = Discovery(services, journal.discovered)
    return Engine(services, sharing, discovery, worker, Purge(journal.purge))


def reload(
    conf: cfg.ConfigOpts,
    journal: Journal,
    engine: Engine | None,
    routing: Routing | None,
    ruling: Ruling,
    selecting: Selecting,
) -> None:
    """Have what runs use the options as they are now; running tasks end as they began.

    :raises ConfigurationError: an option can't work; all goes on as before
    """
    check(conf)
    if regions := journal.regions():
        check_regions(conf, regions)
    transports = load_transports(conf.transports, transfer_settings(conf))
    stores = schemes(conf)
    chosen_by = selection(conf)
    book = rule_book(conf, journal)
    places = destinations(conf, journal, book)
    if engine is not None:
        run = executor(conf, journal, engine.services, engine.pacing, places).run
        engine.pacing.use(limits(conf))
        engine.worker.use(run, worker_settings(conf))
    if routing is not None:
        routing.use(transports, stores)
    selecting.use(chosen_by)
    ruling.use(places, book, conf.transports)

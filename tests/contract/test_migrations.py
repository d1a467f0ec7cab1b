# SPDX-License-Identifier: Apache-2.0
"""From every earlier revision to this program's, with data in place."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import glancesync.journal
from glancesync.errors import JournalError
from glancesync.interfaces import Ask, Changes
from glancesync.journal import schema
from glancesync.journal.database import Database, head, revisions
from glancesync.journal.journal import Journal
from glancesync.model import Actor, Done, Hint, Priority, Replica
from glancesync.orders import Wish
from glancesync.states import OPEN, FindingKind, ReplicaState, TaskKind, TaskState

Rows = dict[str, list[dict[str, Any]]]

IDS = [f"{digit}0000000-aaaa-4bbb-8ccc-dddddddddddd" for digit in "0123456789abcdef"]
#: Of replicas, as of 0001.
STATES = ("pending", "copying", "waiting", "in_sync", "partial", "conflict", "failed")
STATES += ("deleted", "released")
HOUR = 3600.0
LEASE = "00000000-1111-4222-8333-444444444444"


def rows_of_0001(now: float) -> Rows:
    """Something in every table and every state, with numbers that have gaps."""

    def task(number: int, kind: str, region: str, state: str, **more: Any) -> dict[str, Any]:
        image_id = IDS[number]
        key = ":".join(part for part in (kind, image_id, region) if part)
        return {
            "id": 10 * number + 7,
            "task_key": key,
            "open_key": None if state in ("done", "cancelled") else key,
            "kind": kind,
            "image_id": image_id,
            "region": region,
            "state": state,
            "priority": 50,
            "asked": 1,
            "attempt": 0,
            "force": False,
            "due_at": now - HOUR,
            "actor": '{"user_id": "u", "roles": ["member"]}',
            "created_at": now - 2 * HOUR,
            "updated_at": now - HOUR,
            **more,
        }

    lease = {"lease_owner": "old:1", "lease_token": LEASE, "lease_until": now - 60}
    return {
        "task": [
            task(0, "image", "", "ready", priority=10, force=True),
            task(1, "image", "", "ready", attempt=3, due_at=now + HOUR, reason="HTTP 500"),
            task(2, "image", "", "ready", waiting_since=now - 60, due_at=now + HOUR),
            task(3, "replica", "RegionTwo", "running", **lease),
            task(4, "replica", "RegionTwo", "failed", attempt=5, due_at=now + HOUR),
            task(5, "replica", "RegionTwo", "ready", priority=90, asked=2**40),
            task(6, "replica", "RegionTwo", "done", ended_at=now - 60, reason="created — ok"),
            task(7, "replica", "RegionTwo", "cancelled", ended_at=now - 60),
        ],
        "image": [
            {
                "image_id": image_id,
                "generation": 3,
                "fingerprint": "f" * 64,
                "present": number % 2 == 0,
                "name": "näme" * 60,
                "owner": "p" * 32,
                "status": "active",
                "size": 2**40,
                "kernel_id": IDS[-1],
                "ramdisk_id": None,
                "changed_at": now - HOUR - 0.125,
                "observed_at": now,
            }
            for number, image_id in enumerate(IDS)
        ],
        "replica": [
            {
                "image_id": image_id,
                "region": "RegionTwo",
                "state": state,
                "replica_id": image_id if state != "pending" else None,
                "made": state == "in_sync",
                "observed_generation": 2,
                "baseline": "b" * 64,
                "transport": "upload",
                "bytes_done": 2**40,
                "bytes_total": 2**41,
                "refused": '{"hw_x": "policy"}',
                "last_error": "x" * 5000,
                "synced_at": None,
                "updated_at": now,
            }
            for image_id, state in zip(
                IDS,
                STATES,
                strict=False,
            )
        ],
        "region": [
            {
                "name": name,
                "url": f"http://{name.lower()}",
                "home": name == "RegionOne",
                "present": True,
                "enabled": True,
                "maintenance": name == "RegionThree",
                "labels": '{"city": "Köln"}',
                "limits": '{"tasks": 2}',
                "seen_at": now,
                "last_error": None,
            }
            for name in ("RegionOne", "RegionTwo", "RegionThree")
        ],
        "event": [
            {
                "id": number,
                "at": now - number,
                "image_id": IDS[0],
                "region": "",
                "what": "hint",
                "detail": "2 changes",
                "actor": "{}",
            }
            for number in (4, 5, 900)
        ],
    }


def rows_of_0002(now: float) -> Rows:
    """The same, as 0002 has it, and something in the tables it added."""
    rows = rows_of_0001(now)
    priorities = {10: 0, 50: 60, 90: 1800}
    for task in rows["task"]:
        waits = task["attempt"] > 0 or "waiting_since" in task
        if waits and task["state"] == "ready":
            task["state"] = "waiting"
        task["priority"] = priorities[task["priority"]]
        task |= {"verify": True, "since": task["created_at"], "decision": None}
    for image in rows["image"]:
        image |= {"os_hash_value": "c" * 128}
    for replica in rows["replica"]:
        replica |= {"kept": '{"hw_x": "1"}', "expires_at": None}
    for region in rows["region"]:
        region |= {"failures": 0, "broken_until": now - 60}
    audit = {"region": "RegionTwo", "seen": 3, "drifted": 1, "missing": 0, "held": 1}
    finding = {
        "region": "RegionTwo",
        "what": FindingKind.GONE.value,
        "image_id": IDS[1],
        "other_id": "",
    }
    return rows | {
        "audit": [audit | {"marker": IDS[2], "started_at": now - HOUR}],
        "finding": [finding | {"detail": "ä", "found_at": now}],
        "tally": [{"counter": "bytes", "region": "RegionTwo", "label": "upload", "amount": 0.5}],
    }


def rows_of_0003(now: float) -> Rows:
    """The same, as 0003 has it, and something in the tables it added."""
    rows = rows_of_0002(now)
    priorities = {0: 0, 60: 3600, 1800: 604800}
    for task in rows["task"]:
        task |= {"priority": priorities[task["priority"]], "removed": True}
    for image in rows["image"]:
        image |= {"last_error": "rotten"}
    for replica in rows["replica"]:
        replica |= {"verified_at": now - HOUR}
    for region in rows["region"]:
        region |= {"failing_since": now - HOUR}
    plan = {"id": 7, "state": "ready", "strategy": "ALL", "regions": "[]", "unread": "{}"}
    step = {"plan_id": 7, "region": "RegionTwo", "image_id": IDS[0], "actions": "[]", "why": "ä"}
    step |= {"bytes": 2**40, "adoptable": "[]", "home": "f", "observed": "g", "state": "planned"}
    return rows | {
        "plan": [plan | {"actor": "{}", "created_at": now}],
        "step": [step | {"looked_at": now}],
        "node": [{"name": "host:1", "settings": "{}", "seen_at": now}],
    }


def rows_of_0004(now: float) -> Rows:
    """The same, as 0004 has it."""
    rows = rows_of_0003(now)
    for replica in rows["replica"]:
        replica |= {"source": "RegionOne", "copying_since": now}
    return rows


def rows_of_0005(now: float) -> Rows:
    """The same, as 0005 has it, and something in the table it added."""
    rows = rows_of_0004(now)
    for image in rows["image"]:
        image |= {"actor": '{"user_id": "ü"}', "origin": None, "origin_id": None}
    for replica in rows["replica"]:
        replica |= {"delete_mode": "hide"}
    finding = rows["finding"][0] | {"what": FindingKind.UNPLACED.value}
    pin = {"image_id": IDS[0], "region": "RegionTwo", "cause": "job 7", "actor": "{}"}
    return rows | {
        "finding": [*rows["finding"], finding],
        "pin": [pin | {"pinned_at": now - HOUR, "used_at": now}],
    }


def rows_of_0006(now: float) -> Rows:
    """The same, as 0006 has it, and something in the table it added."""
    rows = rows_of_0005(now)
    for region in rows["region"]:
        region |= {"capacity": None, "capacity_at": None, "found_at": now - HOUR}
    binding = {
        "id": 7,
        "project_id": "bound",
        "group_name": "",
        "region": "RegionTwo",
        "active": True,
        "released": False,
        "cause": "a contract",
        "actor": "{}",
        "began_at": now,
        "ended_at": None,
        "end_cause": None,
        "ended_by": None,
    }
    return rows | {"binding": [binding]}


#: Revision -> what a journal of that revision may hold. Every one we can upgrade from is here.
ROWS: dict[str, Callable[[float], Rows]] = {
    "0001": rows_of_0001,
    "0002": rows_of_0002,
    "0003": rows_of_0003,
    "0004": rows_of_0004,
    "0005": rows_of_0005,
    "0006": rows_of_0006,
}


def upgrade(database: Database, revision: str) -> None:
    config = Config()
    where = Path(glancesync.journal.__file__).with_name("migrations")
    config.set_main_option("script_location", str(where))
    config.set_main_option("path_separator", "os")
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def stored(database: Database, like: Rows) -> Rows:
    """The columns named in *like* of all rows, in the order of the key."""
    found: Rows = {}
    with database.read() as connection:
        for name, rows in like.items():
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            query = sa.select(*(table.c[column] for column in rows[0]))
            query = query.order_by(*table.primary_key)
            found[name] = [
                {k: float(v) if isinstance(v, Decimal) else v for k, v in row._mapping.items()}
                for row in connection.execute(query)
            ]
    return found


@pytest.fixture
def database(empty_url: str) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.dispose()


@pytest.fixture(params=sorted(revisions() - {head()}))
def old(request: pytest.FixtureRequest, database: Database) -> Rows:
    """What the database holds, which is at an earlier revision."""
    upgrade(database, request.param)
    rows = ROWS[request.param](database.now())
    columns = sorted({name for row in rows["task"] for name in row})
    rows["task"] = [{name: row.get(name) for name in columns} for row in rows["task"]]
    with database.write() as connection:
        for name, some in rows.items():
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            connection.execute(sa.insert(table), some)
            if database.engine.dialect.name == "postgresql" and "id" in table.c:
                sequence = f"pg_get_serial_sequence('{name}', 'id')"
                connection.execute(sa.text(f"SELECT setval({sequence}, max(id)) FROM {name}"))
    assert stored(database, rows)["event"] == rows["event"]
    return rows


def test_no_row_is_lost_or_changed(database: Database, old: Rows) -> None:
    database.migrate()

    new = stored(database, old)
    priorities = {0: Priority.USER, 60: Priority.HINT, 1800: Priority.AUDIT}
    for task, later in zip(old["task"], rows_of_0002(0)["task"], strict=True):
        task |= {"state": later["state"], "priority": priorities[later["priority"]]}
    for name, rows in old.items():
        key = [column.name for column in schema.metadata.tables[name].primary_key]
        rows = sorted(rows, key=lambda row: [row[column] for column in key])
        for before, after in zip(rows, new[name], strict=True):
            assert before == after, name
    with database.read() as connection:
        tables = set(sa.inspect(connection).get_table_names())
    assert tables == {*schema.metadata.tables, "alembic_version"}, "no copy is left"


def test_open_tasks_are_claimed_in_time_and_ended_ones_never(database: Database, old: Rows) -> None:
    database.migrate()
    journal = Journal(database)
    states = {task.image_id: task.state for task in journal.list_tasks(states=set(TaskState))}
    assert [states[image_id].value for image_id in IDS[:8]] == [
        *("ready", "waiting", "waiting", "running", "failed", "ready", "done", "cancelled")
    ]
    assert journal.rescue(fast_attempts=5, pause=600) == 1, "its worker is gone"

    regions = {"", "RegionOne", "RegionTwo", "RegionThree"}
    claimed = []
    while tasks := journal.claim("new", lease=60, limit=10, regions=regions):
        claimed += tasks
    assert [task.image_id for task in claimed] == [IDS[0], IDS[3], IDS[5]]
    first = claimed[0]
    assert (first.priority, first.force, first.actor.roles) == (Priority.USER, True, ("member",))
    assert [task.asked for task in claimed] == [1, 1, 2**40]
    journal.commit(first, Changes(), Done("well"))
    t = schema.task
    with database.write() as connection:  # an hour passes
        connection.execute(sa.update(t).values(due_at=t.c.due_at - 2 * HOUR))
    left = {task.image_id for task in iter_claims(journal, regions)}
    assert left == {IDS[1], IDS[2], IDS[4]}


def iter_claims(journal: Journal, regions: set[str]) -> Iterator[Any]:
    while tasks := journal.claim("new", lease=60, limit=10, regions=regions):
        yield from tasks


def test_numbers_go_on_where_they_were(database: Database, old: Rows) -> None:
    database.migrate()
    journal = Journal(database)
    journal.hint([Hint(IDS[0]), Hint(IDS[8])])

    newest = max(task.id for task in journal.list_tasks())
    assert newest > max(row["id"] for row in old["task"])
    assert len(journal.list_tasks()) == 7, "the open task of the same key was found again"
    assert [event.id > 900 for event in journal.events(IDS[0])] == [True, False, False, False]


def test_ids_are_compared_byte_by_byte(database: Database, old: Rows) -> None:
    """The reconciler merges listings by it, as Python orders them."""
    database.migrate()
    journal = Journal(database)
    ids = [one.translate({ord("a"): "A"}) for one in IDS[10:12]] + ["Z" * 36, "_" * 36, "-" * 36]
    i = schema.image
    with database.write() as connection:
        template = connection.execute(sa.select(i).limit(1)).one()._mapping
        for image_id in ids:
            connection.execute(sa.insert(i).values({**template, "image_id": image_id}))
    listed = [one.image_id for one in journal.present_images("", None)]
    present = {row["image_id"] for row in old["image"] if row["present"]} | set(ids)
    assert listed == sorted(present)
    between = [one.image_id for one in journal.present_images("A", "a")]
    assert between == sorted(one for one in present if "A" < one <= "a")
    journal.ask([Ask(TaskKind.REPLICA, image_id, "RegionTwo") for image_id in ids], "test")
    keys = {task.key for task in journal.list_tasks(states=OPEN)}
    assert {f"replica:{image_id}:RegionTwo" for image_id in ids} <= keys


def test_records_are_usable(database: Database, old: Rows) -> None:
    database.migrate()
    journal = Journal(database)
    image = journal.image(IDS[0])
    assert image is not None
    value = old["image"][0].get("os_hash_value")
    assert (image.name, image.size, image.os_hash_value) == ("näme" * 60, 2**40, value)
    replica = journal.replica(IDS[3], "RegionTwo")
    assert replica is not None
    assert (replica.state, replica.made, replica.refused) == (
        ReplicaState.IN_SYNC,
        True,
        {"hw_x": "policy"},
    )
    three, two = journal.region("RegionThree"), journal.region("RegionTwo")
    assert three is not None
    assert two is not None
    assert (three.maintenance, two.limits, two.failures) == (True, {"tasks": 2}, 0)
    assert journal.referrers(IDS[-1]) == [row["image_id"] for row in old["image"] if row["present"]]

    journal.plans.create((), None, Actor())
    wish = Wish("RegionTwo", ("RegionOne",), ("x",))
    journal.jobs.create([wish], Actor(), project_id=None, everything=True, most=None)
    journal.discovered({one.name: one.url for one in journal.regions()}, "RegionOne")
    kinds = {task.kind for task in journal.list_tasks(kinds=set(TaskKind))}
    assert kinds == set(TaskKind), "a plan's, a job's, and those that never end"
    task = next(iter_claims(journal, {"RegionTwo"}))
    journal.commit(task, Changes(replica=Replica(task.image_id, "RegionTwo")), Done("well"))
    journal.run_audit("RegionTwo", Actor())
    journal.update_region("RegionTwo", {"capacity": {"free_bytes": 1}})
    assert journal.bindings.bind("p", "", "RegionTwo", "by hand", Actor())[1]


@pytest.mark.parametrize("old", ["0001"], indirect=True)
def test_an_upgrade_that_broke_off_is_made_again(database: Database, old: Rows) -> None:
    """On MySQL and MariaDB what was done until then stays; elsewhere nothing does."""
    with database.write() as connection:
        connection.execute(sa.text("CREATE VIEW tally AS SELECT 1 AS x"))
    with pytest.raises(JournalError, match="tally"):
        database.migrate()
    assert database.version() == "0001"
    if database.engine.dialect.name != "mysql":
        assert stored(database, old)["event"] == old["event"]
    with database.write() as connection:
        connection.execute(sa.text("DROP VIEW tally"))

    database.migrate()
    test_no_row_is_lost_or_changed(database, old)


@pytest.mark.parametrize("old", ["0001"], indirect=True)
def test_an_upgrade_that_was_killed_before_it_had_tidied_up(database: Database, old: Rows) -> None:
    database.migrate()
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE task_0001 AS SELECT * FROM task"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    database.migrate()
    test_no_row_is_lost_or_changed(database, old)


@pytest.mark.parametrize("old", ["0003"], indirect=True)
def test_the_last_upgrade_was_killed_half_way(database: Database, old: Rows) -> None:
    with database.write() as connection:
        connection.execute(sa.text("ALTER TABLE replica ADD COLUMN source VARCHAR(255)"))
    database.migrate()
    test_no_row_is_lost_or_changed(database, old)


@pytest.mark.parametrize("old", ["0002"], indirect=True)
def test_an_upgrade_that_was_killed_half_way(database: Database, old: Rows) -> None:
    with database.write() as connection:
        connection.execute(sa.text("ALTER TABLE image ADD COLUMN last_error TEXT"))
        connection.execute(sa.text("CREATE TABLE plan (id INTEGER)"))
        if connection.dialect.name != "sqlite":
            connection.execute(sa.text("ALTER TABLE task DROP CONSTRAINT ck_task_kind"))
    database.migrate()
    test_no_row_is_lost_or_changed(database, old)

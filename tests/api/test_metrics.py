# SPDX-License-Identifier: Apache-2.0
"""``GET /metrics`` as Prometheus reads it."""

from collections.abc import Callable, Iterator

import pytest
import webob
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from glancesync.breaker import Breaker
from glancesync.counts import Count, Counter
from glancesync.errors import Transient
from glancesync.interfaces import Ask, Changes
from glancesync.model import Audit, Done, Hint
from glancesync.states import ReplicaState, TaskKind
from tests.api import service
from tests.journals import let_pass

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def estate() -> Iterator[service.Estate]:
    with service.Estate() as estate:
        yield estate


def ask(path: str = "/metrics", **headers: str) -> webob.Response:
    return webob.Request.blank(path, headers=headers).get_response(service.app())


def families() -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(ask().text)}


def value(name: str, **labels: str) -> float:
    """The sample of that name and these labels, of which there is one."""
    [found] = [
        sample.value
        for family in families().values()
        for sample in family.samples
        if sample.name == f"glancesync_{name}" and sample.labels == labels
    ]
    return float(found)


def test_without_a_token_and_nowhere_else(estate: service.Estate) -> None:
    response = ask()
    assert (response.status_code, response.content_type) == (200, "text/plain")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert ask("/metrics/").status_code == 401
    assert ask("/v1/metrics").status_code == 401


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("*/*", text_string_to_metric_families),
        (OPENMETRICS, openmetrics.text_string_to_metric_families),
    ],
    ids=["text", "openmetrics"],
)
def test_every_metric_is_ours_and_explained(
    estate: service.Estate, accept: str, parse: Callable[[str], Iterator[Metric]]
) -> None:
    found = list(parse(ask(Accept=accept).text))
    assert len({one.name for one in found}) == len(found) > 20
    for one in found:
        assert one.name.startswith("glancesync_")
        assert one.documentation.endswith(".")
        assert one.type in ("gauge", "counter", "histogram")
        for sample in one.samples:
            assert sample.labels.keys() <= {
                "region",
                "state",
                "kind",
                "reason",
                "transport",
                "what",
                "le",
            }


def test_images_and_errors_add_no_series(estate: service.Estate) -> None:
    """However many there are: only regions do."""

    def series() -> int:
        return sum(len(one.samples) for one in families().values())

    before = series()
    for number in range(50):
        estate.journal.hint([Hint(f"cccccccc-0000-0000-0000-{number:012}")], dropped=1)
    assert series() == before
    assert value("images_behind") == 53
    assert value("hook_dropped_hints_total") == 50


def test_the_backlog(estate: service.Estate) -> None:
    states = {s: value("backlog_tasks", region="RegionTwo", state=s) for s in ("ready", "failed")}
    assert states == {"ready": 1, "failed": 1}
    assert value("backlog_bytes", region="RegionTwo") == 300
    assert 0 < value("backlog_oldest_seconds", region="RegionTwo") < 60
    assert value("backlog_oldest_seconds", region="RegionThree") == 0
    estate.journal.hint([Hint(service.A1)])
    assert value("backlog_tasks", region="RegionOne", state="ready") == 1


def test_replicas_in_every_state_also_if_there_are_none(estate: service.Estate) -> None:
    shown = {state: value("replicas", region="RegionThree", state=state) for state in ReplicaState}
    assert shown == dict.fromkeys(ReplicaState, 0) | {ReplicaState.PARTIAL: 3}


def test_a_region_that_is_unwell_or_closed(estate: service.Estate) -> None:
    def breaker() -> dict[str, float]:
        states = ("closed", "open", "half_open")
        return {one: value("region_breaker", region="RegionTwo", state=one) for one in states}

    assert breaker() == {"closed": 1, "open": 0, "half_open": 0}
    for _ in range(5):
        estate.journal.note_region("RegionTwo", Transient("RegionTwo", "down"), Breaker())
    assert breaker() == {"closed": 0, "open": 1, "half_open": 0}
    assert value("region_failures", region="RegionTwo") == 5
    assert value("region_open", region="RegionTwo") == 1
    let_pass(estate.journal, "RegionTwo", 60)
    assert breaker() == {"closed": 0, "open": 0, "half_open": 1}
    estate.journal.note_region("RegionTwo", None, Breaker())
    assert breaker() == {"closed": 1, "open": 0, "half_open": 0}
    estate.journal.update_region("RegionTwo", {"enabled": False})
    assert value("region_open", region="RegionTwo") == 0


def test_what_was_counted(estate: service.Estate) -> None:
    assert value("tasks_done_total", region="RegionOne", kind="image") == 3
    assert value("failures_total", region="RegionTwo", reason="transient") == 0
    estate.journal.ask([Ask(TaskKind.REPLICA, service.A1, "RegionThree")], "test")
    (task,) = estate.journal.claim("me", lease=60, limit=1, regions={"RegionThree"})
    counts = (
        Count(Counter.FAILURES, "RegionTwo", "corrupt", 2),
        Count(Counter.FAILURES, "", "transient"),
        Count(Counter.BYTES, "RegionThree", "upload", 2**50),
        Count(Counter.DRIFT, "RegionTwo", "missing", 3),
        Count(Counter.REPAIRED, "RegionTwo"),
        Count(Counter.MISMATCHES, "RegionTwo", amount=2),
        Count(Counter.SYNC, "RegionTwo", "1", 2),
        Count(Counter.SYNC, "RegionTwo", "60"),
        Count(Counter.SYNC, "RegionTwo", "+Inf"),
        Count(Counter.SYNC, "RegionTwo", "sum", 100_051.5),
    )
    estate.journal.commit(task, Changes(counts=counts), Done(""))
    assert value("failures_total", region="RegionTwo", reason="corrupt") == 2
    assert value("failures_total", region="RegionOne", reason="transient") == 1
    assert value("copied_bytes_total", region="RegionThree", transport="upload") == 2**50
    assert value("drift_found_total", region="RegionTwo", what="missing") == 3
    assert value("drift_repaired_total", region="RegionTwo") == 1
    assert value("hash_mismatches_total", region="RegionTwo") == 2
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in families()["glancesync_sync_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["region"] == "RegionTwo"
    ]
    assert buckets[:3] == [("0.5", 0), ("1.0", 2), ("2.0", 2)]
    assert buckets[-1] == ("+Inf", 4)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert value("sync_seconds_count", region="RegionTwo") == 4
    assert value("sync_seconds_sum", region="RegionTwo") == 100_051.5


def test_audits(estate: service.Estate) -> None:
    assert families()["glancesync_audit_duration_seconds"].samples == []
    journal = estate.journal
    journal.ask([Ask(TaskKind.AUDIT, "", "RegionTwo", priority=0)], "test")
    (task,) = journal.claim("me", lease=60, limit=1, regions={"RegionTwo"})
    began = journal.database.now() - 90
    audit = Audit("RegionTwo", started_at=began, seen=7, drifted=2, missing=1)
    journal.commit(task, Changes(audit=audit))
    assert value("audit_running", region="RegionTwo") == 1
    audit = Audit(
        "RegionTwo", started_at=began, finished_at=began, seen=9, drifted=2, missing=1, held=4
    )
    journal.commit(task, Changes(audit=audit))
    names = ("running", "seen", "drifted", "missing", "held_deletions")
    shown = {name: value(f"audit_{name}", region="RegionTwo") for name in names}
    assert shown == {"running": 0, "seen": 9, "drifted": 2, "missing": 1, "held_deletions": 4}
    assert value("audit_duration_seconds", region="RegionTwo") == pytest.approx(90, abs=20)
    ended = value("audit_finished_timestamp_seconds", region="RegionTwo")
    assert ended == pytest.approx(began + 90, abs=20)


def test_a_label_that_wants_escaping(estate: service.Estate) -> None:
    name = 'Köln "Süd"\\1\nx'
    estate.journal.discovered({name: "http://x", "RegionOne": "http://y"}, "RegionOne")
    assert value("region_open", region=name) == 1


def test_the_journal_does_not_answer() -> None:
    with service.Gone():
        response = ask()
    assert response.status_code == 503
    assert response.json["error"]["message"] == "The journal's database does not answer."

# SPDX-License-Identifier: Apache-2.0
"""Who works on a journal, and in what they differ."""

import sqlalchemy as sa

from glancesync.journal import schema
from glancesync.journal.journal import Journal
from glancesync.model import Node, differences


def test_nodes_come_change_and_go(journal: Journal) -> None:
    assert journal.nodes() == []
    journal.say_node("b:2", {"sync_strategy": "ALL", "preserve_properties": "ä, \N{SNOWMAN}"})
    journal.say_node("a:1", {"sync_strategy": "None"})
    journal.say_node("a:1", {"sync_strategy": "ALL"})
    a, b = journal.nodes()
    assert a == Node("a:1", {"sync_strategy": "ALL"})
    assert b.settings["preserve_properties"] == "ä, \N{SNOWMAN}"
    journal.leave_node("b:2")
    journal.leave_node("never seen")
    assert journal.nodes() == [a]


def test_a_node_that_died_is_forgotten(journal: Journal) -> None:
    journal.say_node("dead:1", {})
    with journal.database.write() as connection:
        connection.execute(sa.update(schema.node).values(seen_at=schema.node.c.seen_at - 61))
    assert journal.nodes() == []
    journal.say_node("new:2", {})
    with journal.database.read() as connection:
        names = list(connection.execute(sa.select(schema.node.c.name)).scalars())
    assert names == ["new:2"]


def test_what_differs_is_named_with_who_has_it() -> None:
    nodes = [
        Node("a", {"mode": "mirror", "grace": "0"}),
        Node("b", {"mode": "keep", "grace": "0"}),
        Node("c", {"mode": "mirror", "grace": "0"}),
        Node("older program", {"mode": "mirror"}),
    ]
    assert differences(nodes) == {"mode": {"mirror": ["a", "c", "older program"], "keep": ["b"]}}
    assert differences(nodes[:1]) == {}

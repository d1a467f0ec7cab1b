# SPDX-License-Identifier: Apache-2.0
"""What may be adopted, and what was: images of regions that glance-sync did not make."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from glancesync.interfaces import Ask
from glancesync.journal.database import Database
from glancesync.journal.retries import retried
from glancesync.journal.schema import finding as f
from glancesync.journal.schema import image as i
from glancesync.journal.schema import replica as r
from glancesync.model import Actor, Decision, Priority
from glancesync.states import ENDED, SETTLED, DecisionKind, FindingKind, TaskKind

_PAGE = 500  # rows dealt with in one transaction
_TAKEN = sa.and_(r.c.replica_id.is_not(None), r.c.state.not_in(sorted(ENDED)))


class Adoptions:
    """What the API asks about adoption, part of the journal."""

    def __init__(self, database: Database, ask: Callable[[Sequence[Ask]], None]) -> None:
        self._database = database
        self._ask = ask

    @retried
    def offered(self, region: str, image_id: str) -> list[str]:
        """The images in a region that could be the replica of a home image, by id."""
        query = sa.select(f.c.other_id).where(f.c.image_id == image_id, *_offers(region))
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(f.c.other_id)).scalars())

    def adopt(
        self, image_id: str, region: str, replica_id: str, actor: Actor, *, own: bool
    ) -> None:
        """Ask for an image of a region to be taken for the replica.

        :param own: glance-sync may delete it one day
        """
        self._decide(region, [(image_id, replica_id)], actor, own=own, priority=Priority.USER)

    def adopt_offered(self, region: str, actor: Actor, *, own: bool) -> tuple[int, int]:
        """Ask for everything to be adopted that is offered in a region; page by page.

        :param own: glance-sync may delete it one day, and so what was adopted there before
        :return: how many were asked for, and how many not, as several could be the replica
        """
        asked = several = 0
        after = ""
        while offers := self._offers(region, after):
            after = offers[-1][0]
            clear = [(image_id, other) for image_id, other in offers if other is not None]
            self._decide(region, clear, actor, own=own)
            asked += len(clear)
            several += len(offers) - len(clear)
        after = ""
        while own and (adopted := self._adopted(region, after)):
            after = adopted[-1][0]
            self._decide(region, adopted, actor, own=True)
            asked += len(adopted)
        return asked, several

    @retried
    def _offers(self, region: str, after: str) -> list[tuple[str, str | None]]:
        """Home image and the one in ``region`` that could be its replica; None if several could."""
        query = (
            sa.select(f.c.image_id, sa.func.min(f.c.other_id), sa.func.count())
            .where(f.c.image_id > after, *_offers(region))
            .group_by(f.c.image_id)
            .order_by(f.c.image_id)
            .limit(_PAGE)
        )
        with self._database.read() as connection:
            found = connection.execute(query)
            return [(image_id, other if n == 1 else None) for image_id, other, n in found]

    @retried
    def _adopted(self, region: str, after: str) -> list[tuple[str, str]]:
        """Home image and id there of the replicas that were adopted and are not to be deleted."""
        query = sa.select(r.c.image_id, r.c.replica_id).where(
            r.c.region == region,
            r.c.image_id > after,
            r.c.replica_id.is_not(None),
            sa.not_(r.c.made),
            r.c.state.in_(sorted(SETTLED)),
        )
        with self._database.read() as connection:
            found = connection.execute(query.order_by(r.c.image_id).limit(_PAGE))
            return [(row.image_id, row.replica_id) for row in found]

    def _decide(
        self,
        region: str,
        pairs: Sequence[tuple[str, str]],
        actor: Actor,
        *,
        own: bool,
        priority: int = Priority.HINT,
    ) -> None:
        what = DecisionKind.OWN if own else DecisionKind.ADOPT
        asks = [
            Ask(
                TaskKind.REPLICA,
                image_id,
                region,
                priority,
                actor,
                urgent=priority <= Priority.USER,
                decision=Decision(what, replica_id),
            )
            for image_id, replica_id in pairs
        ]
        self._ask(asks)


def _offers(region: str) -> tuple[sa.ColumnElement[bool], ...]:
    """What was found, unless the one has a replica by now, or the other is one."""
    has_one = sa.exists().where(r.c.region == region, r.c.image_id == f.c.image_id, _TAKEN)
    is_one = sa.exists().where(r.c.region == region, r.c.replica_id == f.c.other_id, _TAKEN)
    gone = sa.exists().where(i.c.image_id == f.c.image_id, sa.not_(i.c.present))
    adoptable = sa.and_(f.c.region == region, f.c.what == FindingKind.ADOPTABLE.value)
    return (adoptable, sa.not_(has_one), sa.not_(is_one), sa.not_(gone))

# SPDX-License-Identifier: Apache-2.0
"""The rules of strategy USER: which are in force, what they say of an image, what others would."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from glancesync.api import views
from glancesync.api.call import Answer, Call
from glancesync.api.schemas import IMAGE_ID, NO_QUERY
from glancesync.api.schemas import rules as schemas
from glancesync.errors import BadRequest, ConfigurationError
from glancesync.placement.rules import Book
from glancesync.rulebook import file as rulebook

#: Images looked at for one answer: some seconds of listing.
MOST_IMAGES = 5000

_SOURCE = "rules"


def index(call: Call) -> Answer:
    """``GET /v1/rules``: those in force, in their order."""
    call.allow("glancesync:rules:list")
    call.query(NO_QUERY)
    book = call.ruling.book
    if book is None:
        name = call.ruling.destinations.strategy.name
        raise BadRequest(f"no rules are in force: sync_strategy is {name}, not USER", 409)
    return 200, {"rules": views.rules(book, call.journal.regions())}


def test(call: Call) -> Answer:
    """``POST /v1/rules/test``: which rule decides about an image, and what each says of it.

    ``rules``: the content of a file, instead of those in force.
    """
    call.allow("glancesync:rules:test")
    body = call.body(schemas.TEST)
    book = _book(call, body["rules"]) if "rules" in body else None
    return 200, {"test": views.ruled(call.ruling.test(body["image_id"], book))}


def preview(call: Call) -> Answer:
    """``POST /v1/rules/preview``: what a file would add and remove if it were in force.

    It looks at part of home's images; ``next`` is where to ask for the rest, with the same body.
    """
    call.allow("glancesync:rules:preview")
    query = call.query(NO_QUERY)
    body = call.body(schemas.PREVIEW)
    marker = call.marker()
    if marker is not None and not re.fullmatch(IMAGE_ID["pattern"], marker):
        raise BadRequest("query: marker: take it from the 'next' of the part before")
    book = _book(call, body["rules"])
    limit = call.limit() if "limit" in query else MOST_IMAGES
    found = call.ruling.preview(book, marker, limit)
    mark = call.ruling.destinations.strategy.mark
    answer: dict[str, Any] = {"preview": views.preview(found, book, mark, call.journal.regions())}
    if found.marker is not None:
        rest = urllib.parse.urlencode({**query, "marker": found.marker})
        answer["next"] = f"{call.request.path}?{rest}"
    return 200, answer


def _book(call: Call, text: str) -> Book:
    """The rules of a body.

    :raises BadRequest: they can't be used; names line, value and rule
    """
    try:
        book = rulebook.book(_SOURCE, text.encode(), call.ruling.transports)
    except ConfigurationError as error:
        raise BadRequest(str(error)) from None
    if strange := rulebook.strange(book, call.journal.regions(), _SOURCE):
        raise BadRequest(str(strange[0]))
    return book

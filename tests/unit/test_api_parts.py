# SPDX-License-Identifier: Apache-2.0
"""The parts of the API that need no request: words of refusals, moments, numbers."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancesync.api.call import check, natural
from glancesync.api.policies import RULES, list_rules
from glancesync.api.routes import ROUTES
from glancesync.api.schemas import IMAGE_ID
from glancesync.api.views import moment
from glancesync.errors import BadRequest

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "n": {"type": "integer", "minimum": 1},
        "list": {"type": "array", "items": {"type": "object", "required": ["x"]}},
        "id": IMAGE_ID,
    },
}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"n": 0}, "body.n: 0 is less than the minimum of 1"),
        ({"n": "1"}, "body.n: '1' is not of type 'integer'"),
        ({"list": [{"x": 1}, {}]}, "body.list[1]: 'x' is a required property"),
        ([], "body: [] is not of type 'object'"),
        ({"m": 1}, "body: Additional properties are not allowed ('m' was unexpected)"),
    ],
)
def test_a_refusal_names_field_and_rule(data: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check(data, SCHEMA, "body")
    assert (str(caught.value), caught.value.code) == (message, 400)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(BadRequest) as caught:
        check({"n": "x" * 100_000}, SCHEMA, "body")
    assert len(str(caught.value)) < 320


def test_what_fits_passes() -> None:
    check({"n": 1, "list": [{"x": None}]}, SCHEMA, "body")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("11111111-2222-3333-4444-555555555555", True),
        ("AAAAAAAA-bbbb-CCCC-dddd-eeeeeeeeeeee", True),
        ("11111111222233334444555555555555", False),
        ("11111111-2222-3333-4444-555555555555\n", False),
        (" 11111111-2222-3333-4444-555555555555", False),
        ("11111111-2222-3333-4444-55555555555g", False),
        ("", False),
    ],
)
def test_ids_of_images(text: str, fits: bool) -> None:
    if fits:
        check({"id": text}, SCHEMA, "body")
    else:
        with pytest.raises(BadRequest):
            check({"id": text}, SCHEMA, "body")


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("9" * 18, int("9" * 18)), ("9" * 19, None), ("9" * 5000, None)]
    + [(text, None) for text in ("", "-1", "+1", "1.0", "1e3", " 1", "1\n", "²", "٣", "x", "1_0")],
)
def test_natural_numbers(text: str, number: int | None) -> None:
    assert natural(text) == number


@given(st.text())
def test_any_text_is_a_number_or_not(text: str) -> None:
    number = natural(text)
    assert number is None or 0 <= number < 2**63


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.5, "1970-01-01T00:00:01.500Z"),
        (1767225599.9999, "2025-12-31T23:59:59.999Z"),
        (1767225600, "2026-01-01T00:00:00.000Z"),
    ],
)
def test_moments(seconds: float | None, text: str | None) -> None:
    assert moment(seconds) == text


@given(st.floats(0, 4e9))
def test_moments_sort_as_text(seconds: float) -> None:
    text = moment(seconds)
    later = moment(seconds + 1)
    assert text is not None
    assert later is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert text < later


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    routes = {(method, path) for path, methods in ROUTES.items() for method in methods}
    assert {(method, path) for _, _, method, path in RULES.values()} == routes
    assert [rule.name for rule in list_rules()] == list(RULES)

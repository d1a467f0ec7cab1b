# SPDX-License-Identifier: Apache-2.0
"""stores.rst says what the loader of ``glance_store.yaml`` does."""

import dataclasses
import re
import textwrap
from pathlib import Path

import pytest

from glancesync.errors import ConfigurationError
from glancesync.schemes import SCHEMES, Filesystem, Http, Scheme
from glancesync.stores.file import load
from glancesync.stores.schema import SCHEMA

PAGE = (Path(__file__).parents[2] / "doc/source/stores.rst").read_text()


def section(title: str) -> str:
    """What stands below a title, up to the next one of any level."""
    _, found, rest = PAGE.partition(f"\n{title}\n{'-' * len(title)}\n")
    assert found, title
    return re.split(r"\n[^\n ]+[^\n]*\n[=-]{2,}\n", rest)[0]


def table(title: str) -> dict[str, str]:
    """Field -> default."""
    lines = re.findall(r"^(``\w+``.*)$", section(title), re.MULTILINE)
    rule = re.search(r"^(=+ +)(=+)", section(title), re.MULTILINE)
    assert rule is not None
    column = slice(len(rule[1]), len(rule[1]) + len(rule[2]))
    return {line.split("``")[1]: line[column].strip() for line in lines}


def default(scheme: type[Scheme], field: "dataclasses.Field[object]") -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    if (scheme, field.name) == (Filesystem, "host"):  # the file always says it
        return ""
    return "" if field.default is None else str(field.default)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
def test_the_parameters_of_schemes(scheme: type[Scheme]) -> None:
    common = {field.name for field in dataclasses.fields(Scheme)}
    own = [field for field in dataclasses.fields(scheme) if field.name not in common]
    assert table(scheme.name) == {field.name: default(scheme, field) for field in own}


def test_the_parameters_that_all_schemes_have() -> None:
    fields = dataclasses.fields(Scheme)
    assert table("All schemes") == {field.name: default(Scheme, field) for field in fields}


def test_what_an_entry_has() -> None:
    glance = SCHEMA["properties"]["glances"]["items"]["properties"]
    _, _, rest = PAGE.partition("\nThe file\n========\n")
    named = re.findall(r"^``(\w+)``$", rest.partition("All schemes")[0], re.MULTILINE)
    assert sorted(named) == sorted(glance)


BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"\.\. code-block:: yaml\n\n((?: +[^\n]*\n|\n)+)", PAGE)
]


@pytest.mark.parametrize("text", [block for block in BLOCKS if block.startswith("glances:")])
def test_the_examples_are_taken(text: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("hunter2")
    file = tmp_path / "glance_store.yaml"
    file.write_text(re.sub(r"\{file: [^}]+\}", f"{{file: {secret}}}", text))
    found = load(str(file))
    assert len(found) == text.count("- name: Region")
    assert all(schemes and not isinstance(schemes[0], Http) for schemes in found.values())


def test_the_complaint_that_is_shown_is_one(tmp_path: Path) -> None:
    [shown] = re.findall(r"^    glance_store\.yaml:(.*)$", PAGE, re.MULTILINE)
    file = tmp_path / "glance_store.yaml"
    file.write_text(
        "glances:\n- name: A\n  schemes:\n  - {name: rbd, parameters: {}}\n- name: B\n  schemes:\n"
        "  - name: filesystem\n    parameters: {host: h, port: 0}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load(str(file))
    assert str(caught.value) == f"{file}:{shown}"

# SPDX-License-Identifier: Apache-2.0
"""YAML as plain data that remembers the line of each value.

Stricter than YAML: no key twice, text keys only, no tags, one document, and aliases only as far as
they do not explode. No complaint quotes the file: there are passwords in it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from glancesync.errors import ConfigurationError

Path = tuple[str | int, ...]  #: keys and indexes, from the top to a value

#: Aliases included; thousands of regions need fewer.
MAX_VALUES = 200_000
MAX_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
_TEXT = {_TAG + kind for kind in ("str", "timestamp", "value", "merge")}
_SCALARS = {
    _TAG + "int": SafeConstructor.construct_yaml_int,
    _TAG + "float": SafeConstructor.construct_yaml_float,
    _TAG + "bool": SafeConstructor.construct_yaml_bool,
    _TAG + "null": SafeConstructor.construct_yaml_null,
}
#: Not what could be the beginning of a password.
_KEY = re.compile(r"[A-Za-z_]\w{0,39}")


def shown(path: Path) -> str:
    """As in ``glances[0].schemes[1].parameters.port``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if _KEY.fullmatch(step) else ".(…)"
    return text.removeprefix(".") or "the file"


@dataclasses.dataclass(frozen=True)
class Document:
    """What a file says.

    :param source: its name
    :param lines: of each value, counted from 1; of one with a key that of the key
    """

    source: str
    data: Any = dataclasses.field(repr=False)
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of a value, or of what it is missing in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def wrong(self, path: Path, reason: str) -> ConfigurationError:
        """The error for a value."""
        return ConfigurationError(shown(path), reason, f"{self.source}:{self.line(path)}")


def parse(source: str, data: bytes) -> Document:
    """What a file of YAML says.

    :raises ConfigurationError: it is none, or not of the plain kind that is taken here
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError("the file", "is not UTF-8", f"{source}:{line}") from None
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = "holds a character that YAML does not allow"
        raise ConfigurationError("the file", reason, f"{source}:{line}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigurationError("the file", _said(error), f"{source}:{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        raise ConfigurationError("the file", "can't be read as YAML", source) from None
    if node is None:
        raise ConfigurationError("the file", "is empty", source)
    reading = _Reading(source)
    return Document(source, reading.value(node, (), node.start_mark.line), reading.lines)


def _said(error: yaml.MarkedYAMLError) -> str:
    """What is wrong with YAML, without what is quoted of it but for single characters."""
    if isinstance(error, yaml.composer.ComposerError):
        if "single document" in (error.context or ""):
            return "has more than one document"
        return "has an anchor twice or an alias to none; text that begins with & or * needs quotes"
    parts = [part for part in (error.problem, error.context) if part]
    quoted = re.compile(r"(['\"])(?!<[a-z ]+>\1|\\?[^'\"]\1).*\1", re.DOTALL)
    return "is not YAML: " + ", ".join(quoted.sub("…", part) for part in parts)


class _Reading:
    def __init__(self, source: str) -> None:
        self.lines: dict[Path, int] = {}
        self._source = source
        self._open: set[int] = set()
        self._seen = 0

    def _count(self, node: yaml.Node) -> None:
        self._seen += 1
        if self._seen > MAX_VALUES:
            raise self._wrong((), node, f"comes to more than {MAX_VALUES} values, with its aliases")

    def _wrong(self, path: Path, node: yaml.Node, reason: str) -> ConfigurationError:
        line = node.start_mark.line + 1
        return ConfigurationError(shown(path), reason, f"{self._source}:{line}")

    def value(self, node: yaml.Node, path: Path, line: int) -> Any:
        """What a node says; its line counts from 0, as PyYAML's do."""
        self.lines[path] = line + 1
        self._count(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise self._wrong(path, node, "contains itself, by an alias")
        if len(path) >= MAX_DEPTH:
            raise self._wrong((), node, f"is nested more than {MAX_DEPTH} deep")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return [
                    self.value(item, (*path, index), item.start_mark.line)
                    for index, item in enumerate(node.value)
                ]
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return {
                    name: self.value(item, (*path, name), key.start_mark.line)
                    for name, key, item in self._items(node, path)
                }
        finally:
            self._open.discard(id(node))
        raise self._wrong(path, node, "has a tag; only plain YAML is taken here")

    def _items(
        self, node: yaml.MappingNode, path: Path, depth: int = 0
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Names, keys and values; what is merged in by ``<<`` gives way to what stands here."""
        if depth >= MAX_DEPTH:
            raise self._wrong(path, node, "merges too much")
        here: set[str] = set()
        merged: list[yaml.MappingNode] = []
        for key, item in node.value:
            self._count(key)
            if key.tag == _TAG + "merge":
                merged += item.value if isinstance(item, yaml.SequenceNode) else [item]
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _TEXT:
                raise self._wrong(path, key, "has a key that is not text")
            name = self._scalar(key, path)
            if name in here:
                raise self._wrong((*path, name), key, "is here twice")
            here.add(name)
            yield name, key, item
        for one in merged:
            self._count(one)
            if not isinstance(one, yaml.MappingNode):
                raise self._wrong(path, one, "merges what is not a mapping")
            for name, key, item in self._items(one, path, depth + 1):
                if name not in here:
                    here.add(name)
                    yield name, key, item

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        if node.tag in _TEXT:
            try:
                node.value.encode()
            except UnicodeEncodeError:
                raise self._wrong(path, node, "is not Unicode text") from None
            return node.value
        if node.tag not in _SCALARS:
            raise self._wrong(path, node, "has a tag; only plain YAML is taken here")
        try:
            return _SCALARS[node.tag](SafeConstructor(), node)
        except (ValueError, KeyError, IndexError, OverflowError):
            raise self._wrong(path, node, "is not of the kind its tag or form says") from None

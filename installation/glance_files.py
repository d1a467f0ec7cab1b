# SPDX-License-Identifier: Apache-2.0
"""Line-wise edits of Glance's files: what install.sh asks for, one command each.

Every command reads a file and prints what it should become; it writes nothing. Comments, order,
spacing and line ends stay as they are. Only the standard library is used, because the Python that
runs this is whichever one the host's Glance has.

The grammar followed is oslo.config's: ``[section]``, ``key = value`` or ``key: value``, lines that
begin with white space continue the value, ``#`` and ``;`` in the first column begin a comment, and
of several assignments of one option the last counts.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

# The filters of roles home and region, by the names they have in the paste file.
FILTERS = {
    "glance_sync": "glance_patch.filter:filter_factory",
    "glance_sync_locations": "glance_patch.locations:filter_factory",
}
# They go behind this one, wherever it stands and whatever name it was given: it makes the request
# context that tells who did what.
CONTEXT_FACTORY = "glance.api.middleware.context:ContextMiddleware"

HEADER = re.compile(r"\[(?P<name>[^]]*)\]")
ASSIGNMENT = re.compile(r"(?P<key>[^\s#;\[=:][^=:]*?)(?P<sign>\s*[=:][ \t]*)(?P<value>.*?)\s*$")

# What role home sets, and the lists that role region adds to with the defaults Glance gives them
# (glance/common/config.py and glance/async_/flows/_internal_plugins/__init__.py, 30 to 33).
PLAIN = [("DEFAULT", name) for name in ("sync_enabled", "sync_server_host", "sync_server_port")]
LISTS = {
    ("DEFAULT", "enabled_import_methods"): "[glance-direct,web-download,copy-image]",
    ("import_filtering_opts", "allowed_schemes"): "[http,https]",
    ("import_filtering_opts", "allowed_hosts"): "[]",
    ("import_filtering_opts", "allowed_ports"): "[80,443]",
}


class EditError(Exception):
    """The file cannot be edited as asked; the message says why in words for an operator."""


class Assignment(NamedTuple):
    """One option as it stands in a file: lines first to last (exclusive) and its joined value."""

    first: int
    last: int
    value: str


def read(path: str) -> list[str]:
    """The file's lines with their ends; bytes that are not UTF-8 survive the round trip."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(file)


def line_end(lines: list[str]) -> str:
    return "\r\n" if lines and lines[0].endswith("\r\n") else "\n"


def sections(lines: list[str]) -> list[str]:
    """For each line the section it stands in; a header stands in its own section."""
    name, names = "", []
    for line in lines:
        if header := HEADER.match(line):
            name = header["name"].strip()
        names.append(name)
    return names


def find(lines: list[str], section: str, key: str) -> Assignment | None:
    """The assignment that counts, or None."""
    found = None
    names = sections(lines)
    for number, line in enumerate(lines):
        match = ASSIGNMENT.match(line)
        if not match or match["key"] != key or names[number] != section:
            continue
        last = number + 1
        while last < len(lines) and lines[last][:1] in (" ", "\t") and lines[last].strip():
            last += 1
        parts = [match["value"], *(part.strip() for part in lines[number + 1 : last])]
        found = Assignment(number, last, " ".join(part for part in parts if part))
    return found


def put(lines: list[str], section: str, key: str, value: str) -> list[str]:
    """The option set: in place where it stands, else right below the section's header."""
    end = line_end(lines)
    if old := find(lines, section, key):
        match = ASSIGNMENT.match(lines[old.first])
        assert match is not None  # noqa: S101 - find() matched this very line
        spacing = match["sign"].rstrip() + " " if not match["value"] else match["sign"]
        return [
            *lines[: old.first],
            f"{match['key']}{spacing}{value}{end}",
            *lines[old.last :],
        ]
    line = f"{key} = {value}{end}"
    for number, text in enumerate(lines):
        header = HEADER.match(text)
        if header and header["name"].strip() == section:
            return [*complete(lines[: number + 1]), line, *lines[number + 1 :]]
    return append_section(lines, section, [line])


def complete(lines: list[str]) -> list[str]:
    """The lines, the last one ended properly."""
    if lines and not lines[-1].endswith("\n"):
        return [*lines[:-1], lines[-1] + line_end(lines)]
    return lines


def append_section(lines: list[str], section: str, body: list[str]) -> list[str]:
    end = line_end(lines)
    return [*complete(lines), *([end] if lines else []), f"[{section}]{end}", *body]


def drop_section(lines: list[str], section: str) -> list[str]:
    """The inverse of append_section; comments that follow the section's options stay."""
    header = re.compile(rf"\[\s*{re.escape(section)}\s*\]")
    first = next((n for n, line in enumerate(lines) if header.match(line)), None)
    if first is None:
        return lines
    last = first + 1
    while last < len(lines) and lines[last].strip() and lines[last][0] not in "#;[":
        last += 1
    if first and not lines[first - 1].strip():
        first -= 1
    return lines[:first] + lines[last:]


def is_empty(lines: list[str], section: str) -> bool:
    """Whether the section holds nothing but its header and blank lines."""
    names = sections(lines)
    texts = (line for number, line in enumerate(lines) if names[number] == section)
    return not any(text.strip() and not HEADER.match(text) for text in texts)


def same(old: str, new: str) -> bool:
    """Whether oslo.config takes both values for the same."""
    return old == new or (new == "True" and old.lower() in ("true", "1", "yes", "on"))


def set_options(lines: list[str], section: str, options: dict[str, str]) -> list[str]:
    """Options that already mean the same stay untouched; new ones stand in the given order."""
    for key, value in reversed(options.items()):
        old = find(lines, section, key)
        if old and same(old.value, value):
            continue
        lines = put(lines, section, key, value)
    return lines


def unquoted(item: str) -> str:
    item = item.strip()
    return item[1:-1] if len(item) > 1 and item[0] == item[-1] and item[0] in "'\"" else item


def items(value: str, name: str) -> list[str]:
    """The items of a list in brackets, without quotes; raises EditError for anything else."""
    value = value.strip()
    if not (value.startswith("[") and value.endswith("]")):
        raise EditError(f"{name} is not a list in brackets, which Glance wants: {value}")
    return [unquoted(item) for item in value[1:-1].split(",") if item.strip()]


def with_items(value: str, new: list[str]) -> str:
    """The list with the items behind what it holds, in the spacing it has."""
    inner = value.strip()[1:-1].rstrip().rstrip(",")
    comma = ", " if ", " in inner else ","
    return "[" + comma.join(([inner] if inner.strip() else []) + new) + "]"


def without_items(value: str, gone: list[str]) -> str:
    inner = value.strip()[1:-1]
    kept = [item for item in inner.split(",") if unquoted(item) not in gone]
    return "[" + ",".join(kept).strip() + "]"


def add_items(lines: list[str], section: str, key: str, new: list[str]) -> list[str]:
    """The list option with the items in it, beginning from what is set, else from the default."""
    old = find(lines, section, key)
    value = old.value if old else LISTS[section, key]
    present = items(value, f"[{section}] {key}")
    missing = [item for item in new if item not in present]
    return put(lines, section, key, with_items(value, missing)) if missing else lines


def context_filters(lines: list[str]) -> set[str]:
    """The names under which the paste file knows Glance's context filter."""
    names = {"context"}
    for section in set(sections(lines)):
        factory = find(lines, section, "paste.filter_factory")
        if section.startswith("filter:") and factory and CONTEXT_FACTORY in factory.value:
            names.add(section.removeprefix("filter:").strip())
    return names


def in_pipelines(lines: list[str], change: Callable[[str], str]) -> list[str]:
    """Applies change to the value of every line of every pipeline, also of continued lines."""
    result = []
    names = sections(lines)
    for number, line in enumerate(lines):
        kind = names[number].partition(":")[0].strip()
        if kind not in ("pipeline", "composite") or line[:1] in "#;[":
            result.append(line)
        elif line[:1] in (" ", "\t"):
            result.append(change(line))
        else:
            key, sign, value = re.match(r"([^=:]*)([=:]?)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
            result.append(key + sign + change(value))
    return result


def hook(name: str, lines: list[str]) -> list[str]:
    """The paste file with our filter behind the context filter of every pipeline that has one."""
    names = "|".join(re.escape(name) for name in sorted(context_filters(lines)))
    present = re.compile(rf"(?<!\S)({names})(?!\S)")
    context = re.compile(rf"{present.pattern}(?!.*\s{name}(?!\S))")
    found = 0

    def insert(text: str) -> str:
        nonlocal found
        found += len(present.findall(text))
        return context.sub(rf"\1 {name}", text)

    lines = in_pipelines(lines, insert)
    if not found:
        raise EditError("no pipeline with Glance's context filter: is this Glance's paste file?")
    section = f"filter:{name}"
    if find(lines, section, "paste.filter_factory") is None:
        body = [f"paste.filter_factory = {FILTERS[name]}{line_end(lines)}"]
        return append_section(lines, section, body)
    return put(lines, section, "paste.filter_factory", FILTERS[name])


def unhook(name: str, lines: list[str]) -> list[str]:
    """The paste file without our filter, everything else untouched."""
    ours = re.compile(rf"[ \t]+{name}(?!\S)")
    return drop_section(in_pipelines(lines, lambda text: ours.sub("", text)), f"filter:{name}")


def revert_options(before: list[str], now: list[str]) -> list[str]:
    """A glance-api.conf that others edited too, with what role home sets as it was before."""
    for section, key in PLAIN:
        now = restore(before, now, section, key)
    return drop_added_sections(before, now, {section for section, _ in PLAIN})


def revert_lists(added: list[str], before: list[str], now: list[str]) -> list[str]:
    """The same for role region: the added items go, unless they were there before.

    added has lines of section, option and item, separated by tabs.
    """
    for section, key in LISTS:
        name = f"[{section}] {key}"
        was, stands = find(before, section, key), find(now, section, key)
        if stands is None:
            continue
        known = items(was.value if was else LISTS[section, key], name)
        entries = [line.rstrip("\n").split("\t") for line in added]
        gone = [item for *place, item in entries if place == [section, key] and item not in known]
        value = without_items(stands.value, gone)
        if items(value, name) == known:
            now = restore(before, now, section, key)
        elif value != stands.value:
            now = put(now, section, key, value)
    return drop_added_sections(before, now, {section for section, _ in LISTS})


def restore(before: list[str], now: list[str], section: str, key: str) -> list[str]:
    """The option with the very lines it had before, or without any."""
    was, stands = find(before, section, key), find(now, section, key)
    old = before[was.first : was.last] if was else []
    return now[: stands.first] + old + now[stands.last :] if stands else now


def drop_added_sections(before: list[str], now: list[str], names: set[str]) -> list[str]:
    for section in names - set(sections(before)):
        if is_empty(now, section):
            now = drop_section(now, section)
    return now


def is_guarded(host: str) -> bool:
    """Whether Glance reaches the host only when allowed_hosts names it.

    From 33 on Glance refuses addresses of this machine and link-local ones that are not named
    (glance.common.utils.resolve_pinned_address). A name that does not resolve here is not guarded.
    """
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    addresses = [ipaddress.ip_address(str(address).partition("%")[0]) for address in found]
    return any(address.is_loopback or address.is_link_local for address in addresses)


def main(argv: list[str]) -> int:
    """install.sh's side: 0 done, 1 cannot (with words), 3 "no" as an answer to get and guarded."""
    command, *args = argv
    try:
        if command == "get":
            path, section, key = args
            found = find(read(path), section, key)
            sys.stdout.write(found.value + "\n" if found else "")
            return 0 if found else 3
        if command == "guarded":
            return 0 if is_guarded(args[0]) else 3
        if command == "set":
            path, section, *pairs = args
            options = {pairs[n]: pairs[n + 1] for n in range(0, len(pairs), 2)}
            lines = set_options(read(path), section, options)
        elif command == "add":
            path, section, key, *new = args
            lines = add_items(read(path), section, key, new)
        elif command == "hook":
            lines = hook(args[0], read(args[1]))
        elif command == "unhook":
            lines = unhook(args[0], read(args[1]))
        elif command == "revert-options":
            lines = revert_options(*(read(path) for path in args))
        elif command == "revert-lists":
            lines = revert_lists(*(read(path) for path in args))
        else:
            raise EditError(f"unknown command {command}")
    except (EditError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    text = "".join(lines).encode("utf-8", "surrogateescape")
    sys.stdout.buffer.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: Apache-2.0
"""``glance_store.yaml``: what is taken, what is refused, by line, and what is never shown."""

import dataclasses
import os
import pathlib
import re
import traceback
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from glancesync.documents import document
from glancesync.errors import ConfigurationError
from glancesync.schemes import S3, SCHEMES, Filesystem, Http, Rbd, Scheme, Secret, Swift, rate
from glancesync.stores import file
from glancesync.stores.file import entries, load
from glancesync.stores.schema import SCHEMA, kinds

SAMPLE = pathlib.Path(__file__).parents[2] / "etc/glance/glance_store.yaml"


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "glance_store.yaml"
    path.touch(0o640)
    return path


def one(parameters: str, name: str = "filesystem", glance: str = "") -> str:
    """A file with one scheme; its parameters are on line 5."""
    return f"""\
glances:
  - name: RegionTwo{glance}
    schemes:
      - name: {name}
        parameters: {parameters}
"""


def refused(path: pathlib.Path, text: str | bytes) -> ConfigurationError:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        load(str(path))
    return caught.value


def taken(path: pathlib.Path, text: str) -> Mapping[str, tuple[Scheme, ...]]:
    path.write_text(text)
    return load(str(path))


# -- what is taken --------------------------------------------------------------------------------


def test_every_scheme_with_everything_it_has(path: pathlib.Path) -> None:
    common = {"store": "a", "max_parallel": 3, "bandwidth": "50M", "cost": 7}
    key = {"host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ", "key_file": "/k"}
    hosts = {"known_hosts": "/h", "login_user": "glance", "login_password": "p", "port": 2222}
    said: dict[str, dict[str, Any]] = {
        "filesystem": {"host": "192.0.2.1", "datadir": "/d//e/", "share": "nfs", **key, **hosts},
        "http": {"netloc": "www.example.org:8080", "path": "/images"},
        "swift": {
            "auth_address": "http://k:5000/v3",
            "auth_version": 3,
            "user": "service:glance",
            "key": "p",
            "user_domain_id": "u",
            "project_domain_id": "d",
            "region_name": "r",
            "endpoint": "https://s/v1",
            "container": "c",
            "cacert": "/ca",
        },
        "s3": {
            "host": "https://s3.example.org",
            "bucket": "b",
            "access_key": "AK",
            "secret_key": "p",
            "region_name": "r",
            "cacert": "/ca",
        },
        "rbd": {
            "ceph_conf": "/c",
            "user": "glance",
            "keyring": "/k",
            "pool": "images",
            "fsid": "7a1c4b52-0d3e-4f6a-9b8c-1d2e3f405162",
        },
    }
    assert said.keys() == SCHEMES.keys()
    schemes = []
    for name, parameters in said.items():
        assert parameters.keys() | common.keys() == kinds(SCHEMES[name]).keys(), name
        schemes.append({"name": name, "parameters": {**parameters, **common, "store": name}})
    found = taken(path, yaml.safe_dump({"glances": [{"name": "R", "schemes": schemes}]}))
    shared: dict[str, Any] = {"max_parallel": 3, "bandwidth": 50 * 1024**2, "cost": 7}
    assert found == {
        "R": (
            Filesystem(
                host="192.0.2.1",
                datadir="/d/e",
                share="nfs",
                host_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ",
                key_file="/k",
                known_hosts="/h",
                login_user="glance",
                login_password=Secret("p"),
                port=2222,
                store="filesystem",
                **shared,
            ),
            Http(netloc="www.example.org:8080", path="/images", store="http", **shared),
            Swift(
                auth_address="http://k:5000/v3",
                user="service:glance",
                key=Secret("p"),
                user_domain_id="u",
                project_domain_id="d",
                region_name="r",
                endpoint="https://s/v1",
                container="c",
                cacert="/ca",
                store="swift",
                **shared,
            ),
            S3(
                host="https://s3.example.org",
                bucket="b",
                access_key="AK",
                secret_key=Secret("p"),
                region_name="r",
                cacert="/ca",
                store="s3",
                **shared,
            ),
            Rbd(
                ceph_conf="/c",
                user="glance",
                keyring="/k",
                fsid="7a1c4b52-0d3e-4f6a-9b8c-1d2e3f405162",
                store="rbd",
                **shared,
            ),
        )
    }


def test_the_schema_knows_the_fields_of_every_scheme_and_no_others() -> None:
    schemes = SCHEMA["properties"]["glances"]["items"]["properties"]["schemes"]["items"]
    for branch in schemes["allOf"]:
        scheme = SCHEMES[branch["if"]["properties"]["name"]["const"]]
        parameters = branch["then"]["properties"]["parameters"]
        assert parameters["properties"].keys() == {f.name for f in dataclasses.fields(scheme)}
        assert all("description" in schema for schema in parameters["properties"].values())
    assert len(schemes["allOf"]) == len(SCHEMES)


def test_regions_and_schemes_stay_in_order_and_know_their_lines(path: pathlib.Path) -> None:
    path.write_text(
        "glances:\n"
        "- name: site two\n"
        "  region: Z\n"
        "  service_ip: 2001:db8::7\n"
        "  schemes:\n"
        "  - {name: http, parameters: {}}\n"
        "  - name: filesystem\n"
        "    parameters: {port: 23}\n"
        "- {name: A, schemes: [{name: rbd, parameters: {}}]}\n"
    )
    assert list(load(str(path))) == ["Z", "A"]
    two, a = entries(str(path))
    assert (two.line, two.lines, a.line, a.lines) == (2, (6, 7), 9, (9,))
    assert two.schemes == (Http(netloc="[2001:db8::7]"), Filesystem(host="2001:db8::7", port=23))


def test_no_region_is_no_error(path: pathlib.Path) -> None:
    assert taken(path, "glances: []\n") == {}


def test_what_is_written_once_may_be_merged_in_by_alias(path: pathlib.Path) -> None:
    text = """\
glances:
  - name: A
    schemes: [{name: filesystem, parameters: &all {host: a, port: 23, login_user: g}}]
  - name: B
    schemes: [{name: filesystem, parameters: {host: b, <<: *all}}]
  - name: C
    schemes: [{name: filesystem, parameters: {<<: [*all, {cost: 3}], host: c}}]
"""
    assert taken(path, text) == {
        "A": (Filesystem(host="a", port=23, login_user="g"),),
        "B": (Filesystem(host="b", port=23, login_user="g"),),
        "C": (Filesystem(host="c", port=23, login_user="g", cost=3),),
    }


def test_the_sample(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SAMPLE.read_text()
    assert taken(path, text) == {}
    examples = re.findall(r"^#(\S.*|  .*)$", text, re.MULTILINE)
    monkeypatch.setenv("REGION_THREE_SWIFT_KEY", "p")
    found = taken(path, "\n".join(examples))
    assert {region: [s.name for s in schemes] for region, schemes in found.items()} == {
        "RegionOne": ["filesystem"],
        "RegionTwo": ["filesystem"],
        "RegionThree": ["swift", "rbd"],
    }


# -- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("1024", 1024),
        (1024, 1024),
        ("1K", 1024),
        ("1.5K", 1536),
        ("50M", 50 * 1024**2),
        ("2G", 2 * 1024**3),
        ("1T", 1024**4),
    ],
)
def test_a_rate(said: int | str, value: int) -> None:
    assert rate(said) == value


@pytest.mark.parametrize(
    "said",
    ["", "0", "1023", "0.5K", "-1M", "50 M", "50m", "50MB", "M", "1e9", "inf", "1025T", "50M\n"],
)
def test_no_rate(said: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        rate(said)


# -- what is refused ------------------------------------------------------------------------------

HERE = "glances[0].schemes[0].parameters"
FS = "host: h, "
SWIFT = "auth_address: 'http://k', user: 'a:b', key: p, "
S3_ = "host: 'http://h', bucket: b, access_key: a, secret_key: p, "


@pytest.mark.parametrize(
    ("name", "parameters", "where", "reason"),
    [
        ("filesystem", "{}", HERE, "lacks host, as there is no service_ip"),
        ("filesystem", "", HERE, "is empty; it must be a mapping"),
        ("filesystem", "[]", HERE, "must be a mapping"),
        ("filesystem", "{hots: a}", f"{HERE}.hots", "is it to be host?"),
        ("filesystem", f"{{{FS}bucket: a}}", f"{HERE}.bucket", "is not known here; there is band"),
        ("filesystem", "{host: '-oProxyCommand=x'}", f"{HERE}.host", "name or address of a host"),
        ("filesystem", "{host: 'a b'}", f"{HERE}.host", "name or address of a host"),
        ("filesystem", "{host: ''}", f"{HERE}.host", "name or address of a host"),
        ("filesystem", f"{{{FS}port: 0}}", f"{HERE}.port", "a whole number from 1 to 65535"),
        ("filesystem", f"{{{FS}port: 65536}}", f"{HERE}.port", "a whole number from 1 to 65535"),
        ("filesystem", f"{{{FS}port: '22'}}", f"{HERE}.port", "a whole number from 1 to 65535"),
        ("filesystem", f"{{{FS}port: 22.5}}", f"{HERE}.port", "a whole number from 1 to 65535"),
        ("filesystem", f"{{{FS}port: yes}}", f"{HERE}.port", "a whole number from 1 to 65535"),
        ("filesystem", f"{{{FS}port: }}", f"{HERE}.port", "is empty; it must be a whole number"),
        ("filesystem", f"{{{FS}cost: -1}}", f"{HERE}.cost", "a whole number from 0 to 1000000"),
        ("filesystem", f"{{{FS}cost: .inf}}", f"{HERE}.cost", "a whole number from 0"),
        ("filesystem", f"{{{FS}max_parallel: 0}}", f"{HERE}.max_parallel", "from 1 to 10000"),
        ("filesystem", f"{{{FS}bandwidth: 50 MB}}", f"{HERE}.bandwidth", "as 512K, 50M, 1.5G"),
        ("filesystem", f"{{{FS}bandwidth: 0}}", f"{HERE}.bandwidth", "from 1024 on"),
        ("filesystem", f"{{{FS}bandwidth: 0.1K}}", f"{HERE}.bandwidth", "from 1K"),
        ("filesystem", f"{{{FS}bandwidth: 5000T}}", f"{HERE}.bandwidth", "to 1024T"),
        ("filesystem", f"{{{FS}datadir: images}}", f"{HERE}.datadir", "an absolute path"),
        ("filesystem", f'{{{FS}datadir: "/a\\nb"}}', f"{HERE}.datadir", "an absolute path"),
        ("filesystem", f'{{{FS}datadir: "/a\\n"}}', f"{HERE}.datadir", "an absolute path"),
        ("filesystem", f'{{{FS}datadir: "/a\\0b"}}', f"{HERE}.datadir", "an absolute path"),
        ("filesystem", f"{{{FS}datadir: /a/../b}}", f"{HERE}.datadir", "without '..'"),
        ("filesystem", f"{{{FS}datadir: /a/..}}", f"{HERE}.datadir", "without '..'"),
        ("filesystem", f"{{{FS}login_user: -x}}", f"{HERE}.login_user", "not begin with '-'"),
        ("filesystem", f"{{{FS}key_file: id}}", f"{HERE}.key_file", "an absolute path"),
        ("filesystem", f"{{{FS}host_key: h ssh-rsa}}", f"{HERE}.host_key", "as in known_hosts"),
        ("filesystem", f"{{{FS}share: 7}}", f"{HERE}.share", "put it in quotes"),
        ("http", "{}", HERE, "lacks netloc, as there is no service_ip"),
        ("http", "{netloc: 'http://h/'}", f"{HERE}.netloc", "HOST or HOST:PORT"),
        ("swift", "{container: c}", HERE, "lacks auth_address and user and key"),
        ("swift", f"{{{SWIFT}auth_version: 4}}", f"{HERE}.auth_version", "must be 1, 2 or 3"),
        ("swift", f"{{{SWIFT}auth_version: yes}}", f"{HERE}.auth_version", "must be 1, 2 or 3"),
        ("swift", f"{{{SWIFT}container: a/b}}", f"{HERE}.container", "the name of a container"),
        ("swift", "{auth_address: 'k', user: 'a:b', key: p}", f"{HERE}.auth_address", "a URL"),
        ("swift", "{auth_address: 'http://k', user: a, key: p}", f"{HERE}.user", "PROJECT:USER"),
        ("s3", f"{{{S3_}store: ''}}", f"{HERE}.store", "text of 1 to 255"),
        ("rbd", "{fsid: 7}", f"{HERE}.fsid", "must be a UUID; put it in quotes"),
        ("rbd", "{pool: a/b}", f"{HERE}.pool", "the name of a pool"),
        ("ftp", "{}", "glances[0].schemes[0].name", "one of filesystem, http, rbd, s3, swift"),
        ("7", "{}", "glances[0].schemes[0].name", "one of filesystem, http, rbd, s3, swift"),
    ],
)
def test_a_parameter_that_can_not_be(
    path: pathlib.Path, name: str, parameters: str, where: str, reason: str
) -> None:
    error = refused(path, one(parameters, name))
    assert error.option == where
    assert reason in error.reason
    assert error.source == f"{path}:{4 if where.endswith('name') else 5}"
    assert str(error) == f"{error.source}: {where}: {error.reason}"


@pytest.mark.parametrize(
    ("text", "line", "where", "reason"),
    [
        ("", None, "the file", "is empty"),
        ("# nothing\n", None, "the file", "is empty"),
        ("glances:\n", 1, "glances", "is empty; it must be a list"),
        ("glances: {}\n", 1, "glances", "must be a list"),
        ("- a\n", 1, "the file", "must be a mapping with glances"),
        ("\nglanses: []\n", 2, "the file", "lacks glances"),
        ("glances: []\nregions: []\n", 2, "regions", "is not known here"),
        ("glances:\n- name: A\n", 2, "glances[0]", "lacks schemes"),
        ("glances:\n- schemes: []\n", 2, "glances[0]", "lacks name"),
        ("glances:\n- name: A\n  schemes: []\n", 3, "glances[0].schemes", "a list of 1 or more"),
        (
            "glances:\n- name: NO\n  schemes: [{name: rbd, parameters: {}}]",
            2,
            "glances[0].name",
            "q",
        ),
        ("glances:\n- name: A\n  schemes:\n  - name: rbd\n", 4, "glances[0].schemes[0]", "parame"),
        ("glances:\n- name: A\n  name: B\n", 3, "glances[0].name", "is here twice"),
        ("glances:\n- 7: A\n", 2, "glances[0]", "a key that is not text"),
        ("glances:\n- ? [a]\n  : b\n", 2, "glances[0]", "a key that is not text"),
        ("glances: []\n---\nglances: []\n", 2, "the file", "more than one document"),
        ("glances: [\n", 2, "the file", "is not YAML: expected the node content"),
        ("glances:\n\t- a\n", 2, "the file", "is not YAML: found character '\\t'"),
        ("glances:\n- !!python/object:os.system {}\n", 2, "glances[0]", "has a tag"),
        ("glances:\n- !!set {}\n", 2, "glances[0]", "has a tag"),
        ("glances:\n- !!int x\n", 2, "glances[0]", "is not of the kind"),
        ("glances:\n- !!bool x\n", 2, "glances[0]", "is not of the kind"),
        ("glances:\n- !!int ''\n", 2, "glances[0]", "is not of the kind"),
        ("glances: &a\n- *a\n", 1, "glances[0]", "contains itself"),
        ("glances: &a\n- <<: *a\n", 2, "glances[0]", "merges too much"),
        ("glances:\n- <<: x\n", 2, "glances[0]", "merges what is not a mapping"),
        ("a: &a\n  <<: *a\n", 1, "a", "merges too much"),
        ("glances:\n- *a\n", 2, "the file", "an alias to none"),
        ("a: &a 1\nb: &a 2\n", 2, "the file", "has an anchor twice"),
        ('glances:\n- "\\ud800"\n', 2, "glances[0]", "is not Unicode text"),
        ("glances:\n- \x07\n", 2, "the file", "a character that YAML does not allow"),
        (b"glances:\n- caf\xe9\n", 2, "the file", "is not UTF-8"),
        ("glances: []".encode("utf-16"), 1, "the file", "is not UTF-8"),
        ("a: " + "[" * 30 + "]" * 30, 1, "the file", "nested more than 20 deep"),
        ("a: " + "[" * 5000, None, "the file", "can't be read as YAML"),
        (b"#" * (file.MAX_SIZE + 1), None, "the file", "is larger than"),
    ],
)
def test_a_file_that_can_not_be(
    path: pathlib.Path, text: str | bytes, line: int | None, where: str, reason: str
) -> None:
    error = refused(path, text)
    assert error.source == (f"{path}:{line}" if line else str(path))
    assert error.option == where
    assert reason in error.reason


def test_laughter(path: pathlib.Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 15)]
    assert "values, with its aliases" in refused(path, "\n".join(lines)).reason
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 15)]
    assert "values, with its aliases" in refused(path, "\n".join(lines)).reason


def two(second: str, region: str = "B", first: str = "name: rbd, parameters: {}") -> str:
    return (
        f"glances:\n- name: A\n  schemes: [{{{first}}}]\n"
        f"- name: {region}\n  schemes:\n  - {{name: rbd, parameters: {{}}}}\n  - {{{second}}}\n"
    )


@pytest.mark.parametrize(
    ("text", "line", "where", "reason"),
    [
        (
            two("name: http, parameters: {netloc: h}", "A"),
            4,
            "glances[1]",
            "the region is described at line 2 already",
        ),
        (
            two("name: rbd, parameters: {}"),
            7,
            "glances[1].schemes[1]",
            "for the region's only store of type rbd, unless both name a store, as the one at",
        ),
        (
            two("name: rbd, parameters: {store: x}"),
            7,
            "glances[1].schemes[1]",
            "for the region's only store of type rbd",
        ),
    ],
)
def test_what_is_said_twice(
    path: pathlib.Path, text: str, line: int, where: str, reason: str
) -> None:
    error = refused(path, text)
    assert (error.source, error.option) == (f"{path}:{line}", where)
    assert reason in error.reason


def test_a_store_has_one_scheme(path: pathlib.Path) -> None:
    schemes = "[{name: rbd, parameters: {store: x}}, {name: rbd, parameters: {store: y}}]"
    assert len(taken(path, f"glances: [{{name: A, schemes: {schemes}}}]")["A"]) == 2
    schemes = (
        "[{name: rbd, parameters: {store: x}}, {name: http, parameters: {netloc: h, store: x}}]"
    )
    error = refused(path, f"glances: [{{name: A, schemes: {schemes}}}]")
    assert "describes the store x, as the one at line 1" in error.reason


def test_a_file_that_can_not_be_read(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "gone": "can't be read: No such file",
        "pipe": "is not a regular file",
        "loop": "can't be read: Too many levels",
        ".": "is not a regular file",
        "a\0b": "can't be read: ",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            load(f"{tmp_path}/{name}")
        assert caught.value.source == f"{tmp_path}/{name}"
        assert caught.value.reason.startswith(reason)


# -- secrets --------------------------------------------------------------------------------------

PASSWORD = "hunter2hunter2"


def password(said: str) -> str:
    return one(f"{{host: h, login_password: {said}}}")


def given_password(found: Mapping[str, tuple[Scheme, ...]]) -> str:
    [scheme] = found["RegionTwo"]
    assert isinstance(scheme, Filesystem)
    assert scheme.login_password is not None
    return scheme.login_password.value


def test_secrets_from_elsewhere(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "password"
    kept.touch(0o600)
    for content in (b"", b"\n", b"\nnext line", b"\r\nnext", b"\n\xff"):
        kept.write_bytes(PASSWORD.encode() + content)
        assert given_password(taken(path, password(f"{{file: {kept}}}"))) == PASSWORD
    monkeypatch.setenv("OF_REGION_TWO", f" {PASSWORD} ")
    assert given_password(taken(path, password("{env: OF_REGION_TWO}"))) == f" {PASSWORD} "
    assert given_password(taken(path, password(PASSWORD))) == PASSWORD


def test_secrets_of_a_key_manager(path: pathlib.Path) -> None:
    asked = []

    def keys(name: str) -> bytes:
        asked.append(name)
        return f"{PASSWORD}\n".encode()

    path.write_text(password("{castellan: 1f0c-2.d_e}"))
    assert given_password(load(str(path), keys)) == PASSWORD
    assert asked == ["1f0c-2.d_e"]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (b"", "is empty"),
        (b"\nsecond", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"hunter2hunter2\0", "holds control characters"),
        (b"hunter2hunter2" * 1000, "is longer than 4096"),
        (ValueError("the key manager has no secret x"), "the key manager has no secret x"),
    ],
)
def test_a_secret_that_a_key_manager_does_not_have(
    path: pathlib.Path, held: bytes | ValueError, reason: str
) -> None:
    def keys(name: str) -> bytes:
        if isinstance(held, ValueError):
            raise held
        return held

    path.write_text(password("{castellan: x}"))
    with pytest.raises(ConfigurationError) as caught:
        load(str(path), keys)
    assert reason in caught.value.reason
    assert caught.value.source == f"{path}:5"
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (None, 0, "can't be read: No such file"),
        (b"", 0o600, "is empty"),
        (b"\nsecond", 0o600, "is empty"),
        (b"\xff\xfe", 0o600, "is not UTF-8"),
        (b"hunter2hunter2\0", 0o600, "holds control characters"),
        (b"hunter2hunter2" * 1000, 0o600, "is longer than 4096"),
        (b"hunter2hunter2" * 10000, 0o600, "is larger than"),
        (b"hunter2hunter2", 0o604, "everybody may read"),
    ],
)
def test_a_secret_that_is_not_there(
    path: pathlib.Path, tmp_path: pathlib.Path, content: bytes | None, mode: int, reason: str
) -> None:
    kept = tmp_path / "password"
    if content is not None:
        kept.write_bytes(content)
        kept.chmod(mode)
    error = refused(path, password(f"{{file: {kept}}}"))
    assert str(kept) in error.reason
    assert reason in error.reason
    assert error.option == f"{HERE}.login_password"
    assert error.source == f"{path}:5"
    assert PASSWORD not in str(error)


def test_a_variable_that_is_not_there(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OF_REGION_TWO", raising=False)
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv("OF_REGION_TWO", value)
        error = refused(path, password("{env: OF_REGION_TWO}"))
        assert error.reason == "the environment variable OF_REGION_TWO is not set"


def test_a_plain_secret_in_a_file_that_everybody_may_read(path: pathlib.Path) -> None:
    path.chmod(0o644)
    error = refused(path, password(PASSWORD))
    assert "everybody may read the file" in error.reason
    assert f"chmod o= {path}" in error.reason
    assert error.source == f"{path}:5"
    assert taken(path, one("{host: h}")), "nothing secret in it"


@pytest.mark.parametrize(
    "text",
    [
        password(f"{{{PASSWORD}: x}}"),
        password(f"{{{PASSWORD}}}"),
        password(f"[{PASSWORD}]"),
        password(f"{{env: {PASSWORD}, file: /{PASSWORD}}}"),
        password(f"{{env: '{PASSWORD}-'}}"),
        password(f"{{castellan: '{PASSWORD}/'}}"),
        password(f"{{castellan: {PASSWORD}, env: A}}"),
        password(f"*{PASSWORD}"),
        password(f"&{PASSWORD}"),
        password(f"&{PASSWORD} x, share: &{PASSWORD} y"),
        password(f"!{PASSWORD}"),
        password(f"!{PASSWORD}!x y"),
        password(f"'{PASSWORD}"),
        password(f'"{PASSWORD}\\q"'),
        password(f'"{PASSWORD}\\0"'),
        password(f"{PASSWORD * 1000}"),
        password(f"@{PASSWORD}"),
        password(f"`{PASSWORD}"),
        password(f"%{PASSWORD}"),
        password(f"{PASSWORD}: x"),
        password(f"{PASSWORD}\x07"),
        password(f"!!int {PASSWORD}"),
        one(f"{{host: h, login_password:{PASSWORD}}}"),
        one(f"{{host: h, login_password:{PASSWORD}: }}"),
        one(f"\n          login_password:{PASSWORD}\n          host: h"),
        one(f"\n          host: h\n          login_password:{PASSWORD}"),
        one(f"{{host: {PASSWORD} x}}"),
        one(f"{{host: h, port: {PASSWORD}}}"),
        one(f"{{host: h, port: 77777777777777, login_password: {PASSWORD}}}"),
        one(f"{{host: h, hots: {{x: {PASSWORD}}}}}"),
    ],
)
def test_no_complaint_quotes_a_secret(path: pathlib.Path, text: str) -> None:
    error = refused(path, text)
    assert error.source.startswith(f"{path}:")
    for said in (str(error), repr(error), "".join(traceback.format_exception(error))):
        assert PASSWORD not in said


def test_no_scheme_shows_a_secret(path: pathlib.Path) -> None:
    found = taken(path, password(PASSWORD))
    [entry] = entries(str(path))
    for shown in (repr(found), str(found), repr(entry), f"{found['RegionTwo'][0]}"):
        assert PASSWORD not in shown
    assert PASSWORD not in repr(document.parse(str(path), path.read_bytes()))


# -- whatever else --------------------------------------------------------------------------------

KEYS = "glances name region service_ip schemes parameters << env file rbd localhost /d 50M"
WORDS = st.sampled_from([*KEYS.split(), *SCHEMES, *kinds(Filesystem)])
LEAVES = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4)
)
PARAMETERS = st.dictionaries(st.sampled_from(sorted(kinds(Filesystem))), LEAVES, max_size=6)
ALMOST = st.fixed_dictionaries(
    {
        "glances": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.text(max_size=3),
                    "schemes": st.lists(
                        st.fixed_dictionaries(
                            {"name": st.sampled_from(sorted(SCHEMES)), "parameters": PARAMETERS}
                        ),
                        max_size=3,
                    ),
                }
            ),
            max_size=3,
        )
    }
)
PARTS = (
    "\n| |  |\t|glances:|- |name: |schemes: |&a |*a|<<: |{|}|[|]|,|: |? |!!int |!x |'|\"|>|#|%"
    "|---\n|...|1|\\|\x85|\ufeff|1:2|0x|2001-01-01|99999-99-99T99:99:99|_|~|."
)
FRAGMENTS = st.lists(st.sampled_from(PARTS.split("|")) | st.just("|"), max_size=25).map("".join)
YAML = (TREES | ALMOST).map(yaml.dump)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | (FRAGMENTS | YAML).map(str.encode))
@example(b"? 1\n")
@example(b"!!float x")
@example(b"!!int 0x_")
@example(b"a: 2001-99-99")
@example(b"1" * 5000)
@example(b"- &a {<<: &b [*a]}")
def test_whatever_a_file_holds_it_is_taken_or_refused(path: pathlib.Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        found = load(str(path))
    except ConfigurationError as error:
        str(error).encode()
        return
    for region, schemes in found.items():
        assert region
        assert schemes
        assert all(isinstance(scheme, Scheme) for scheme in schemes)

# SPDX-License-Identifier: Apache-2.0
"""Configuration that can't work is refused at start, by file, section, option and reason."""

import pathlib

import pytest

from glancesync import wiring
from glancesync.api.deploy import paste_file
from glancesync.conf import load
from glancesync.errors import ConfigurationError, JournalError

GOOD = {
    "DEFAULT": {"cascading_endpoint_url": "http://one:9292"},
    "database": {"connection": "sqlite:////nowhere/journal.sqlite"},
}


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "glance-sync.conf"


def write(file: pathlib.Path, *changes: tuple[str, str, str | None]) -> None:
    sections = {name: dict(options) for name, options in GOOD.items()}
    for section, option, value in changes:
        options = sections.setdefault(section, {})
        if value is None:
            options.pop(option, None)
        else:
            options[option] = value
    lines = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items())]
    file.write_text("\n".join(lines) + "\n")


def refused(file: pathlib.Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(["--config-file", str(file)], prog="test", version="0")
    return caught.value


def test_the_least_there_has_to_be(file: pathlib.Path) -> None:
    write(file)
    conf = load(["--config-file", str(file)], prog="test", version="0")
    assert conf.bind_port == 9595
    assert conf.sync_strategy == "None"
    assert conf.transports[0] == "shared"
    assert conf.transports[-1] == "upload"
    assert conf.service_credentials.timeout == 30


@pytest.mark.parametrize(
    ("section", "option", "value", "reason"),
    [
        ("DEFAULT", "bind_port", "99999", "Should be less than or equal to 65535"),
        ("DEFAULT", "bind_port", "http", "'http'"),
        ("DEFAULT", "sync_strategy", "EVERYWHERE", "EVERYWHERE"),
        ("DEFAULT", "sync_strategy", "all", "'all'"),
        ("DEFAULT", "workers", "0", "Should be greater than or equal to 1"),
        ("DEFAULT", "workers", "many", "'many'"),
        ("DEFAULT", "lease", "0.5", "Should be greater than or equal to 1"),
        ("DEFAULT", "task_retry_times", "0", "Should be greater than or equal to 1"),
        ("DEFAULT", "max_request_body_size", "-1", "Should be greater than or equal to 1024"),
        ("DEFAULT", "cascading_endpoint_url", "ftp://one", "ftp"),
        ("DEFAULT", "cascading_endpoint_url", "one:9292", "host was required but missing"),
        ("DEFAULT", "cascading_endpoint_url", None, "must name the home Glance"),
        ("DEFAULT", "cascading_endpoint_url", "", "required but missing"),
        ("database", "connection", None, "must be set"),
        ("service_credentials", "interface", "secret", "secret"),
    ],
)
def test_a_bad_value(
    file: pathlib.Path, section: str, option: str, value: str | None, reason: str
) -> None:
    write(file, (section, option, value))
    error = refused(file)
    assert error.option == f"[{section}] {option}"
    assert error.source == str(file)
    assert reason in error.reason
    assert "LocationInfo" not in error.reason, "in words"
    assert str(error) == f"{file}: [{section}] {option}: {error.reason}"


def test_the_file_that_has_the_bad_value_is_named(
    file: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    write(file, ("DEFAULT", "workers", "many"))
    other = tmp_path / "other.conf"
    other.write_text("[DEFAULT]\ndebug = true\n")
    with pytest.raises(ConfigurationError) as caught:
        load(["--config-file", str(file), "--config-file", str(other)], prog="test", version="0")
    assert caught.value.source == str(file)


def test_a_file_that_is_not_there(file: pathlib.Path) -> None:
    error = refused(file)
    assert error.option == "--config-file"
    assert str(file) in error.reason


@pytest.mark.parametrize("text", ["[DEFAULT\n", "workers = 3\n= 4\n", "just words\n"])
def test_a_file_that_is_no_configuration(file: pathlib.Path, text: str) -> None:
    file.write_text(text)
    error = refused(file)
    assert error.source == str(file)


def test_a_file_that_is_not_text(file: pathlib.Path) -> None:
    file.write_bytes(b"[DEFAULT]\nsync_strategy = \xff\xfe\n")
    error = refused(file)
    assert str(file) in str(error)


# -- what is built from it ------------------------------------------------------------------------


def loaded(file: pathlib.Path, *changes: tuple[str, str, str | None]):  # type: ignore[no-untyped-def]
    write(file, *changes)
    return load(["--config-file", str(file)], prog="test", version="0")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "sqlite:////no/such/directory/j.sqlite",
            "the directory /no/such/directory does not exist",
        ),
        ("nonsense", "Could not parse"),
        ("oracle9://x", "oracle9"),
    ],
)
def test_a_database_that_can_not_be(file: pathlib.Path, url: str, reason: str) -> None:
    conf = loaded(file, ("database", "connection", url))
    with pytest.raises(ConfigurationError) as caught:
        wiring.database(conf)
    assert caught.value.option == "[database] connection"
    assert caught.value.source == str(file)
    assert reason in caught.value.reason


def test_a_password_in_the_database_url_is_not_told(file: pathlib.Path) -> None:
    """P6: the words of an error go to the log."""
    conf = loaded(file, ("database", "connection", "oracle9://user:geheim@host/db"))
    with pytest.raises(ConfigurationError) as caught:
        wiring.database(conf)
    assert "geheim" not in str(caught.value)


def test_a_database_that_is_a_letter(file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "j.sqlite").write_bytes(b"dear grandmother" * 100)
    conf = loaded(file, ("database", "connection", f"sqlite:///{tmp_path}/j.sqlite"))
    with pytest.raises((ConfigurationError, JournalError), match="not a database"):
        wiring.database(conf).check()


def test_no_credentials(file: pathlib.Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wiring.session(loaded(file))
    assert caught.value.option == "[service_credentials] auth_type"
    assert "must be set" in caught.value.reason


def test_credentials_of_an_unknown_kind(file: pathlib.Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wiring.session(loaded(file, ("service_credentials", "auth_type", "magic")))
    assert caught.value.option == "[service_credentials] auth_type"
    assert "magic" in caught.value.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("carrier-pigeon", "unknown: carrier-pigeon (known: "),
        ("upload,carrier-pigeon", "unknown: carrier-pigeon"),
        ("", "names no transport"),
    ],
)
def test_transports_that_are_not_there(file: pathlib.Path, value: str, reason: str) -> None:
    conf = loaded(file, ("DEFAULT", "transports", value))
    with pytest.raises(ConfigurationError) as caught:
        wiring.load_transports(conf.transports, wiring.transfer_settings(conf))
    assert caught.value.option == "[DEFAULT] transports"
    assert reason in caught.value.reason


def test_transports_come_in_the_order_of_the_option(file: pathlib.Path) -> None:
    conf = loaded(file, ("DEFAULT", "transports", "pull,upload"))
    made = wiring.load_transports(conf.transports, wiring.transfer_settings(conf))
    assert [one.name for one in made] == ["pull", "upload"]


def test_a_paste_file_stands_beside_the_configuration(
    file: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    conf = loaded(file)
    with pytest.raises(ConfigurationError, match=r"paste.ini does not exist") as caught:
        paste_file(conf)
    assert caught.value.option == "[DEFAULT] paste_config"
    (tmp_path / "glance-sync-paste.ini").touch()
    assert paste_file(conf) == tmp_path / "glance-sync-paste.ini"

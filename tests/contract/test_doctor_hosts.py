# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of hosts, over real sshds."""

from pathlib import Path

import pytest

from glancesync.cmd.hosts import trouble
from glancesync.schemes import Secret
from tests.sshd import Account, Host

PASSWORD = Secret("hunter2hunter2")


def test_a_directory_that_can_be_used(two_hosts: tuple[Host, Host], tmp_path: Path) -> None:
    directory = tmp_path / "it's $(ours)\nand odd"
    directory.mkdir()
    for write in (False, True):
        assert trouble(two_hosts[0].scheme(), str(directory), write) == ""
    assert list(directory.iterdir()) == []


def test_directories_that_can_not(two_hosts: tuple[Host, Host], account: Account) -> None:
    scheme = two_hosts[0].scheme(
        login_user=account.name, login_password=account.password, key_file=""
    )
    assert trouble(scheme, str(account.home), True) == ""
    closed = account.home / "closed"
    closed.mkdir(mode=0o700)
    assert trouble(scheme, "/usr", False) == ""
    assert trouble(scheme, "/usr", True) == f"127.0.0.1: /usr can't be written by {account.name}"
    said = trouble(scheme, str(closed), False)
    assert said == f"127.0.0.1: {closed} can't be read by {account.name}"
    for gone in ("/gone", "/etc/hostname"):
        assert trouble(scheme, gone, False) == f"127.0.0.1 has no directory {gone}"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"host_key": "", "known_hosts": "/dev/null"}, "the host key of 127.0.0.1 is not known"),
        ({"port": 1}, "127.0.0.1 can't be reached at port 1"),
        ({"key_file": "/gone"}, "key_file /gone can't be read"),
        (
            {"key_file": "", "login_password": PASSWORD, "login_user": "nobody"},
            "does not let nobody log in with its password",
        ),
    ],
)
def test_hosts_that_do_not_let_us_in(
    two_hosts: tuple[Host, Host], more: dict[str, object], said: str
) -> None:
    found = trouble(two_hosts[0].scheme(**more), "/tmp", False)
    assert said in found
    assert PASSWORD.value not in found

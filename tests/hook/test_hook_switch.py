# SPDX-License-Identifier: Apache-2.0
"""What the filter does to Glance's classes, seen from inside a Python that has Glance."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from devcloud import Cloud

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def glance_python(cloud: Cloud) -> Callable[[str, str], str]:
    """Runs a script in the environment of that Glance with this glance-api.conf."""
    python = cloud.root / "venvs" / f"glance-{cloud.region(cloud.home).version}" / "bin" / "python"
    begin = """
        import sys
        from glance.gateway import Gateway
        from oslo_config import cfg
        cfg.CONF([], default_config_files=[sys.argv[1]])
        from glance_patch.filter import filter_factory
        before = Gateway.get_repo, Gateway.get_member_repo
        app = object()
    """

    def run(conf: str, script: str) -> str:
        file = cloud.directory / "switch.conf"
        file.write_text(textwrap.dedent(conf))
        done = subprocess.run(
            [str(python), "-c", textwrap.dedent(begin) + textwrap.dedent(script), str(file)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


@pytest.mark.parametrize("conf", ["[DEFAULT]\nsync_enabled = False\n", "[DEFAULT]\n"])
def test_switched_off_nothing_of_it_is_loaded(
    glance_python: Callable[[str, str], str], conf: str
) -> None:
    glance_python(
        conf,
        """
        assert filter_factory({})(app) is app
        assert (Gateway.get_repo, Gateway.get_member_repo) == before
        assert "glance_patch.proxy" not in sys.modules
        assert "glance_patch.sender" not in sys.modules
        """,
    )


def test_switched_on_it_wraps_once_and_stays_out_of_the_requests(
    glance_python: Callable[[str, str], str],
) -> None:
    glance_python(
        "[DEFAULT]\nsync_enabled = True\n",
        """
        assert filter_factory({})(app) is app
        once = Gateway.get_repo, Gateway.get_member_repo
        assert once[0].__wrapped__ is before[0]
        assert once[1].__wrapped__ is before[1]
        assert filter_factory({})(app) is app
        assert (Gateway.get_repo, Gateway.get_member_repo) == once
        import threading
        assert threading.active_count() == 1, "no thread before the first change"
        """,
    )


def test_a_mistake_in_our_options_leaves_glance_alone(
    glance_python: Callable[[str, str], str],
) -> None:
    told = glance_python(
        "[DEFAULT]\nsync_enabled = True\nsync_server_port = nonsense\n",
        """
        assert filter_factory({})(app) is app
        assert (Gateway.get_repo, Gateway.get_member_repo) == before
        """,
    )
    assert "images of this Glance are not synced" in told


def test_images_and_members_stay_what_glance_made_them(
    glance_python: Callable[[str, str], str],
) -> None:
    glance_python(
        "[DEFAULT]\n",
        """
        from types import SimpleNamespace
        from glance_patch.filter import wrap_gateway

        image = SimpleNamespace(image_id="i")
        class Plain:
            def get(self, key): return image
            def list(self, *args, **kwargs): return [image]
            def add(self, item): assert item is image
            def save(self, item, from_state=None): assert (item, from_state) == (image, "queued")
            def remove(self, item): assert item is image
            def set_property_atomic(self, *args): pass
            def delete_property_atomic(self, *args): pass
        class Gateway:
            def get_repo(self, context): return Plain()
            def get_member_repo(self, image, context): return Plain()

        told = []
        def offer(image_id, actor, removed):
            told.append((image_id, removed))
            raise RuntimeError("must not reach the user")
        wrap_gateway(Gateway, offer)
        context = SimpleNamespace(user_id="u", project_id="p", roles=["r"], request_id="q")
        images, members = Gateway().get_repo(context), Gateway().get_member_repo(image, context)
        for repo in (images, members):
            assert repo.get("i") is image and repo.list() == [image]
            repo.add(image)
            repo.save(image, from_state="queued")
            repo.remove(image)
        changed, removed = ("i", False), ("i", True)
        assert told == [changed, changed, removed, changed, changed, changed]
        repo = Gateway().get_repo(context)
        repo.set_property_atomic(image, "os_glance_import_task", "t")
        repo.delete_property_atomic(image, "os_glance_import_task", "t")
        assert len(told) == 6
        """,
    )

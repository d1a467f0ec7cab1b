# SPDX-License-Identifier: Apache-2.0
"""What is generated is as the code would generate it today."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_sample_configuration_is_up_to_date(tmp_path: pathlib.Path) -> None:
    """If this fails: ``make sample``."""
    made = tmp_path / "glance-sync.conf"
    subprocess.run(
        [
            str(pathlib.Path(sys.executable).with_name("oslo-config-generator")),
            *("--config-file", "etc/config-generator.conf", "--output-file", str(made)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
        },  # this checkout, wherever it was installed from
        check=True,
    )
    kept = ROOT / "etc/glance/glance-sync.conf"
    assert made.read_text().splitlines() == kept.read_text().splitlines()

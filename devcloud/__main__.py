# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m devcloud up | down | status | logs | clean``."""

import argparse
import sys
from collections import deque

from devcloud.cloud import Cloud
from devcloud.errors import DevcloudError
from devcloud.layout import MAX_REGIONS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 not done, 2 not understood."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except DevcloudError as error:
        print(f"devcloud: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("devcloud: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devcloud", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="default", help="which devcloud (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser(
        "up",
        parents=[common],
        help="bring the cloud up",
        description="Options left out are as they were the last time.",
    )
    up.add_argument("--regions", type=int, metavar="N", help=f"1 to {MAX_REGIONS} (first time: 3)")
    up.add_argument("--base-port", type=int, metavar="P", help="first port (first time: 9590)")
    up.add_argument(
        "--glance-version",
        type=_version,
        metavar="X",
        help="a release or series such as 32, or RegionOne=33,RegionTwo=30 (first time: 33)",
    )
    up.add_argument(
        "--hook",
        action=argparse.BooleanOptionalAction,
        help="whether the home Glance tells glance-sync of changes (first time: yes)",
    )
    up.add_argument(
        "--sync",
        action=argparse.BooleanOptionalAction,
        help="whether glance-sync runs (first time: yes)",
    )
    up.add_argument(
        "--file-locations",
        action=argparse.BooleanOptionalAction,
        help="whether the target regions' Glances adopt files (first time: yes)",
    )
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[common], help="stop it, keep what it holds")
    down.set_defaults(run=_down)
    status = commands.add_parser(
        "status", parents=[common], help="what each service does; exit code 1 unless all run"
    )
    status.set_defaults(run=_status)
    logs = commands.add_parser("logs", parents=[common], help="the end of the services' logs")
    logs.add_argument("service", nargs="?", metavar="SERVICE", help="only this one")
    logs.add_argument("--lines", type=int, default=50, metavar="N")
    logs.set_defaults(run=_logs)
    clean = commands.add_parser("clean", parents=[common], help="stop it and forget all it holds")
    clean.set_defaults(run=_clean)
    return parser


def _version(text: str) -> str | dict[str, str]:
    if "=" not in text:
        return text
    pairs = [item.partition("=") for item in text.split(",")]
    if not all(name and version for name, _, version in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not REGION=VERSION,...")
    return {name: version for name, _, version in pairs}


def _up(options: argparse.Namespace) -> int:
    cloud = Cloud(
        name=options.name,
        regions=options.regions,
        base_port=options.base_port,
        glance_version=options.glance_version,
        hook=options.hook,
        sync=options.sync,
        file_locations=options.file_locations,
        say=lambda message: print(message, flush=True),
    )
    cloud.up()
    _print_status(cloud)
    print(f"export OS_CLIENT_CONFIG_FILE={cloud.clouds_yaml} OS_CLOUD={cloud.home}")
    return 0


def _down(options: argparse.Namespace) -> int:
    Cloud(name=options.name).down()
    return 0


def _status(options: argparse.Namespace) -> int:
    return 0 if _print_status(Cloud(name=options.name)) else 1


def _print_status(cloud: Cloud) -> bool:
    services = cloud.status()
    width = max(len(service.name) for service in services)
    for service in services:
        pid = service.pid or "-"
        print(f"{service.name:<{width}}  {service.state:<9}  {pid:>7}  {service.url}")
    return all(service.state == "running" for service in services)


def _logs(options: argparse.Namespace) -> int:
    cloud = Cloud(name=options.name)
    if options.service not in (None, *cloud.services):
        raise DevcloudError(
            f"no service {options.service!r}; there are {', '.join(cloud.services)}"
        )
    for service in [options.service] if options.service else cloud.services:
        path = cloud.log(service)
        print(f"==> {service}: {path}")
        if path.exists():
            with path.open(errors="replace") as file:
                sys.stdout.writelines(deque(file, maxlen=options.lines))
    return 0


def _clean(options: argparse.Namespace) -> int:
    Cloud(name=options.name).clean()
    return 0


if __name__ == "__main__":
    sys.exit(main())

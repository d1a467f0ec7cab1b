# SPDX-License-Identifier: Apache-2.0
"""The configuration files of the services, as an operator of several regions writes them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

Options = dict[str, dict[str, str]]  # section -> option -> value
Overrides = Mapping[str, Mapping[str, Mapping[str, str]]]  # service -> section -> option -> value


def password_login(auth_url: str, user: str, password: str) -> dict[str, str]:
    """Options with which keystoneauth logs a service user in."""
    return {
        "auth_type": "password",
        "auth_url": auth_url,
        "username": user,
        "password": password,
        "user_domain_id": "default",
        "project_name": "service",
        "project_domain_id": "default",
    }


def keystone(state: Path) -> Options:
    """keystone.conf for a Keystone that keeps all it has under *state*."""
    return {
        "DEFAULT": {"use_stderr": "true"},
        "database": {"connection": sqlite(state / "keystone.sqlite")},
        "fernet_tokens": {"key_repository": str(state / "fernet-keys")},
        "fernet_receipts": {"key_repository": str(state / "fernet-keys")},
        "credential": {"key_repository": str(state / "credential-keys")},
        # In the one process there is; without it each request costs some 200 ms of SQL.
        "cache": {"enabled": "true", "backend": "oslo_cache.dict"},
        # Cheap password hashes: a laptop's two cores have better things to do.
        "identity": {"password_hash_rounds": "4"},
    }


def glance(
    *,
    url: str,
    home: bool,
    config_dir: Path,
    state: Path,
    database: Path,
    store: Path,
    staging: Path,
    login: dict[str, str],
    import_ports: list[int] | None,
) -> Options:
    """glance-api.conf for one region.

    *import_ports* of this host are those Glance may import from; with None Glance's own rules stay,
    which allow none.
    """
    options: Options = {
        "DEFAULT": {
            "use_stderr": "true",
            "enabled_backends": "local:file",
            "enabled_import_methods": "[glance-direct,web-download,copy-image,glance-download]",
            "image_property_quota": "512",
            "worker_self_reference_url": url,
        },
        "database": {"connection": sqlite(database)},
        "glance_store": {"default_backend": "local"},
        "local": {"filesystem_store_datadir": str(store)},
        "os_glance_staging_store": {"filesystem_store_datadir": str(staging)},
        "os_glance_tasks_store": {"filesystem_store_datadir": str(state / "tasks")},
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": str(config_dir / "glance-api-paste.ini"),
        },
        "keystone_authtoken": {
            **login,
            "www_authenticate_uri": login["auth_url"],
            "service_token_roles": "service",
            "service_token_roles_required": "true",
        },
        "oslo_concurrency": {"lock_path": str(state / "locks")},
    }
    if import_ports is not None:
        allowed = ",".join(str(port) for port in [80, 443, *import_ports])
        options["import_filtering_opts"] = {
            "allowed_schemes": "[http,https]",
            "allowed_hosts": "[127.0.0.1,localhost]",
            "allowed_ports": f"[{allowed}]",
        }
    if home:
        options["DEFAULT"]["show_multiple_locations"] = "true"
    return options


def glance_sync(*, port: int, home_url: str, database: Path, login: dict[str, str]) -> Options:
    """What devcloud sets in the glance-sync.conf that the installer laid down."""
    return {
        "DEFAULT": {
            "bind_host": "127.0.0.1",
            "bind_port": str(port),
            "sync_strategy": "ALL",
            "cascading_endpoint_url": home_url,
            "glance_store_cfg_file": "glance_store.yaml",
        },
        "database": {"connection": sqlite(database)},
        "keystone_authtoken": {
            **login,
            "www_authenticate_uri": login["auth_url"],
            "service_token_roles": "service",
            "service_token_roles_required": "true",
        },
        "service_credentials": dict(login),
    }


def glance_store(regions: list[str]) -> str:
    """glance_store.yaml for regions whose stores are all directories of this host."""
    lines = ["glances:"]
    for region in regions:
        lines += [
            f"  - name: {region}",
            "    schemes:",
            "      - name: filesystem",
            "        parameters: {host: localhost}",
        ]
    return "\n".join(lines) + "\n"


def uwsgi(*, module: str, port: int, directory: Path) -> Options:
    """uwsgi.ini for one WSGI service: one process with threads, as Glance wants it."""
    return {
        "uwsgi": {
            "import": str(Path(__file__).with_name("sqlite_waits.py")),
            "module": f"{module}:application",
            "http-socket": f"127.0.0.1:{port}",
            "chdir": str(directory),
            "master": "true",
            "processes": "1",
            "threads": "8",
            "enable-threads": "true",
            "lazy-apps": "true",
            "need-app": "true",
            "no-orphans": "true",
            "die-on-term": "true",
            "http-chunked-input": "true",
            # uWSGI refuses what it has read ahead of Glance beyond this many bytes
            "chunked-input-limit": str(64 * 1024 * 1024),
            # http-socket closes after each answer without saying so; clients that pool
            # connections need to be told.
            "add-header": "Connection: close",
            "buffer-size": "65535",
            "socket-timeout": "120",
            "log-date": "true",
        }
    }


def sqlite(path: Path) -> str:
    """The URL of an SQLite database whose writers wait for each other rather than fail."""
    return f"sqlite:///{path}?timeout=1"


def merged(options: Options, overrides: Mapping[str, Mapping[str, str]] | None) -> Options:
    """*options* with *overrides* over them."""
    result = {section: dict(values) for section, values in options.items()}
    for section, values in (overrides or {}).items():
        result.setdefault(section, {}).update(values)
    return result


def write(path: Path, options: Options) -> None:
    """Write an ini file that only its owner can read."""
    blocks = []
    for section, values in options.items():
        lines = [f"[{section}]", *(f"{name} = {value}" for name, value in values.items())]
        blocks.append("\n".join(lines) + "\n")
    write_private(path, "\n".join(blocks))


def update(path: Path, options: Options) -> None:
    """Set *options* in an existing ini file; comments and other options stay as they are."""
    lines = path.read_text().splitlines()
    for section, values in options.items():
        header = f"[{section}]"
        if header not in lines:
            lines += ["", header]
        for name, value in values.items():
            start = lines.index(header) + 1
            end = next(
                (at for at in range(start, len(lines)) if lines[at].startswith("[")), len(lines)
            )
            same = re.compile(rf"{re.escape(name)}\s*[=:]")
            kept = [line for line in lines[start:end] if not same.match(line)]
            lines[start:end] = [f"{name} = {value}", *kept]
    write_private(path, "\n".join(lines) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace *path* with *text*, mode 0600, never half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)

# SPDX-License-Identifier: Apache-2.0
"""Configuration: options by topic, and the checks made once at start.

Nothing here is global: :func:`load` returns a ConfigOpts that ``wiring`` takes apart.
"""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Sequence

from keystoneauth1 import loading as ks_loading
from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log as logging
from oslo_policy import opts as policy_options

from glancesync.conf import audit, bindings, deletes, regions, service, transfer, worker
from glancesync.errors import ConfigurationError

CREDENTIALS = "service_credentials"

#: Seconds a Glance or Keystone is given to answer a request, unless the operator says otherwise.
REQUEST_TIMEOUT = 30


def _own() -> list[tuple[str, list[cfg.Opt]]]:
    return [
        (
            "DEFAULT",
            [
                *service.OPTIONS,
                *regions.OPTIONS,
                *worker.OPTIONS,
                *transfer.OPTIONS,
                *audit.OPTIONS,
                *deletes.OPTIONS,
                *bindings.OPTIONS,
            ],
        ),
    ]


def _credentials() -> list[cfg.Opt]:
    options = [
        *ks_loading.get_auth_common_conf_options(),
        *ks_loading.get_auth_plugin_conf_options("password"),
        *ks_loading.get_session_conf_options(),
        *regions.CREDENTIAL_OPTIONS,
    ]
    options = [copy.deepcopy(option) for option in options]
    next(option for option in options if option.dest == "timeout").default = REQUEST_TIMEOUT
    return sorted({option.name: option for option in options}.values(), key=lambda o: str(o.name))


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """For oslo-config-generator."""
    return [*_own(), (CREDENTIALS, _credentials())]


def set_defaults() -> None:
    """Defaults of libraries that we set otherwise; for the generator and at start alike."""
    logging.set_defaults(
        default_log_levels=[
            *logging.get_default_log_levels(),
            "glanceclient=WARN",
            "eventlet.wsgi.server=WARN",
            "alembic=WARN",
        ]
    )


def load(
    args: Sequence[str], *, prog: str, version: str, cli: Sequence[cfg.Opt] = ()
) -> cfg.ConfigOpts:
    """Read command line and files, and refuse what can't work.

    :raises ConfigurationError: names file, section, option and reason
    """
    conf = cfg.ConfigOpts()
    logging.register_options(conf)
    set_defaults()
    conf.register_cli_opts(cli)
    for group, options in _own():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)
    policy_options._register(conf)
    conf.register_opts(db_options.database_opts, "database")
    ks_loading.register_auth_conf_options(conf, CREDENTIALS)
    ks_loading.register_session_conf_options(conf, CREDENTIALS)
    conf.set_default("timeout", REQUEST_TIMEOUT, CREDENTIALS)
    conf.register_opts(regions.CREDENTIAL_OPTIONS, CREDENTIALS)
    try:
        conf(list(args), project="glance-sync", prog=prog, version=version)
    except cfg.ConfigFilesNotFoundError as error:
        raise ConfigurationError("--config-file", str(error)) from None
    except cfg.ConfigFileParseError as error:
        raise ConfigurationError("syntax", str(error.msg), error.config_file) from None
    except cfg.ConfigFileValueError as error:
        raise ConfigurationError("a value", str(error)) from None
    except UnicodeDecodeError as error:
        files = [arg.removeprefix("--config-file=") for arg in args if not _readable(arg)]
        source = files[0] if files else "the configuration"
        raise ConfigurationError("syntax", f"is not UTF-8: {error}", source) from None
    check(conf)
    return conf


def check(conf: cfg.ConfigOpts) -> None:
    """Read every option once, and test the rules that hold between them.

    :raises ConfigurationError: on the first that fails
    """
    for group, options in _own():
        for option in options:
            _value(conf, group, option)
    for option in regions.CREDENTIAL_OPTIONS:
        _value(conf, CREDENTIALS, option)
    if not conf.cascading_endpoint_url:
        raise broken(conf, "DEFAULT", "cascading_endpoint_url", "must name the home Glance")
    if not conf.database.connection:
        raise broken(conf, "database", "connection", "must be set")


def _value(conf: cfg.ConfigOpts, group: str, option: cfg.Opt) -> None:
    section = conf if group == "DEFAULT" else conf[group]
    try:
        getattr(section, option.dest)
    except (cfg.ConfigFileValueError, ValueError) as error:
        # oslo.config tells its own idea of the place before the reason.
        reason = str(error).rpartition(" is not valid: ")[2]
        raise broken(conf, group, option.name, reason) from None


def broken(conf: cfg.ConfigOpts, group: str, option: str, reason: str) -> ConfigurationError:
    """The error for an option that can't work, naming the file it came from."""
    files = [pathlib.Path(name) for name in conf.config_file or []]
    name = option.replace("-", "_")
    source = next(
        (str(path) for path in reversed(files) if _mentions(path, name)),
        str(files[-1]) if files else "the configuration",
    )
    return ConfigurationError(f"[{group}] {name}", reason, source)


def beside(conf: cfg.ConfigOpts, name: str) -> pathlib.Path:
    """A file that an option names; a relative name stands beside the configuration file."""
    path = pathlib.Path(name)
    if path.is_absolute() or not conf.config_file:
        return path
    return pathlib.Path(conf.config_file[-1]).resolve().parent / path


def strategy_name(conf: cfg.ConfigOpts) -> str:
    """The strategy in force, by the name that is its own."""
    name: str = conf.sync_strategy
    return regions.ALIASES.get(name, name)


def store_file(conf: cfg.ConfigOpts) -> str:
    """Where ``glance_store_cfg_file`` is; "" if there is none."""
    name = conf.glance_store_cfg_file
    return str(beside(conf, name)) if name else ""


def rules_file(conf: cfg.ConfigOpts) -> str:
    """Where ``sync_rules_file`` is; "" if there is to be none."""
    name = conf.sync_rules_file
    return str(beside(conf, name)) if name else ""


def _readable(arg: str) -> bool:
    """False if ``arg`` names a file that is not text."""
    try:
        pathlib.Path(arg.removeprefix("--config-file=")).read_text()
    except UnicodeDecodeError:
        return False
    except (OSError, ValueError):
        pass
    return True


def _mentions(path: pathlib.Path, option: str) -> bool:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    return any(line.split("=")[0].strip() == option for line in lines)

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Puts glance-sync on a host, by role, and takes it away again: usage() and doc/source/install.rst.
#
# Whatever a run touches is first noted in DIR/.glance-sync-install/ROLE/run with a copy of how it
# was. A run that fails or is interrupted puts everything back from there; a run that was killed
# outright is put back by the next one. A run that succeeds moves run/next to current, which holds,
# for --uninstall:
#
#   manifest   one line per path: kind, number, state, path (separated by tabs)
#   before/N   the path as it was before the first install; missing if it did not exist
#   after/N    the path as the last install left it
#
# State is "ours" while nobody else edited the path between our edits, then "mixed": such a file is
# never put back as a whole, only our part of it is taken out.
set -Eeuo pipefail
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin  # runuser; Debian's su leaves them out

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
checkout=$(dirname -- "$here")

usage() {
  cat <<'END'
Usage: install.sh ROLE --config-dir DIR [OPTION...]

Roles:
  home     tell glance-sync which images change: hook into the home region's Glance
  server   the glance-sync server itself
  region   let a target region's Glance import from the home region (transport "pull"), and
           adopt files that glance-sync puts into its file store

All roles:
  --config-dir DIR       Glance's configuration directory; for server the one of glance-sync
  --dry-run              show what would change as a diff; touch nothing
  --uninstall            put everything back as it was before the first install
  --restart-command CMD  restart the service with this shell command instead of systemd
  --no-restart           restart nothing (home, region)
  --health-url URL       after a restart wait until this answers 200
  --health-timeout S     seconds to wait for that (default: 60)
  --help                 show this

home, region:
  --python PY            the Python that runs Glance (default: glance-api's, then those on PATH)

home:
  --sync-host HOST       where the glance-sync server is (default: what is set, else 127.0.0.1)
  --sync-port PORT       (default: what is set, else 9595)
  The variable _PYTHON_INSTALL_DIR, if set, names the site-packages directory that has glance.

region:
  --home-url URL         image endpoint of the home region, as the Keystone catalog lists it
  --relay-urls URL,...   those of other regions it may import from, should they serve it
  --no-file-locations    leave Glance's code alone: files are not adopted

server:
  --venv DIR             virtual environment of the server (default: /opt/glance-sync)
  --python PY            Python 3.11 or newer to make it with (default: the first on PATH)
  --user USER            account that runs the server; made if missing (default: glance-sync)
  --unit-dir DIR         where the systemd unit goes (default: /etc/systemd/system under systemd)
  --no-start             do not enable or start the server

Exit status: 0 done, 1 failed and everything put back, 2 wrong usage.
END
}

# --- words for the operator -----------------------------------------------------------------------

say() { printf '%s\n' "$*"; }
warn() { printf 'install.sh: warning: %s\n' "$*" >&2; }
die() {
  printf 'install.sh: error: %s\n' "$*" >&2
  exit 1
}
bad_usage() {
  printf 'install.sh: %s (see install.sh --help)\n' "$*" >&2
  exit 2
}

# --- options --------------------------------------------------------------------------------------

declare -A option=()
role=

parse_options() {
  local all="config-dir dry-run uninstall restart-command health-url health-timeout python"
  local -A allowed=(
    [home]=" $all no-restart sync-host sync-port "
    [region]=" $all no-restart home-url relay-urls no-file-locations "
    [server]=" $all venv user unit-dir no-start "
  )
  [[ ${1-} != --help && ${1-} != -h ]] || { usage; exit 0; }
  (($#)) || bad_usage "a role is missing: home, server or region"
  role=$1
  shift
  [[ -n ${allowed[$role]-} ]] || bad_usage "unknown role '$role': use home, server or region"
  while (($#)); do
    [[ $1 != --help && $1 != -h ]] || { usage; exit 0; }
    if [[ $1 == --?*=* ]]; then set -- "${1%%=*}" "${1#*=}" "${@:2}"; fi
    local name=${1#--}
    [[ $1 == --?* ]] || bad_usage "'$1' is not an option"
    [[ ${allowed[$role]} == *" $name "* ]] || bad_usage "role $role has no option '$1'"
    case $name in
      dry-run | uninstall | no-restart | no-start | no-file-locations)
        option[$name]=1
        shift
        ;;
      *)
        (($# > 1)) || bad_usage "$1 needs a value"
        [[ -n $2 ]] || bad_usage "$1 must not be empty"
        [[ $2 != *[$'\n\t']* ]] || bad_usage "$1 must not contain tabs or line ends"
        option[$name]=$2
        shift 2
        ;;
    esac
  done
}

check_options() {
  config_dir=${option[config-dir]-}
  [[ -n $config_dir ]] || bad_usage "--config-dir is missing"
  if [[ $role != server || -n ${option[uninstall]-} ]]; then
    [[ -d $config_dir ]] || bad_usage "--config-dir: no such directory: $config_dir"
  fi
  if [[ -e $config_dir && ! -d $config_dir ]]; then
    bad_usage "--config-dir: not a directory: $config_dir"
  fi
  config_dir=$(realpath -m -- "$config_dir")
  if [[ -n ${option[no-restart]-} && -n ${option[restart-command]-} ]]; then
    bad_usage "--no-restart and --restart-command contradict each other"
  fi
  if [[ $role == server && -n ${option[uninstall]-} && -n ${option[restart-command]-} ]]; then
    bad_usage "--restart-command means nothing with server --uninstall"
  fi
  if [[ -n ${option[no-start]-} && -n ${option[restart-command]-} ]]; then
    bad_usage "--no-start and --restart-command contradict each other"
  fi
  if [[ -n ${option[health-url]-} && ! ${option[health-url]} =~ ^https?://[^/@]+(/[^@]*)?$ ]]; then
    bad_usage "--health-url must be http://HOST[:PORT]/PATH or https://..., without a password"
  fi
  [[ ${option[health-timeout]-60} =~ ^[1-9][0-9]{0,4}$ ]] ||
    bad_usage "--health-timeout must be a number of seconds: ${option[health-timeout]}"
  [[ -n ${option[uninstall]-} ]] || "check_options_$role"
}

check_python_runs() {
  command -v -- "${option[python]}" >/dev/null ||
    bad_usage "--python: no such program: ${option[python]}"
}

# --- main -----------------------------------------------------------------------------------------

# shellcheck source=installation/lib/transaction.sh
. "$here/lib/transaction.sh"
# shellcheck source=installation/lib/files.sh
. "$here/lib/files.sh"
# shellcheck source=installation/lib/service.sh
. "$here/lib/service.sh"
# shellcheck source=installation/lib/glance.sh
. "$here/lib/glance.sh"
# shellcheck source=installation/lib/package.sh
. "$here/lib/package.sh"
# shellcheck source=installation/lib/home.sh
. "$here/lib/home.sh"
# shellcheck source=installation/lib/region.sh
. "$here/lib/region.sh"
# shellcheck source=installation/lib/server.sh
. "$here/lib/server.sh"
# shellcheck source=installation/lib/uninstall.sh
. "$here/lib/uninstall.sh"

parse_options "$@"
check_options

state_root=$config_dir/.glance-sync-install
state=$state_root/$role
run=$state/run
made_directories=() # to be removed at the end of an uninstall
work=$(mktemp -d)
helper_python=$(command -v -- "${option[python]-python3}" || command -v python3) ||
  die "python3 was not found"

trap on_exit EXIT
trap 'printf "install.sh: error: this failed: %s\n" "$BASH_COMMAND" >&2' ERR
for signal in INT TERM HUP PIPE; do
  # shellcheck disable=SC2064 # the name is meant to be filled in now
  trap "interrupted $signal" "$signal"
done

if [[ -d $config_dir ]]; then
  exec 9<"$config_dir"
  flock --nonblock 9 || die "another install.sh is at work in $config_dir"
fi
recover
load_manifest

if [[ -n ${option[uninstall]-} ]]; then uninstall; else "install_$role"; fi
if dry_run; then
  [[ -n $changed ]] || say "Nothing would change."
  exit 0
fi
apply_restart
commit
[[ -n $changed ]] || say "Nothing to change."

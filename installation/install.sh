#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Puts glance-sync on a host, by role, and takes it away again. See usage() or doc/source/install.rst.
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
set -euo pipefail
umask 022

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
checkout=$(dirname -- "$here")

usage() {
  cat <<'END'
Usage: install.sh ROLE --config-dir DIR [OPTION...]

Roles:
  home     tell glance-sync which images change: hook into the home region's Glance
  server   the glance-sync server itself
  region   let a target region's Glance import from the home region (transport "pull")

All roles:
  --config-dir DIR       Glance's configuration directory; for server the one of glance-sync
  --dry-run              show what would change as a diff; touch nothing
  --uninstall            put everything back as it was before the first install
  --restart-command CMD  restart the service with this shell command instead of systemd
  --no-restart           restart nothing (home, region)
  --health-url URL       after a restart wait until this answers 200, for at most 60 s
  --help                 show this

home, region:
  --python PY            the Python that runs Glance (default: glance-api's, then those on PATH)

home:
  --sync-host HOST       where the glance-sync server is (default: what is set, else 127.0.0.1)
  --sync-port PORT       (default: what is set, else 9595)
  The variable _PYTHON_INSTALL_DIR, if set, names the site-packages directory that has glance.

region:
  --home-url URL         image endpoint of the home region, as the Keystone catalog lists it

server:
  --venv DIR             virtual environment of the server (default: /opt/glance-sync)
  --python PY            Python 3.11 or newer to make it with (default: the newest on PATH)
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
  local -A allowed=(
    [home]=" config-dir dry-run uninstall restart-command no-restart health-url python sync-host sync-port "
    [region]=" config-dir dry-run uninstall restart-command no-restart health-url python home-url "
    [server]=" config-dir dry-run uninstall restart-command health-url python venv user unit-dir no-start "
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
      dry-run | uninstall | no-restart | no-start)
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
  [[ -n ${option[uninstall]-} ]] || "check_options_$role"
}

check_glance_dir() {
  [[ -e $config_dir/glance-api.conf ]] ||
    bad_usage "--config-dir: no glance-api.conf in $config_dir"
  if [[ -n ${option[python]-} ]]; then check_python_runs; fi
}

check_python_runs() {
  command -v -- "${option[python]}" >/dev/null ||
    bad_usage "--python: no such program: ${option[python]}"
}

check_options_home() {
  check_glance_dir
  local host=${option[sync-host]-} port=${option[sync-port]-}
  [[ -z $host || $host =~ ^[A-Za-z0-9:][A-Za-z0-9._:-]*$ ]] ||
    bad_usage "--sync-host must be a host name or address, without scheme or port: $host"
  [[ -z $port || ($port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535) ]] ||
    bad_usage "--sync-port must be a number from 1 to 65535: $port"
  if [[ -n ${_PYTHON_INSTALL_DIR-} && -z ${option[python]-} ]]; then
    [[ -d $_PYTHON_INSTALL_DIR/glance ]] ||
      bad_usage "_PYTHON_INSTALL_DIR: no package glance in $_PYTHON_INSTALL_DIR"
  fi
}

check_options_region() {
  check_glance_dir
  [[ -n ${option[home-url]-} ]] || bad_usage "--home-url is missing"
  local pattern='^(https?)://(\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(:([0-9]+))?(/[^@?#]*)?$'
  [[ ${option[home-url]} =~ $pattern ]] ||
    bad_usage "--home-url must be http://HOST[:PORT][/PATH] or https://..., without a password"
  home_scheme=${BASH_REMATCH[1]}
  home_host=${BASH_REMATCH[3]}${BASH_REMATCH[4],,}
  home_port=${BASH_REMATCH[6]}
  [[ -z $home_port || ($home_port =~ ^[1-9][0-9]{0,4}$ && $home_port -le 65535) ]] ||
    bad_usage "--home-url: the port must be a number from 1 to 65535: $home_port"
}

check_options_server() {
  if [[ -n ${option[python]-} ]]; then check_python_runs; fi
  [[ ${option[user]-glance-sync} =~ ^[a-z_][a-z0-9_-]*$ ]] ||
    bad_usage "--user must be the name of an account: ${option[user]}"
  [[ -z ${option[unit-dir]-} || -d ${option[unit-dir]} ]] ||
    bad_usage "--unit-dir: no such directory: ${option[unit-dir]}"
}

# --- the transaction: everything a run touches can be put back -----------------------------------

# The variables that hold it are set in main: state_root, state, run.
changed=      # set once something was (or, in a dry run, would be) changed
finished=     # set once the run's changes are final
restarted=    # set once a restart was tried, so that putting back is followed by one
child=        # process group of the command that is being waited for
undo_count=0

# kind, state and number of every path in the manifest; order keeps the manifest's order
declare -A kind_of=() state_of=() number_of=()
order=()

dry_run() { [[ -n ${option[dry-run]-} ]]; }

load_manifest() {
  local kind number path_state path
  [[ -f $state/current/manifest ]] || return 0
  while IFS=$'\t' read -r kind number path_state path; do
    kind_of[$path]=$kind state_of[$path]=$path_state number_of[$path]=$number
    order+=("$path")
  done <"$state/current/manifest"
}

save_manifest() {
  local path
  for path in "${order[@]}"; do
    printf '%s\t%s\t%s\t%s\n' \
      "${kind_of[$path]}" "${number_of[$path]}" "${state_of[$path]}" "$path"
  done >"$run/next/manifest"
}

begin() {
  [[ ! -d $run ]] || return 0
  local parent=$config_dir missing=()
  while [[ ! -d $parent ]]; do
    missing=("$parent" "${missing[@]}")
    parent=$(dirname -- "$parent")
  done
  install -d -m 0700 -- "$state_root" "$state" "$state/preparing"
  if [[ -d $state/current ]]; then
    cp -a -- "$state/current" "$state/preparing/next"
  else
    mkdir -- "$state/preparing/next" "$state/preparing/next/before" "$state/preparing/next/after"
  fi
  mkdir -- "$state/preparing/copies"
  : >"$state/preparing/undo"
  mv -T -- "$state/preparing" "$run"
  for parent in "${missing[@]}"; do note_directory "$parent"; done
}

# note KIND PATH: the path is about to be touched. Sets noted to the number of the note.
note() {
  begin
  changed=1
  undo_count=$((undo_count + 1))
  noted=$undo_count
  local was=absent
  if [[ -e $2 || -L $2 ]]; then was=present; fi
  if [[ $1 == file && $was == present ]]; then cp -a -- "$2" "$run/copies/$noted"; fi
  printf '%s\t%s\t%s\t%s\n' "$1" "$noted" "$was" "$2" >>"$run/undo"
}

# A directory that this run makes: it goes again, once it is empty, with a rollback or --uninstall.
note_directory() {
  printf 'directory\t0\tabsent\t%s\n' "$1" >>"$run/undo"
  take_in directory "$1"
}

# Trees are set aside next to where they were: that is quick, and never half done.
aside() { printf '%s.glance-sync-aside' "$1"; }

put_back() {
  local kind number was path failed=0 directories=() unit="" unit_was=""
  while IFS=$'\t' read -r kind number was path; do
    case $kind:$was in
      file:present) replace_file "$path" "$run/copies/$number" as-is ;;
      file:absent) rm -f -- "$path" "$(temporary "$path")" ;;
      tree:present)
        if [[ -e $(aside "$path") ]]; then
          rm -rf -- "$path" && mv -T -- "$(aside "$path")" "$path"
        fi
        ;;
      tree:absent) rm -rf -- "$path" ;;
      directory:*) directories+=("$path") ;;
      user:*) userdel -- "$path" ;;
      unit:*) unit=$path unit_was=$was ;;
      *) ;;
    esac || failed=1
  done < <(tac -- "$run/undo")
  ((failed == 0)) || return 1
  if [[ ! -d $state/current && -d $state/previous ]]; then
    mv -T -- "$state/previous" "$state/current"
  fi
  rm -rf -- "$run"
  remove_empty_state "${directories[@]}"
  [[ -z $unit ]] || restore_unit "$unit" "$unit_was" || warn "$unit could not be brought back"
}

# remove_empty_state [DIRECTORY...]: also these, as far as they are empty.
remove_empty_state() {
  local directory
  rm -rf -- "$state/preparing"
  for directory in "$state" "$state_root" "$@"; do
    if [[ -d $directory ]]; then rmdir --ignore-fail-on-non-empty -- "$directory"; fi
  done
}

# The run's changes become final when run/next becomes current (or, of an uninstall, is removed).
commit() {
  if [[ -d $run ]]; then
    if [[ -d $state/current ]]; then mv -T -- "$state/current" "$state/previous"; fi
    if [[ -n ${option[uninstall]-} ]]; then
      rm -rf -- "$run/next"
    else
      save_manifest
      mv -T -- "$run/next" "$state/current"
    fi
  fi
  finished=1
  clear_away
}

# Removes what only a rollback would need.
clear_away() {
  local kind _number was path
  if [[ -f $run/undo ]]; then
    while IFS=$'\t' read -r kind _number was path; do
      if [[ $kind:$was == tree:present ]]; then rm -rf -- "$(aside "$path")"; fi
    done <"$run/undo"
  fi
  rm -rf -- "$state/previous" "$run"
  remove_empty_state "${made_directories[@]}"
}

recover() {
  [[ -d $run ]] || return 0
  if [[ ! -d $run/next ]]; then
    clear_away
  elif dry_run; then
    die "an earlier run was cut off; run again without --dry-run to put its changes back"
  else
    say "An earlier run was cut off: putting its changes back first."
    put_back || die "could not put everything back; copies are in $run/copies"
  fi
}

on_exit() {
  local status=$?
  trap '' INT TERM HUP
  if [[ -n $child ]]; then
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  [[ -z ${work-} ]] || rm -rf -- "$work"
  [[ -z $finished && $status -ne 0 ]] || exit "$status"
  if [[ -d ${run-} ]]; then
    set +e
    if put_back; then
      say "Everything was put back as it was." >&2
      [[ -z $restarted ]] || restart_service || warn "the service could not be restarted"
    else
      warn "NOT everything could be put back; copies are in $run/copies. Mend the cause and run" \
        "install.sh again: it puts the rest back first."
    fi
  fi
  ((status == 2)) || status=1
  exit "$status"
}

interrupted() {
  printf 'install.sh: interrupted by SIG%s\n' "$1" >&2
  exit 1
}

# Runs a command that may take long, so that a signal ends it and us at once. The lock is ours alone.
run_long() {
  local status=0
  setsid -- "$@" </dev/null 9<&- &
  child=$!
  wait "$child" || status=$?
  child=
  return "$status"
}

# --- files and trees ------------------------------------------------------------------------------

temporary() { printf '%s/.%s.glance-sync-new' "$(dirname -- "$1")" "$(basename -- "$1")"; }

# replace_file TARGET NEW [as-is|MODE]: atomically. Mode, owner and attributes are those of TARGET, or
# of NEW if as-is, or MODE with our owner.
replace_file() {
  local temp
  temp=$(temporary "$1")
  rm -f -- "$temp"
  case ${3-} in
    as-is) cp -a -- "$2" "$temp" ;;
    '') cp -a -- "$1" "$temp" && cat -- "$2" >"$temp" ;;
    *) install -m "$3" -- "$2" "$temp" ;;
  esac && mv -fT -- "$temp" "$1"
}

# take_in KIND PATH: into the manifest, unless it is there already.
take_in() {
  [[ -z ${number_of[$2]-} ]] || return 0
  order+=("$2")
  number_of[$2]=${#order[@]} kind_of[$2]=$1 state_of[$2]=ours
}

# remember KIND PATH: takes a path that we are about to touch into the manifest, and what it is now.
remember() {
  local path=$2 number=${number_of[$2]-}
  if [[ -z $number ]]; then
    take_in "$@"
    if [[ -e $path ]]; then cp -a -- "$path" "$run/next/before/${number_of[$path]}"; fi
  elif [[ -f $path ]] && ! cmp -s -- "$path" "$run/next/after/$number"; then
    state_of[$path]=mixed
  fi
}

# The lines that change and no others: the lines around them may hold passwords.
show_diff() { diff -U0 -F '^\[' --label "$1" --label "$1 (new)" -- "$2" "$3" || true; }

# put_file KIND TARGET NEW [MODE]: makes TARGET the same as NEW; MODE is for a file that is new.
put_file() {
  local kind=$1 target=$2 new=$3 mode=${4-}
  if [[ -e $target ]]; then
    mode=
    if cmp -s -- "$target" "$new"; then return 0; fi
  fi
  if dry_run; then
    changed=1
    show_diff "$target" "$([[ -e $target ]] && printf %s "$target" || printf /dev/null)" "$new"
    return 0
  fi
  note file "$target"
  remember "$kind" "$target"
  replace_file "$target" "$new" "$mode"
  cp -a -- "$target" "$run/next/after/${number_of[$target]}"
  say "$([[ -n $mode ]] && printf Created || printf Changed) $target"
}

# make_directories PATH: the directory and its missing parents, each of them noted.
make_directories() {
  [[ ! -d $1 ]] || return 0
  make_directories "$(dirname -- "$1")"
  note_directory "$1"
  mkdir -- "$1"
}

# Takes the tree away from where it is; it comes back from aside if the run fails.
set_aside() {
  rm -rf -- "$(aside "$1")"
  note tree "$1"
  if [[ -e $1 ]]; then mv -T -- "$1" "$(aside "$1")"; fi
}

# --- restart and health ---------------------------------------------------------------------------

has_systemd() { [[ -d /run/systemd/system ]] && command -v systemctl >/dev/null; }

glance_unit() {
  local unit
  has_systemd || return 0
  for unit in glance-api openstack-glance-api devstack@g-api; do
    if systemctl is-active --quiet "$unit.service"; then
      printf %s "$unit.service"
      return 0
    fi
  done
}

restart_service() {
  local unit
  if [[ -n ${option[no-restart]-} ]]; then
    say "Restart Glance for the changes to take effect."
  elif [[ -n ${option[restart-command]-} ]]; then
    restarted=1
    run_long bash -c "${option[restart-command]}"
  elif [[ $role == server ]]; then
    return 0 # start_server looks after the unit
  elif unit=$(glance_unit) && [[ -n $unit ]]; then
    restarted=1
    run_long systemctl restart "$unit" && stays_active "$unit"
  else
    say "Restart Glance yourself for the changes to take effect: no running unit was found."
  fi
}

# A service that dies of its configuration is gone within seconds.
stays_active() {
  local _
  for _ in 1 2 3 4 5; do
    systemctl is-active --quiet "$1" || return 1
    sleep 1
  done
}

apply_restart() {
  [[ -n $changed ]] || return 0
  restart_service || die "the restart failed"
  if [[ -n $restarted && -n ${option[health-url]-} ]]; then
    run_long "$helper_python" -I -B "$here/wait_healthy.py" "${option[health-url]}" 60 ||
      die "after the restart the service is not healthy"
  fi
}

# --- Glance: its Python and its files --------------------------------------------------------------

edit() { "$helper_python" -I -B "$here/glance_files.py" "$@"; }

# What a file sets for an option; empty if it does not.
get_option() {
  local status=0
  edit get "$@" || status=$?
  ((status == 0 || status == 3)) || exit 1
}

# Prints the directory that holds the package glance of a Python, if it has one.
glance_home() {
  "$1" -I -B -c '
import importlib.util, os, sys, sysconfig
spec = importlib.util.find_spec("glance")
if spec is None or not spec.origin:
    raise SystemExit(1)
home = os.path.dirname(os.path.dirname(os.path.realpath(spec.origin)))
# Beside glance, unless that is a source tree or belongs to another Python.
beside = os.path.basename(home) in ("site-packages", "dist-packages") and home.startswith(
    os.path.realpath(sys.prefix) + os.sep
)
print(home if beside else os.path.realpath(sysconfig.get_path("purelib")))' 2>/dev/null
}

# The path made absolute, but not resolved: a virtual environment's python is a symbolic link.
absolute() { printf '%s/%s' "$(cd -- "$(dirname -- "$1")" && pwd)" "$(basename -- "$1")"; }

# Sets python and site_dir.
find_glance_python() {
  local script candidate candidates=()
  if [[ -n ${option[python]-} ]]; then
    python=$(absolute "$(command -v -- "${option[python]}")")
    site_dir=$(glance_home "$python") || die "--python: $python has no package glance"
    return 0
  fi
  for script in glance-api glance-manage; do
    if script=$(command -v "$script"); then
      IFS= read -r candidate <"$script" || true
      candidate=${candidate#\#!}
      candidate=${candidate#"${candidate%%[![:space:]]*}"}
      if [[ -x $candidate ]]; then candidates+=("$candidate"); fi
    fi
  done
  while IFS= read -r candidate; do
    candidates+=("$candidate")
  done < <(pythons_on_path)
  if [[ -n ${_PYTHON_INSTALL_DIR-} ]]; then
    site_dir=$(realpath -- "$_PYTHON_INSTALL_DIR")
    candidates=("${site_dir%/lib*/python*}/bin/python3" "${candidates[@]}")
    for candidate in "${candidates[@]}"; do
      if [[ $(glance_home "$candidate") == "$site_dir" ]]; then
        python=$candidate
        return 0
      fi
    done
    die "_PYTHON_INSTALL_DIR: no Python found that uses $site_dir; name it with --python"
  fi
  for candidate in "${candidates[@]}"; do
    if site_dir=$(glance_home "$candidate"); then
      python=$candidate
      return 0
    fi
  done
  die "found no Python that has Glance; name it with --python. Tried: ${candidates[*]:-none}"
}

pythons_on_path() {
  local directory name
  local -a directories
  IFS=: read -ra directories <<<"$PATH"
  for directory in "${directories[@]}"; do
    for name in "$directory"/python3 "$directory"/python3.{14,13,12,11,10,9}; do
      if [[ -x $name ]]; then printf '%s\n' "$name"; fi
    done
  done
}

# Sets api_conf and image_import_conf to the files themselves, symbolic links followed.
find_glance_conf() {
  api_conf=$(realpath -- "$config_dir/glance-api.conf")
  [[ -f $api_conf ]] || die "not a file: $api_conf"
  image_import_conf=
  if [[ -f $config_dir/glance-image-import.conf ]]; then
    image_import_conf=$(realpath -- "$config_dir/glance-image-import.conf")
  fi
}

# Sets paste_ini: the paste file this Glance reads.
find_paste() {
  local named candidate candidates
  named=$(get_option "$api_conf" paste_deploy config_file)
  if [[ -n $named ]]; then
    [[ $named == /* ]] || named=$config_dir/$named
    candidates=("$named")
  else
    candidates=("$config_dir/glance-api-paste.ini" /usr/share/glance/glance-api-dist-paste.ini)
  fi
  for candidate in "${candidates[@]}"; do
    if [[ -f $candidate ]]; then
      paste_ini=$(realpath -- "$candidate")
      if [[ $paste_ini == /usr/share/* ]]; then
        warn "$paste_ini belongs to a package, whose upgrade overwrites it: copy it to" \
          "$config_dir and name the copy as [paste_deploy] config_file"
      fi
      return 0
    fi
  done
  die "found no glance-api-paste.ini. Looked for: ${candidates[*]}. Glance ships one in etc/glance" \
    "of its environment: copy it to $config_dir"
}

warn_of_overrides() {
  local file
  for file in "$config_dir"/glance-api.conf.d/*.conf; do
    if [[ -f $file ]] && grep -Eq "^[[:space:]]*($1)[[:space:]]*[=:]" -- "$file"; then
      warn "$file sets options that this installer sets in $api_conf; it may win over them"
    fi
  done
}

# --- role home ------------------------------------------------------------------------------------

# The package lists in used-by the configuration directories that need it: several Glances may share
# a Python, and the last uninstall removes it.
package_users() {
  local user
  if [[ -f $1/used-by ]]; then
    while IFS= read -r user; do
      if [[ -d $user/.glance-sync-install/home && $user != "$config_dir" ]]; then
        printf '%s\n' "$user"
      fi
    done <"$1/used-by"
  fi
}

stage_package() {
  [[ -f $checkout/glance_patch/filter.py ]] || die "no glance_patch/filter.py in $checkout"
  cp -RL -- "$checkout/glance_patch" "$work/glance_patch"
  find "$work/glance_patch" -name __pycache__ -prune -exec rm -rf -- {} +
  { package_users "$1"; printf '%s\n' "$config_dir"; } | sort -u >"$work/glance_patch/used-by"
  chmod -R u=rwX,go=rX -- "$work/glance_patch"
}

put_package() {
  local target=$1
  stage_package "$target"
  if diff -rq -x __pycache__ -- "$target" "$work/glance_patch" >/dev/null 2>&1; then
    if [[ -n ${number_of[$target]-} ]]; then return 0; fi
  fi
  if dry_run; then
    changed=1
    say "Would copy glance_patch to $target"
    if [[ -e $target ]]; then
      diff -ruN -x __pycache__ -x used-by -- "$target" "$work/glance_patch" || true
    fi
    return 0
  fi
  begin
  # What other people put there comes back with --uninstall; what install.sh put there need not.
  if [[ -e $target && ! -f $target/used-by ]]; then
    remember package "$target"
  else
    take_in package "$target"
  fi
  set_aside "$target"
  cp -R -- "$work/glance_patch" "$target"
  say "Copied glance_patch to $target"
}

remove_package() {
  local target=$1 number=${number_of[$1]}
  if [[ ! -e $target ]]; then return 0; fi
  if [[ -n $(package_users "$target") ]]; then
    say "Left $target: other Glances use it ($(package_users "$target" | paste -sd ' '))"
    if ! dry_run; then
      package_users "$target" >"$work/used-by"
      note file "$target/used-by"
      replace_file "$target/used-by" "$work/used-by"
    fi
    return 0
  fi
  changed=1
  say "$(removing "$target")"
  if dry_run; then return 0; fi
  set_aside "$target"
  if [[ -e $state/current/before/$number ]]; then
    cp -a -- "$state/current/before/$number" "$target"
  fi
}

check_package() {
  local found
  found=$(cd / && "$python" -I -B -c '
import os, glance_patch.filter
print(os.path.dirname(os.path.realpath(glance_patch.filter.__file__)))') ||
    die "$python cannot import glance_patch.filter"
  [[ $found == "$(realpath -- "$1")" ]] ||
    die "$python takes glance_patch from $found, not from $1: remove the former"
}

install_home() {
  find_glance_python
  helper_python=$python
  find_glance_conf
  find_paste
  local host=${option[sync-host]-} port=${option[sync-port]-}
  [[ -n $host ]] || host=$(get_option "$api_conf" DEFAULT sync_server_host)
  [[ -n $port ]] || port=$(get_option "$api_conf" DEFAULT sync_server_port)
  edit set "$api_conf" DEFAULT sync_enabled True sync_server_host "${host:-127.0.0.1}" \
    sync_server_port "${port:-9595}" >"$work/conf" || die "cannot edit $api_conf"
  edit hook "$paste_ini" >"$work/paste" || die "cannot edit $paste_ini"

  put_package "$site_dir/glance_patch"
  dry_run || check_package "$site_dir/glance_patch"
  put_file conf "$api_conf" "$work/conf"
  put_file paste "$paste_ini" "$work/paste"
  if [[ -z $(get_option "$api_conf" paste_deploy flavor) ]]; then
    warn "[paste_deploy] flavor is not set in $api_conf: the hook is in the keystone pipelines only"
  fi
  warn_of_overrides 'sync_enabled|sync_server_host|sync_server_port'
}

# --- role region ----------------------------------------------------------------------------------

# The file that sets an option counts: Glance reads glance-image-import.conf first, then
# glance-api.conf. An option that neither sets goes into the latter.
file_of_option() {
  if [[ -n $image_import_conf ]] && [[ -z $(get_option "$api_conf" "$@") ]] &&
    [[ -n $(get_option "$image_import_conf" "$@") ]]; then
    printf %s "$image_import_conf"
  else
    printf %s "$api_conf"
  fi
}

# allow KIND ITEM: lets [import_filtering_opts] pass it. An empty list of allowed things allows all but
# the disallowed ones (glance.common.utils), so it stays empty; unset lists have Glance's defaults.
allow() {
  local section=import_filtering_opts kind=$1 item=$2 file refused
  file=$(file_of_option $section "allowed_$kind")
  if [[ $(get_option "$(staged "$file")" $section "allowed_$kind") =~ ^\[[[:space:]]*\]$ ]] ||
    [[ $kind == hosts && -z $(get_option "$(staged "$file")" $section allowed_hosts) ]]; then
    refused=$(get_option "$(file_of_option $section "disallowed_$kind")" $section "disallowed_$kind")
    if [[ ",$(tr -d "[]'\" " <<<"$refused")," == *",$item,"* ]]; then
      die "[$section] disallowed_$kind names $item, which --home-url needs: take it out first"
    fi
    if [[ $kind != hosts ]] || ! edit guarded "$item"; then return 0; fi
    warn "$item is an address of this machine, which Glance only imports from if it is in" \
      "[$section] allowed_hosts; from now on Glance imports from no host that is not in there"
  fi
  add_item "$file" $section "allowed_$kind" "$item"
}

# The copy of a file that this run has edited so far.
staged() {
  local copy
  copy=$work/$(basename -- "$1")
  [[ -e $copy ]] || cat -- "$1" >"$copy"
  printf %s "$copy"
}

add_item() {
  local file=$1 copy
  copy=$(staged "$file")
  edit add "$copy" "${@:2}" >"$copy.new" || die "cannot edit $file"
  mv -- "$copy.new" "$copy"
}

install_region() {
  if [[ -n ${option[python]-} ]]; then helper_python=$(command -v -- "${option[python]}"); fi
  find_glance_conf
  add_item "$(file_of_option DEFAULT enabled_import_methods)" \
    DEFAULT enabled_import_methods glance-download
  allow schemes "$home_scheme"
  allow hosts "$home_host"
  # A URL without a port passes whatever allowed_ports says.
  if [[ -n $home_port ]]; then allow ports "$home_port"; fi
  put_file conf "$api_conf" "$(staged "$api_conf")"
  if [[ -n $image_import_conf ]]; then
    put_file conf "$image_import_conf" "$(staged "$image_import_conf")"
  fi
  warn_of_overrides 'enabled_import_methods|allowed_schemes|allowed_hosts|allowed_ports'
}

# --- role server ----------------------------------------------------------------------------------

samples=(glance-sync.conf glance-sync-paste.ini glance_store.yaml)
unit_name=glance-sync.service

find_server_python() {
  local candidate
  local -a candidates
  if [[ -n ${option[python]-} ]]; then
    candidates=("$(absolute "$(command -v -- "${option[python]}")")")
  else
    mapfile -t candidates < <(pythons_on_path)
  fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -I -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$candidate
      return 0
    fi
  done
  die "the server needs Python 3.11 or newer with venv. Tried: ${candidates[*]:-none}"
}

stage_source() {
  local name
  mkdir -- "$work/source"
  for name in glancesync glance_patch pyproject.toml setup.py README.rst LICENSE constraints.txt; do
    [[ -e $checkout/$name ]] || die "no $name in $checkout"
    cp -RL -- "$checkout/$name" "$work/source/"
  done
  find "$work/source" -name __pycache__ -prune -exec rm -rf -- {} +
  digest=$(cd -- "$work/source" && find . -type f -print0 | LC_ALL=C sort -z |
    xargs -0 sha256sum -- | sha256sum | cut -d' ' -f1)
}

# The environment is made or brought up to date; it says in glance-sync.digest what it holds.
put_venv() {
  local venv=$1
  if [[ -f $venv/glance-sync.digest && $(<"$venv/glance-sync.digest") == "$digest" ]]; then
    return 0
  fi
  changed=1
  if dry_run; then
    say "Would install glancesync from $checkout into $venv"
    return 0
  fi
  begin
  rm -rf -- "$(aside "$venv")"
  if [[ -e $venv ]]; then take_in "found venv" "$venv"; else take_in "made venv" "$venv"; fi
  if [[ -e $venv ]]; then
    [[ -x $venv/bin/python ]] || die "--venv: not a virtual environment: $venv"
    # What the operator added (a database driver, say) has to survive the upgrade.
    note tree "$venv"
    cp -a --reflink=auto -- "$venv" "$(aside "$venv")"
  else
    find_server_python
    make_directories "$(dirname -- "$venv")"
    note tree "$venv"
    say "Making $venv with $python"
    run_long "$python" -m venv -- "$venv" || die "cannot make the virtual environment $venv"
  fi
  say "Installing glancesync into $venv"
  rm -f -- "$venv/glance-sync.digest"
  run_long "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
    --constraint "$work/source/constraints.txt" "$work/source" || die "pip failed, see above"
  printf '%s\n' "$digest" >"$venv/glance-sync.digest"
}

put_user() {
  id -u -- "$user" >/dev/null 2>&1 && return 0
  changed=1
  if dry_run; then
    say "Would make the account $user"
    return 0
  fi
  ((EUID == 0)) || die "the account $user does not exist and only root can make it"
  note user "$user"
  useradd --system --user-group --home-dir /var/lib/glance-sync --no-create-home \
    --shell "$(command -v nologin || printf /bin/false)" -- "$user"
  say "Made the account $user"
}

# A sample follows the checkout for as long as nobody edits it.
put_sample() {
  local sample=$1 target=$2 number=${number_of[$2]-}
  if [[ -e $target ]] && ! cmp -s -- "$target" "$sample" &&
    ! { [[ -n $number ]] && cmp -s -- "$target" "$state/current/after/$number"; }; then
    say "Left $target as it is; the sample is $sample"
    return 0
  fi
  local existed=
  [[ ! -e $target ]] || existed=1
  put_file sample "$target" "$sample" 0640
  # The samples are there to take passwords: readable for root and the server, nobody else.
  if [[ -z $existed ]] && ! dry_run && ((EUID == 0)) && id -u -- "$user" >/dev/null 2>&1; then
    chgrp -- "$(id -g -- "$user")" "$target"
  fi
}

systemd_quoted() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//%/%%}
  printf '"%s"' "$text"
}

stage_unit() {
  local text
  text=$(<"$here/glance-sync.service.in")
  text=${text//@USER@/"$user"}
  text=${text//@PROGRAM@/"$(systemd_quoted "$venv/bin/glance-sync")"}
  text=${text//@CONFIG@/"$(systemd_quoted "$config_dir/glance-sync.conf")"}
  printf '%s\n' "$text" >"$work/$unit_name"
}

check_readable() {
  ((EUID == 0)) || return 0
  runuser -u "$user" -- test -r "$config_dir/glance-sync.conf" ||
    die "the account $user cannot read $config_dir/glance-sync.conf: let it into the group that may" \
      "(usermod --append --groups GROUP $user) or use a --config-dir of its own"
}

manages_unit() { has_systemd && [[ $1 == /etc/systemd/system/* || $1 == /usr/lib/systemd/system/* ]]; }

# note_unit: remembers whether the unit is enabled and active, for putting back.
note_unit() {
  local enabled active
  enabled=$(systemctl is-enabled "$unit_name" 2>/dev/null || true)
  active=$(systemctl is-active "$unit_name" 2>/dev/null || true)
  begin
  printf 'unit\t0\t%s\t%s\n' "$enabled,$active" "$unit_name" >>"$run/undo"
}

restore_unit() {
  systemctl daemon-reload
  if [[ $2 != enabled,* ]]; then systemctl disable --quiet "$1" 2>/dev/null || true; fi
  if [[ $2 == enabled,* ]]; then systemctl enable --quiet "$1"; fi
  if [[ $2 == *,active ]]; then systemctl restart "$1"; else systemctl stop "$1" 2>/dev/null || true; fi
}

start_server() {
  local unit=$1
  dry_run && return 0
  [[ -n $changed ]] || return 0
  if [[ -n ${option[no-start]-} || -n ${option[restart-command]-} ]]; then
    if manages_unit "$unit"; then systemctl daemon-reload; fi
  elif ! manages_unit "$unit"; then
    say "Start the server yourself: $venv/bin/glance-sync --config-file $config_dir/glance-sync.conf"
  elif cmp -s -- "$config_dir/glance-sync.conf" "$checkout/etc/glance/glance-sync.conf"; then
    systemctl daemon-reload
    say "Not started yet: set it up in $config_dir/glance-sync.conf, then run" \
      "'$venv/bin/glance-sync-manage --config-file $config_dir/glance-sync.conf db_sync' as $user and" \
      "'systemctl enable --now $unit_name'"
  else
    note_unit
    systemctl daemon-reload
    systemctl enable --quiet "$unit_name"
    restarted=1
    { run_long systemctl restart "$unit_name" && stays_active "$unit_name"; } ||
      die "the server does not start: journalctl -u $unit_name"
  fi
}

install_server() {
  local name unit_dir unit=
  venv=$(realpath -m -- "${option[venv]-/opt/glance-sync}")
  user=${option[user]-glance-sync}
  unit_dir=${option[unit-dir]-}
  if [[ -z $unit_dir ]] && has_systemd; then unit_dir=/etc/systemd/system; fi
  if [[ -n $unit_dir ]]; then unit=$(realpath -- "$unit_dir")/$unit_name; fi
  if [[ -f $checkout/etc/glance/sync_rules.yaml ]]; then samples+=(sync_rules.yaml); fi
  for name in "${samples[@]}"; do
    [[ -f $checkout/etc/glance/$name ]] || die "no etc/glance/$name in $checkout"
  done
  stage_source

  if [[ -n $unit || -n ${option[user]-} ]]; then put_user; fi
  put_venv "$venv"
  dry_run || make_directories "$config_dir"
  for name in "${samples[@]}"; do
    put_sample "$checkout/etc/glance/$name" "$config_dir/$name"
  done
  if [[ -n $unit ]]; then
    dry_run || check_readable
    stage_unit
    put_file unit "$unit" "$work/$unit_name" 0644
  fi
  start_server "$unit"
}

# --- uninstall ------------------------------------------------------------------------------------

removing() { if dry_run; then printf 'Would remove %s' "$1"; else printf 'Removed %s' "$1"; fi; }

remove_file() {
  changed=1
  if ! dry_run; then
    note file "$1"
    rm -f -- "$1"
  fi
  say "$(removing "$1")"
}

# Puts a file back, or takes our part out of it if others edited it since.
uninstall_file() {
  local path=$1 number=${number_of[$1]} before after
  before=$state/current/before/$number
  after=$state/current/after/$number
  if [[ ! -e $path ]]; then
    say "Left $path: it was removed since"
  elif [[ ${state_of[$path]} == ours ]] && cmp -s -- "$path" "$after"; then
    if [[ ! -e $before ]]; then
      remove_file "$path"
      return 0
    fi
    restore_file "$path" "$before" as-is
  elif [[ ! -e $before ]]; then
    say "Left $path: it was edited since"
  else
    case ${kind_of[$path]} in
      conf) edit revert "$before" "$after" "$path" >"$work/reverted" ;;
      paste) edit unhook "$path" >"$work/reverted" ;;
      *) cat -- "$path" >"$work/reverted" ;;
    esac || die "cannot take our lines out of $path"
    say "$path was edited since: only our lines are taken out"
    restore_file "$path" "$work/reverted"
  fi
}

restore_file() {
  if dry_run; then
    changed=1
    show_diff "$1" "$1" "$2"
    return 0
  fi
  note file "$1"
  replace_file "$@"
  say "Restored $1"
}

uninstall_venv() {
  changed=1
  say "$(removing "glancesync from $1")"
  if dry_run || [[ ! -e $1 ]]; then return 0; fi
  if [[ ${kind_of[$1]} == "made venv" ]]; then
    set_aside "$1"
    return 0
  fi
  note tree "$1"
  cp -a --reflink=auto -- "$1" "$(aside "$1")"
  run_long "$1/bin/python" -m pip uninstall --quiet --yes --disable-pip-version-check glancesync ||
    die "pip failed, see above"
  rm -f -- "$1/glance-sync.digest"
  say "$1 was there before: the packages glancesync needs were left in it"
}

uninstall() {
  local index path
  if [[ ! -d $state/current ]]; then
    say "Role $role is not installed in $config_dir."
    return 0
  fi
  for ((index = ${#order[@]} - 1; index >= 0; index--)); do
    path=${order[index]}
    case ${kind_of[$path]} in
      package) remove_package "$path" ;;
      "made venv" | "found venv") uninstall_venv "$path" ;;
      unit)
        if ! dry_run && manages_unit "$path"; then
          note_unit
          systemctl disable --quiet --now "$unit_name"
        fi
        uninstall_file "$path"
        if ! dry_run && manages_unit "$path"; then systemctl daemon-reload; fi
        ;;
      directory) made_directories+=("$path") ;;
      *) uninstall_file "$path" ;;
    esac
  done
  if [[ $role == server ]]; then
    say "The journal in /var/lib/glance-sync and the server's account, if made, stay: remove them" \
      "yourself if no replica is to be looked after any more."
  fi
}

# --- main -----------------------------------------------------------------------------------------

parse_options "$@"
check_options

state_root=$config_dir/.glance-sync-install
state=$state_root/$role
run=$state/run
made_directories=() # to be removed at the end of an uninstall
helper_python=$(command -v -- "${option[python]-python3}" || command -v python3) ||
  die "python3 was not found"

work=
trap on_exit EXIT
for signal in INT TERM HUP; do
  # shellcheck disable=SC2064 # the name is meant to be filled in now
  trap "interrupted $signal" "$signal"
done
work=$(mktemp -d)

if [[ -d $config_dir ]]; then
  exec 9<"$config_dir"
  flock --nonblock 9 || die "another install.sh is at work in $config_dir"
fi
if ! dry_run; then rm -rf -- "$state/preparing"; fi
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

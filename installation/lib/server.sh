# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Role server: the glance-sync server in an environment of its own, under systemd.

check_options_server() {
  if [[ -n ${option[python]-} ]]; then check_python_runs; fi
  [[ ${option[user]-glance-sync} =~ ^[a-z_][a-z0-9_-]*$ ]] ||
    bad_usage "--user must be the name of an account: ${option[user]}"
  [[ -z ${option[unit-dir]-} || -d ${option[unit-dir]} ]] ||
    bad_usage "--unit-dir: no such directory: ${option[unit-dir]}"
}

samples=(glance-sync.conf glance-sync-paste.ini glance_store.yaml sync_rules.yaml)
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
  if [[ -e $venv ]]; then take_in "found venv" "$venv"; else take_in "made venv" "$venv"; fi
  if [[ -e $venv ]]; then
    [[ -x $venv/bin/python ]] || die "--venv: not a virtual environment: $venv"
    # What the operator added (a database driver, say) has to survive the upgrade.
    copy_aside "$venv"
  else
    find_server_python
    make_directories "$(dirname -- "$venv")"
    note tree "$venv"
    say "Making $venv with $python"
    run_long "$python" -m venv -- "$venv" || die "cannot make the virtual environment $venv"
  fi
  say "Installing glancesync into $venv"
  rm -f -- "$venv/glance-sync.digest"
  run_pip "$venv" install --constraint "$work/source/constraints.txt" "$work/source"
  printf '%s\n' "$digest" >"$venv/glance-sync.digest"
}

# run_pip VENV ARGUMENT...: what pip says is of interest only if it fails.
run_pip() {
  run_long "$1/bin/python" -m pip --quiet --no-input --disable-pip-version-check "${@:2}" \
    >"$work/pip.log" 2>&1 && return 0
  cat -- "$work/pip.log" >&2
  die "pip failed, see above"
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
  local conf=$config_dir/glance-sync.conf
  runuser -u "$user" -- test -r "$conf" ||
    die "the account $user cannot read $conf: let it into the group that may (usermod --append" \
      "--groups GROUP $user) or use a --config-dir of its own"
}

# Whether systemd is there and looks for the unit where it is.
manages_unit() {
  has_systemd && [[ $1 == /etc/systemd/system/* || $1 == /usr/lib/systemd/system/* ]]
}

# note_unit: remembers whether the unit is enabled and active, for putting back.
note_unit() {
  local enabled active
  enabled=$(systemctl is-enabled "$unit_name" 2>/dev/null || true)
  active=$(systemctl is-active "$unit_name" 2>/dev/null || true)
  begin
  printf 'unit\t0\t%s\t%s\n' "$enabled,$active" "$unit_name" >>"$run/undo"
}

# restore_unit UNIT ENABLED,ACTIVE
restore_unit() {
  systemctl daemon-reload
  case $2 in
    enabled,*) systemctl enable --quiet "$1" ;;
    *) systemctl disable --quiet "$1" 2>/dev/null || true ;;
  esac
  case $2 in
    *,active) systemctl restart "$1" ;;
    *) systemctl stop "$1" 2>/dev/null || true ;;
  esac
}

start_server() {
  local unit=$1 conf=$config_dir/glance-sync.conf
  dry_run && return 0
  [[ -n $changed ]] || return 0
  if [[ -n ${option[no-start]-} || -n ${option[restart-command]-} ]]; then
    if manages_unit "$unit"; then systemctl daemon-reload; fi
  elif ! manages_unit "$unit"; then
    say "Start the server yourself: $venv/bin/glance-sync --config-file $conf"
  elif cmp -s -- "$conf" "$checkout/etc/glance/glance-sync.conf"; then
    systemctl daemon-reload
    say "Not started yet: set it up in $conf, run as $user" \
      "'$venv/bin/glance-sync-manage --config-file $conf db_sync', then" \
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

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Role home: the package glance_patch beside Glance, and the filter in its pipelines.

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

# Other Glances may be installed into the same Python at this moment.
lock_packages() {
  exec 8<"$(dirname -- "$1")"
  flock 8
}

put_package() {
  local target=$1
  lock_packages "$target"
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
  lock_packages "$target"
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
  put_file options "$api_conf" "$work/conf"
  put_file paste "$paste_ini" "$work/paste"
  if [[ -z $(get_option "$api_conf" paste_deploy flavor) ]]; then
    warn "[paste_deploy] flavor is not set in $api_conf: the hook is in the keystone pipelines only"
  fi
  warn_of_overrides 'sync_enabled|sync_server_host|sync_server_port'
}

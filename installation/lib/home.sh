# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Role home: Glance tells glance-sync of changes.

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
  add_filter
  put_package "$site_dir/glance_patch"
  dry_run || check_package "$site_dir/glance_patch"
  put_file options "$api_conf" "$work/conf"
  put_filter
  warn_of_overrides 'sync_enabled|sync_server_host|sync_server_port'
}

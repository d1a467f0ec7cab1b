# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The package glance_patch beside Glance, and its filters in Glance's pipelines.

declare -A filter_of=([home]=glance_sync [region]=glance_sync_locations)

# The package lists in used-by the configuration directories that need it: several Glances may share
# a Python, and the last uninstall removes it.
package_users() {
  local user other
  if [[ -f $1/used-by ]]; then
    while IFS= read -r user; do
      for other in home region; do
        if [[ $user/$other != "$config_dir/$role" ]] && needs_package "$user" "$other"; then
          printf '%s\n' "$user"
          break
        fi
      done
    done <"$1/used-by"
  fi
}

# needs_package DIR ROLE: role region may be there without it.
needs_package() {
  local state=$1/.glance-sync-install/$2
  if [[ $2 == home || ! -d $state || -d $state/run ]]; then
    [[ -d $state ]]
  else
    grep -q $'^package\t' "$state/current/manifest"
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
    if [[ ${kind_of[$target]-} == package ]]; then return 0; fi
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
  kind_of[$target]=package
  set_aside "$target"
  cp -R -- "$work/glance_patch" "$target"
  say "Copied glance_patch to $target"
}

remove_package() {
  local target=$1 number=${number_of[$1]}
  if [[ ! -e $target ]]; then return 0; fi
  lock_packages "$target"
  if [[ -n $(package_users "$target") ]]; then
    say "Left $target: it is still used ($(package_users "$target" | paste -sd ' '))"
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
import os, glance_patch.filter, glance_patch.locations
print(os.path.dirname(os.path.realpath(glance_patch.filter.__file__)))') ||
    die "$python cannot import glance_patch"
  [[ $found == "$(realpath -- "$1")" ]] ||
    die "$python takes glance_patch from $found, not from $1: remove the former"
}

# add_filter: stages paste_ini with the role's filter in it; put_filter puts that in place.
add_filter() {
  edit hook "${filter_of[$role]}" "$paste_ini" >"$work/paste" || die "cannot edit $paste_ini"
}

put_filter() {
  put_file paste "$paste_ini" "$work/paste"
  if [[ -z $(get_option "$api_conf" paste_deploy flavor) ]]; then
    warn "[paste_deploy] flavor is not set in $api_conf: ${filter_of[$role]} is in the keystone" \
      "pipelines only"
  fi
}

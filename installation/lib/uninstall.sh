# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Taking everything away again, without taking what others wrote since.

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
      options) edit revert-options "$before" "$path" >"$work/reverted" ;;
      lists) edit revert-lists "$state/current/added" "$before" "$path" >"$work/reverted" ;;
      paste) edit unhook "${filter_of[$role]}" "$path" >"$work/reverted" ;;
      *) cat -- "$path" >"$work/reverted" ;;
    esac || die "cannot take our lines out of $path"
    restore_file "$path" "$work/reverted"
    say "$path was edited since: only our lines were taken out"
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
  copy_aside "$1"
  run_pip "$1" uninstall --yes glancesync
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
      "no package") ;;
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

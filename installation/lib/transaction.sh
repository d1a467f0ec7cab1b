# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The transaction: all that a run touches can be put back. install.sh tells where it is kept.

# The variables that hold it are set in main: state_root, state, run.
changed=      # set once something was (or, in a dry run, would be) changed
begun=        # set once there may be something of this very run to be put back
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
  begun=1
  rm -rf -- "$state/preparing"
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
  changed=1
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
        rm -rf -- "$(aside "$path").part"
        if [[ -e $(aside "$path") ]]; then
          rm -rf -- "$path" && mv -T -- "$(aside "$path")" "$path"
        fi
        ;;
      tree:absent) rm -rf -- "$path" ;;
      directory:*) directories+=("$path") ;;
      user:*) if id -u -- "$path" >/dev/null 2>&1; then userdel -- "$path"; fi ;;
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
  trap '' INT TERM HUP PIPE
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
  if dry_run; then
    [[ ! -d $run ]] ||
      die "an earlier run was cut off; run again without --dry-run to put its changes back"
    return 0
  fi
  [[ -d $run ]] || return 0
  if [[ ! -d $run/next ]]; then
    clear_away
  else
    say "An earlier run was cut off: putting its changes back first."
    put_back || die "could not put everything back; copies are in $run/copies"
  fi
}

on_exit() {
  local status=$?
  trap '' INT TERM HUP PIPE
  set +e
  [[ -z $child ]] || end_child
  rm -rf -- "${work:?}"
  [[ -z $finished && $status -ne 0 ]] || exit "$status"
  if [[ -n $begun && ! -d $run ]]; then
    remove_empty_state
  elif [[ -n $begun ]]; then
    if put_back; then
      say "Everything was put back as it was." >&2
      [[ -z $restarted ]] || restart_service || warn "the service could not be restarted"
    else
      warn "NOT everything could be put back; copies are in $run/copies. Mend the cause and run" \
        "install.sh again: it puts the rest back first."
    fi
  fi
  exit 1
}

interrupted() {
  printf 'install.sh: interrupted by SIG%s\n' "$1" >&2
  exit 1
}

# Runs a command that may take long, so that a signal ends it and us at once. Our locks stay ours.
run_long() {
  local status=0
  setsid -- "$@" </dev/null 8<&- 9<&- &
  child=$!
  wait "$child" || status=$?
  child=
  return "$status"
}

# Ends it with all it started: kindly, and after ten seconds by force.
end_child() {
  local _
  kill -TERM -- "-$child" 2>/dev/null || kill -TERM -- "$child" 2>/dev/null
  for _ in {1..100}; do
    kill -0 -- "-$child" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL -- "-$child" 2>/dev/null
  wait "$child" 2>/dev/null
}

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Putting files in place; always through the transaction.

temporary() { printf '%s/.%s.glance-sync-new' "$(dirname -- "$1")" "$(basename -- "$1")"; }

# replace_file TARGET NEW [as-is|MODE]: atomically. Mode, owner and attributes are those of TARGET,
# or of NEW if as-is, or MODE with our owner.
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
  [[ -d $1 ]] || begin # which makes the configuration directory if that is missing
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

# The same, but the tree stays: a copy of it is aside.
copy_aside() {
  rm -rf -- "$(aside "$1")" "$(aside "$1").part"
  note tree "$1"
  cp -a --reflink=auto -- "$1" "$(aside "$1").part"
  mv -T -- "$(aside "$1").part" "$(aside "$1")"
}

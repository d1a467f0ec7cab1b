# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Finding Glance's Python and its files.

check_glance_dir() {
  [[ -e $config_dir/glance-api.conf ]] ||
    bad_usage "--config-dir: no glance-api.conf in $config_dir"
  if [[ -n ${option[python]-} ]]; then check_python_runs; fi
}

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
  die "found no glance-api-paste.ini. Looked for: ${candidates[*]}. Glance ships one in the" \
    "etc/glance of its environment: copy it to $config_dir"
}

warn_of_overrides() {
  local file
  for file in "$config_dir"/glance-api.conf.d/*.conf; do
    if [[ -f $file ]] && grep -Eq "^[[:space:]]*($1)[[:space:]]*[=:]" -- "$file"; then
      warn "$file sets options that this installer sets in $api_conf; it may win over them"
    fi
  done
}

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Role region: a target region's Glance may import from the home region, and adopts files that
# glance-sync puts into its store.

check_options_region() {
  local url urls
  check_glance_dir
  [[ -n ${option[home-url]-} ]] || bad_usage "--home-url is missing"
  sources=()
  check_source home-url "${option[home-url]}"
  IFS=, read -ra urls <<<"${option[relay-urls]-}"
  for url in "${urls[@]}"; do check_source relay-urls "$url"; done
}

# check_source OPTION URL: adds "SCHEME HOST PORT" to the sources the region may import from.
check_source() {
  local pattern='^(https?)://(\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(:([0-9]+))?(/[^@?#]*)?$' port
  [[ $2 =~ $pattern ]] ||
    bad_usage "--$1 must be http://HOST[:PORT][/PATH] or https://..., without a password"
  port=${BASH_REMATCH[6]}
  sources+=("${BASH_REMATCH[1]} ${BASH_REMATCH[3]}${BASH_REMATCH[4],,} $port")
  [[ -z $port || ($port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535) ]] ||
    bad_usage "--$1: the port must be a number from 1 to 65535: $port"
}

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

# allow KIND ITEM: lets [import_filtering_opts] pass it. An empty list of allowed things allows all
# but the disallowed ones (glance.common.utils), so it stays empty; lists that are not set have
# Glance's defaults.
allow() {
  local section=import_filtering_opts kind=$1 item=$2 file refusing refused
  file=$(file_of_option $section "allowed_$kind")
  if [[ $(get_option "$(staged "$file")" $section "allowed_$kind") =~ ^\[[[:space:]]*\]$ ]] ||
    [[ $kind == hosts && -z $(get_option "$(staged "$file")" $section allowed_hosts) ]]; then
    refusing=$(file_of_option $section "disallowed_$kind")
    refused=$(get_option "$refusing" $section "disallowed_$kind")
    if [[ ",$(tr -d "[]'\" " <<<"$refused")," == *",$item,"* ]]; then
      die "[$section] disallowed_$kind names $item, which a region it imports from needs: take it out first"
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

# add_item FILE SECTION OPTION ITEM: and notes it for --uninstall.
add_item() {
  local file=$1 copy
  copy=$(staged "$file")
  edit add "$copy" "${@:2}" >"$copy.new" || die "cannot edit $file"
  mv -- "$copy.new" "$copy"
  printf '%s\t%s\t%s\n' "${@:2}" >>"$work/added"
}

# Takes away what an earlier run has put there.
remove_file_locations() {
  local path
  for path in "${order[@]}"; do
    case ${kind_of[$path]} in
      package)
        dry_run || begin
        remove_package "$path"
        kind_of[$path]="no package"
        ;;
      paste)
        edit unhook "${filter_of[region]}" "$path" >"$work/paste" || die "cannot edit $path"
        put_file paste "$path" "$work/paste"
        ;;
    esac
  done
}

install_region() {
  if [[ -n ${option[no-file-locations]-} ]]; then
    if [[ -n ${option[python]-} ]]; then helper_python=$(command -v -- "${option[python]}"); fi
    find_glance_conf
    remove_file_locations
  else
    find_glance_python
    helper_python=$python
    find_glance_conf
    find_paste
    add_filter
  fi
  add_item "$(file_of_option DEFAULT enabled_import_methods)" \
    DEFAULT enabled_import_methods glance-download
  local scheme address port
  while read -r scheme address port; do
    allow schemes "$scheme"
    allow hosts "$address"
    # A URL without a port passes whatever allowed_ports says.
    if [[ -n $port ]]; then allow ports "$port"; fi
  done < <(printf '%s\n' "${sources[@]}")
  if [[ -z ${option[no-file-locations]-} ]]; then
    put_package "$site_dir/glance_patch"
    dry_run || check_package "$site_dir/glance_patch"
    put_filter
  fi
  put_file lists "$api_conf" "$(staged "$api_conf")"
  if [[ -n $image_import_conf ]]; then
    put_file lists "$image_import_conf" "$(staged "$image_import_conf")"
  fi
  if [[ -n $changed ]] && ! dry_run; then
    touch -- "$run/next/added"
    sort -u -o "$run/next/added" -- "$run/next/added" "$work/added"
  fi
  warn_of_overrides 'enabled_import_methods|allowed_schemes|allowed_hosts|allowed_ports'
}

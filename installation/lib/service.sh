# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Restarting what was changed, and whether it lives.

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
    run_long "$helper_python" -I -B "$here/wait_healthy.py" "${option[health-url]}" \
      "${option[health-timeout]-60}" ||
      die "after the restart the service is not healthy"
  fi
}

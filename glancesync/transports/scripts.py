# SPDX-License-Identifier: Apache-2.0
"""What the courier has done on hosts: small scripts for sh with GNU coreutils and util-linux.

A script is a function that is called in its last line, so half of one, as a broken connection may
bring it, does nothing. It answers in lines that begin with a mark nobody else knows: what a login
shell prints beside them is passed over. The answers hold words and numbers, never paths.
"""

from __future__ import annotations

import shlex

#: Comes first, once for each shell.
PRELUDE = """
exec 2>/dev/null
LC_ALL=C; export LC_ALL
held= keep=
say() { printf '\\n%s %s\\n' "$mark" "$*"; }
because() { printf %s "${why##*: }" | tr '\\n' ' '; }
over() {
  [ "$held" -ef /proc/self/fd/9 ] || return
  if [ "$keep" = keep ] && [ -s "$held" ]; then return; fi
  rm -f -- "$held"
}
trap over EXIT
"""

#: -> ready
READY = "main() { say ready; }"

#: path -> file SIZE BYTES_ON_DISK STATE, or what else it is
#:
#: The state tells a file from another one, also if that has got its inode, and from what it was.
LOOK = """
main() {
  if [ -L "$1" ]; then say symlink
  elif [ ! -e "$1" ]; then say missing
  elif [ ! -f "$1" ]; then say irregular
  elif [ ! -r "$1" ]; then say unreadable
  else
    set -- $(stat -c '%s %b %B %d:%i:%.9Y' -- "$1")
    say file "$1" "$(($2 * $3))" "$4"
  fi
}
"""

# What tells a file from any other, as :mod:`.berth` writes it into the mark beside a file that is
# ours until Glance is known to have it.
_IDENTITY = """
identity() { stat -c '%i:%s:%.9Y' -- "$1" | tr -d .; }
ours() {
  [ -f "$1" ] && [ ! -L "$1" ] && [ -f "$2" ] && [ ! -L "$2" ] &&
    [ "$(identity "$1")" = "$(cat -- "$2")" ]
}
"""

#: final name, partial name, whether to keep -> held SIZE ROOM INODE, or why not
#:
#: The partial file is locked until the shell ends, by whatever end of ours; then it is removed,
#: unless it is to be kept and holds something. What was left in the directory by images nobody
#: asked for in the last days goes too, but for marks of files that are still ours.
HOLD = (
    _IDENTITY
    + """
main() {
  d=${1%/*}
  [ -d "$d/" ] || { say nodirectory; return; }
  if [ -L "$1" ]; then say symlink; return; fi
  if [ -f "$1" ]; then
    if [ ! -L "$2" ] && [ "$1" -ef "$2" ]; then rm -f -- "$2"; fi
    say there "$(stat -c %s -- "$1")"; return
  fi
  if [ -e "$1" ]; then say irregular; return; fi
  command -v flock >/dev/null || { say noflock; return; }
  u='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
  find "$d/" -maxdepth 1 -type f -name ".$u$u-$u-$u-$u-$u$u$u.partial" -mtime +2 \\
    ! -name "${2##*/}" -exec flock -n {} rm -f -- {} \\; 2>/dev/null
  find "$d/" -maxdepth 1 -type f -name ".$u$u-$u-$u-$u-$u$u$u.glance-sync" -mtime +2 |
    while IFS= read -r m; do
      f=${m##*/.}; f=$d/${f%.glance-sync}
      flock -n "$m" true && ! ours "$f" "$m" && rm -f -- "$m"
    done
  umask 077
  for try in 1 2 3 4 5; do
    if [ -L "$2" ]; then say symlink; return; fi
    [ -e "$2" ] || (set -C; : >"$2") 2>/dev/null
    why=$( (: >>"$2") 2>&1) || { say nowrite "$(because)"; return; }
    exec 9>>"$2"
    flock -n 9 || { say busy; return; }
    if [ "$2" -ef /proc/self/fd/9 ]; then
      held=$2 keep=$3
      rm -f -- "$2.link"
      why=$(ln -T -- "$2" "$2.link" 2>&1) || { say nolink "$(because)"; return; }
      rm -f -- "$2.link"
      set -- "$@" $(stat -c %s -- "$2") $(df --output=avail -B1 -- "$d/" | tail -n 1)
      say held "$4" "$5" "$(stat -c %d:%i -- "$2")"
      return
    fi
    exec 9>&-
  done
  say busy
}
"""
)

_HASHER = """
hasher() {
  if printf '' | openssl dgst "-$1" -r >/dev/null 2>&1; then H="openssl dgst -$1 -r"
  elif command -v "$2" >/dev/null; then H=$2
  else say nohash; return 1; fi
}
"""

#: partial name, size it will have, seconds without growth to wait, names of the hash or ""
#: -> at SIZE ..., hash HEX
#:
#: Reads a file that grows, and has the disk write it meanwhile. Without a hash only the sizes.
FOLLOW = (
    _HASHER
    + """
flush() { while [ -e "$1" ] && kill -0 "$$"; do sleep 0.5; sync -d -- "$1"; done; }
grow() {
  last= still=0 nap=0.05
  while s=$(stat -c %s -- "$1" 2>/dev/null) && [ "$s" -lt "$2" ]; do
    [ -z "$4" ] || cat <&3
    printf '\\n%s at %s\\n' "$mark" "$s" >&4
    if [ "$s" = "$last" ]; then still=$((still + 1)); else still=0; fi
    [ "$still" -le "$(($3 * 20))" ] && kill -0 "$$" || return
    last=$s
    sleep "$nap"
    [ "$s" -lt 9999999 ] || nap=0.25
  done
  [ -z "$4" ] || cat <&3
}
main() {
  exec 3<"$1" 4>&1
  [ -z "$4" ] || hasher "$4" "$5" || return
  flush "$1" >/dev/null 3<&- 4>&- &
  f=$!
  if [ -n "$4" ]; then
    h=$(grow "$@" | $H)
    say hash ${h%% *}
  else
    grow "$@"
  fi
  kill "$f"
}
"""
)

#: path, names of the hash -> at BYTES ..., hash HEX
HASH = (
    _HASHER
    + """
main() {
  hasher "$2" "$3" || return
  exec 5<"$1"
  (while sleep 0.5 && kill -0 "$$"; do
    say at $(sed -n 's/^pos:[[:space:]]*//p' /proc/self/fdinfo/5)
  done) &
  w=$!
  h=$($H <&5)
  kill "$w"
  say hash ${h%% *}
}
"""
)

#: partial name -> room BYTES
ROOM = """
main() { say room $(df --output=avail -B1 -- "${1%/*}/" | tail -n 1); }
"""

#: partial name -> sparse
DIG = """
main() { fallocate --dig-holes -- "$1" 2>/dev/null; say sparse; }
"""

#: partial name, final name, size, mark -> done STATE, or why not
#:
#: Never over another file: it is a hard link until the partial name goes. The mark is on disk
#: before that: whoever is killed from then on leaves a file that is known to be ours.
COMMIT = (
    _IDENTITY
    + """
main() {
  d=${2%/*}
  [ "$(stat -c %s -- "$1")" = "$3" ] || { say changed; return; }
  chmod 0640 -- "$1"
  chown --reference="$d/" -- "$1" 2>/dev/null || chgrp --reference="$d/" -- "$1" 2>/dev/null
  why=$(sync -- "$1" 2>&1) || { say nosync "$(because)"; return; }
  rm -f -- "$4"
  why=$( (set -C; identity "$1" >"$4" && sync -- "$4") 2>&1) || { say nosync "$(because)"; return; }
  why=$(ln -T -- "$1" "$2" 2>&1)
  if [ -L "$2" ] || [ ! "$1" -ef "$2" ]; then
    rm -f -- "$4"
    say exists "$(because)"; return
  fi
  rm -f -- "$1"
  sync -- "$d/"
  say done "$(stat -c %d:%i:%.9Y -- "$2")"
}
"""
)

#: final name, mark -> settled
#:
#: Glance has the file.
SETTLE = (
    _IDENTITY
    + """
main() {
  ours "$1" "$2" && rm -f -- "$2"
  say settled
}
"""
)

#: final name, partial name, mark -> tidied, or busy
TIDY = (
    _IDENTITY
    + """
main() {
  if [ -f "$2" ] && [ ! -L "$2" ]; then
    command -v flock >/dev/null && flock -n "$2" rm -f -- "$2" "$2.link" || { say busy; return; }
  fi
  if ours "$1" "$3"; then rm -f -- "$1"; fi
  if [ -f "$3" ] && [ ! -L "$3" ]; then rm -f -- "$3"; fi
  say tidied
}
"""
)

#: final name, state, mark -> removed, or other
REMOVE = """
main() {
  if [ "$(stat -c %d:%i:%.9Y -- "$1" 2>/dev/null)" = "$2" ]; then
    rm -f -- "$1" "$3"; say removed
  else say other; fi
}
"""

#: port, user or "", host, partial name -> inode INODE, as this host reaches that one by itself
REACH = """
main() {
  mark2="$mark inode"
  ssh -T -p "$1" ${2:+-l "$2"} -o BatchMode=yes -o StrictHostKeyChecking=yes \\
    -o ConnectTimeout=5 -- "$3" "exec stat -c '$mark2 %d:%i' -- $4" </dev/null 2>/dev/null
  say over
}
"""

#: bytes per second, or "" -> paced, or unpaced
#:
#: Goes for what a shell copies then, and what it has begun to. It is kept in a file without a name.
PACE = """
main() {
  if [ ! -e /proc/self/fd/8 ]; then
    f=$(mktemp) || { say unpaced; return; }
    exec 8<>"$f"
    rm -f -- "$f"
  fi
  printf '%s\\n' "$1" >/proc/self/fd/8 && say paced || say unpaced
}
"""

# Ends a process of ours with the shell, and stops it when it has written too much. /proc/PID/io
# would count what its children have written, too, once they are over: ssh, for rsync.
_TENDED = """
tended() {
  debt=0 seen=0 then=
  while kill -0 "$1" && kill -0 "$$"; do
    rate=
    read -r rate </proc/self/fd/8
    read -r now _ </proc/uptime
    now=${now%.*}${now#*.}
    while read -r word count && [ "$word" != wchar: ]; do :; done <"/proc/$1/task/$1/io"
    : "${then:=$now}"
    if [ "$rate" ] && [ "$count" ]; then
      debt=$((debt + count - seen - rate * (now - then) / 100))
      [ "$debt" -ge "$((-rate / 5))" ] || debt=$((-rate / 5))
    else
      debt=0
    fi
    seen=$count then=$now
    if [ "$debt" -gt 0 ]; then kill -STOP "$1"; sleep 0.05
    elif [ "$rate" ]; then kill -CONT "$1"; sleep 0.02
    else kill -CONT "$1"; sleep 0.2
    fi
  done
  kill "$1"
  kill -CONT "$1"
  wait "$1"
}
"""

#: source, partial name -> words WORDS ..., copied STATUS
CLONE = (
    _TENDED
    + """
main() {
  if cp --reflink=always -- "$1" "$2"; then say copied 0; return; fi
  {
    dd if="$1" of="$2" bs=1M conv=sparse status=none 2>&1 &
    tended "$!"
    printf '\\ncopied %s\\n' "$?"
  } | sed "s/^/$mark /"
}
"""
)

#: port, user or "", host, path here, quoted partial name there -> words WORDS ..., copied STATUS
SEND = (
    _TENDED
    + """
main() {
  {
    ssh -T -p "$1" ${2:+-l "$2"} -o BatchMode=yes -o StrictHostKeyChecking=yes \\
      -o ServerAliveInterval=15 -o LogLevel=ERROR -- "$3" "exec cat >$5" <"$4" 2>&1 >/dev/null &
    tended "$!"
    printf '\\ncopied %s\\n' "$?"
  } | sed "s/^/$mark /"
}
"""
)

#: as SEND, and the options of rsync -> rsync's lines, copied STATUS
RSYNC = (
    _TENDED
    + """
main() {
  port=$1 to=${2:+$2@}$3:$5 from=$4
  shift 5
  command -v rsync >/dev/null || { say norsync; return; }
  {
    rsync "$@" -e "ssh -T -p $port -o BatchMode=yes -o StrictHostKeyChecking=yes" \\
      -- "$from" "$to" 2>&1 </dev/null &
    tended "$!"
    printf '\\ncopied %s\\n' "$?"
  } | tr '\\r' '\\n' | sed -u "s/^/$mark /"
}
"""
)

#: -> rsync VERSION, or norsync
HAS_RSYNC = """
main() {
  command -v rsync >/dev/null || { say norsync; return; }
  say rsync $(rsync --version | sed -n '1s/.*version *\\([0-9.]*\\).*/\\1/p')
}
"""

#: As openssl and as coreutils name what :mod:`hashlib` calls it.
HASHES = {
    "md5": ("md5", "md5sum"),
    "sha1": ("sha1", "sha1sum"),
    "sha224": ("sha224", "sha224sum"),
    "sha256": ("sha256", "sha256sum"),
    "sha384": ("sha384", "sha384sum"),
    "sha512": ("sha512", "sha512sum"),
    "sha3_256": ("sha3-256", "sha3-256sum"),
    "sha3_512": ("sha3-512", "sha3-512sum"),
    "blake2b": ("blake2b512", "b2sum"),
}


def text(script: str, mark: str, arguments: tuple[str, ...], *, stays: bool) -> str:
    """What makes a shell run a script, beside others; one that ``stays`` runs in the shell itself.

    The last answer is ``.``.
    """
    given = " ".join(map(shlex.quote, arguments))
    if stays:
        return f"{script}\nmark={mark}; main {given} </dev/null; say .\n"
    return f"{script}\n(mark={mark}; main {given}; say .) </dev/null 9>&- &\n"

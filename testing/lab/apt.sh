# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# To be sourced: lets apt fetch packages of any Debian suites without touching
# the system and without root. It reads the system's apt configuration only to
# find a mirror.

# private_apt FOLDER SUITE... makes FOLDER apt's, with the lists of these suites,
# for the commands of this shell that follow. With an empty list of installed
# packages apt names every library. Returns 1 and says why if it cannot.
private_apt() {
  local folder=$1 mirror
  shift
  mkdir -p "$folder"/{sources,state/lists/partial,cache/archives/partial}
  : >"$folder/status"
  mirror=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' |
    grep -v security | head -n 1 || true)
  [[ -n $mirror ]] || mirror=$(cat /etc/apt/sources.list \
    /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?\([^[:space:]]*\).*/\2/p' |
    grep -v security | head -n 1 || true)
  [[ -n $mirror ]] || { echo "lab: no Debian mirror in /etc/apt" >&2; return 1; }
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$mirror" "$*" /usr/share/keyrings/debian-archive-keyring.gpg \
    >"$folder/sources/lab.sources"
  cat >"$folder/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$folder/sources";
Dir::State "$folder/state";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
APT::Sandbox::User "";
Debug::NoLocking "true";
CONF
  export APT_CONFIG=$folder/apt.conf
  export LC_ALL=C  # Scripts read what apt says.
  packages update ||
    { echo "lab: apt-get update failed for $mirror" >&2; return 1; }
}

# packages COMMAND... is apt-get, which shows how far it is on a terminal.
packages() {
  if [[ -t 2 ]]; then
    apt-get "$@" >&2
  else
    apt-get -qq "$@" >/dev/null
  fi
}

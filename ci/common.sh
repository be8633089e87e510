# Shared by the scripts of ci/: installing packages and building. Source it from bash.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# install_packages GROUP...: what ci/packages.txt lists for these groups and this machine lacks.
install_packages() {
  command -v dpkg-query > /dev/null || die "needs Debian 12: found no dpkg"
  local wanted=() missing=() group package
  for group in "$@"; do
    mapfile -t -O "${#wanted[@]}" wanted < <(awk -v g="$group" '$1 == g {print $2}' "$root/ci/packages.txt")
  done
  for package in "${wanted[@]}"; do
    # Debian's Docker would push out one that somebody else packaged.
    [ "$package" != docker.io ] || ! command -v dockerd > /dev/null || continue
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing ${#missing[@]} Debian packages"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || die "must install ${missing[*]}: run as root, or install sudo"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" > "${TMPDIR:-/tmp}/trainyard-apt.log" 2>&1 ||
    { tail -20 "${TMPDIR:-/tmp}/trainyard-apt.log" >&2; die "apt-get could not install: ${missing[*]}"; }
}

# build FOLDER [CMAKE OPTION...] [-- TARGET...]
build() {
  local folder=$1 options=() targets=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -eq 0 ] || { shift; targets=("$@"); }
  say "building in ${folder#"$root"/}"
  cmake -S "$root" -B "$folder" -G Ninja "${options[@]}" > "${TMPDIR:-/tmp}/trainyard-cmake.log" 2>&1 ||
    { tail -30 "${TMPDIR:-/tmp}/trainyard-cmake.log" >&2; die "cmake failed"; }
  ninja -C "$folder" "${targets[@]}"
}

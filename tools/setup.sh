# Shared by tools/run and tools/test: finds or installs what the build needs, configures, builds.
# Sourced with `set -euo pipefail`; everything it says goes to stderr, so that a program's output stays clean.
weft_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
weft_build=${WEFT_BUILD_DIR:-$weft_root/build}

weft_say() { printf 'weft: %s\n' "$*" >&2; }
weft_fail() {
  weft_say "$*"
  exit 1
}

# The compiler to use: $CXX, else g++, else (where g++ is older than 12) g++-12, whether installed or not.
weft_compiler() {
  local version
  if [ -n "${CXX:-}" ]; then
    echo "$CXX"
    return
  fi
  version=$(g++ -dumpversion 2>/dev/null || true)
  if [ -z "$version" ] || [ "${version%%.*}" -ge 12 ]; then echo g++; else echo g++-12; fi
}

# Prints the Debian packages that give what is missing. Commands and headers are looked for, not packages, so that
# machines with their own toolchain need nothing. $1: program, or tests (which need more).
weft_missing() {
  command -v cmake >/dev/null || echo cmake
  command -v ninja >/dev/null || echo ninja-build
  [ "$1" = program ] || command -v python3 >/dev/null || echo python3
  local compiler headers="zlib.h:zlib1g-dev"
  compiler=$(weft_compiler)
  if [ ! -d "$weft_root/vendor" ]; then
    headers+=" fmt/core.h:libfmt-dev nlohmann/json.hpp:nlohmann-json3-dev CLI/CLI.hpp:libcli11-dev Eigen/Core:libeigen3-dev"
    [ "$1" = program ] || headers+=" catch2:catch2"
  fi
  if ! command -v "${compiler%% *}" >/dev/null; then
    echo "$compiler"
    local entry
    for entry in $headers; do echo "${entry#*:}"; done
    return
  fi
  local entry text=""
  for entry in $headers; do
    local name=${entry%%:*} package=${entry#*:} test="__has_include(<${entry%%:*}>)"
    [ "$name" = catch2 ] && test="__has_include(<catch2/catch.hpp>) || __has_include(<catch2/catch_all.hpp>)"
    [ "$name" = Eigen/Core ] && test+=" || __has_include(<eigen3/Eigen/Core>)"
    text+="#if !($test)"$'\n'"missing $package"$'\n'"#endif"$'\n'
  done
  # shellcheck disable=SC2086  # CXX may be "ccache g++"
  $compiler -std=c++20 -E -P -x c++ - <<<"$text" 2>/dev/null | sed -n 's/^missing //p' | tr -d ' '
}

weft_install() {
  local missing optional="ccache libdnnl-dev libpng-dev libjpeg62-turbo-dev" sudo=""
  [ -z "${CXX:-}" ] || command -v "${CXX%% *}" >/dev/null || weft_fail "CXX is '$CXX', and there is no such command"
  missing=$(weft_missing "$1" | sort -u | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null ||
    weft_fail "missing: $missing(names of Debian packages); there is no apt-get here, please install what gives them"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      weft_fail "missing: $missing; run as root, or install sudo, or ask for: apt-get install $missing"
    sudo=sudo
  fi
  weft_say "installing $missing"
  local log
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  local apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends"
  { $apt update && $apt install $missing; } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    weft_fail "apt-get could not install: $missing(see above; log: $log)"
  }
  # Not needed: faster rebuilds (ccache) and matrix products (oneDNN), pictures as data (libpng, libjpeg).
  local package
  for package in $optional; do
    $apt install "$package" >>"$log" 2>&1 || weft_say "not available here, going on without: $package"
  done
  rm -f "$log"
  missing=$(weft_missing "$1" | tr '\n' ' ')
  [ -z "$missing" ] || weft_fail "still missing after installing: $missing"
}

# weft_configure FOLDER program|tests CMAKE_ARGS...: configures once, and again when the arguments change.
weft_configure() {
  local folder=$1 needs=$2 wanted have options=()
  shift 2
  wanted="$* ${WEFT_CMAKE_ARGS:-}"
  have=$(cat "$folder/.weft_arguments" 2>/dev/null || true)
  if [ -f "$folder/build.ninja" ] && { [ "$have" = "$needs $wanted" ] || [ "$have" = "tests $wanted" ]; }; then return; fi
  [ "$needs" = tests ] && options=(-DWEFT_BUILD_TESTS=ON) || options=(-DWEFT_BUILD_TESTS=OFF)
  [ -n "${CXX:-}" ] || [ -f "$folder/CMakeCache.txt" ] || options+=(-DCMAKE_CXX_COMPILER="$(weft_compiler)")
  [ ! -d "$weft_root/vendor" ] || options+=(-DWEFT_VENDOR="$weft_root/vendor")
  mkdir -p "$folder" || weft_fail "cannot create the build folder $folder; set WEFT_BUILD_DIR to a writable one"
  # shellcheck disable=SC2086  # WEFT_CMAKE_ARGS is a list
  cmake -G Ninja -S "$weft_root" -B "$folder" "${options[@]}" "$@" ${WEFT_CMAKE_ARGS:-} >"$folder/configure.log" 2>&1 || {
    cat "$folder/configure.log" >&2
    weft_fail "cmake failed (see above)"
  }
  printf '%s\n' "$needs $wanted" >"$folder/.weft_arguments"
}

# On a terminal: the build's last line, overwritten; otherwise nothing.
weft_progress() {
  if [ ! -t 2 ]; then
    cat >/dev/null
    return
  fi
  local line
  while IFS= read -r line; do printf '\r\033[K%.*s' "$(($(tput cols 2>/dev/null || echo 80) - 1))" "$line" >&2; done
  printf '\r\033[K' >&2
}

# weft_make FOLDER TARGETS...: quiet unless something fails.
weft_make() {
  local folder=$1 log=$1/build.log
  shift
  if ! ninja -C "$folder" "$@" 2>&1 | tee "$log" | weft_progress; then
    grep -v '^\[[0-9]*/[0-9]*\]' "$log" | tail -n 60 >&2
    weft_fail "the build failed (see above; all of it: $log)"
  fi
}

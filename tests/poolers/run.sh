#!/usr/bin/env bash
# Puts PgBouncer between Colloquy and PostgreSQL, and runs it with a clock that is wrong by 400 days.
#
#   tests/poolers/run.sh                    the debug build
#   tests/poolers/run.sh path/to/colloquy   another build
#
# Takes two versions of PgBouncer: Debian 12's, which hands prepared statements on as they are, and one of 1.21 or later.
# PGBOUNCER names the newer one; without it that of Debian 13 is fetched into target/, with the libraries that it needs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

packages=()
[ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
command -v faketime >/dev/null || packages+=(faketime)
[ ${#packages[@]} = 0 ] || { apt-get update -q && apt-get install -qy --no-install-recommends "${packages[@]}"; }

# Debian 13 beside the Debian that is here: nothing of it is installed.
fetch_newer() {
    local folder=$root/target/pgbouncer apt
    if [ ! -x "$folder/pgbouncer" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"/{sources,lists/partial,cache/archives/partial,files}
        cat >"$folder/sources/debian.sources" <<'SOURCES'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
        apt=(apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$folder/sources"
            -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
        "${apt[@]}" update
        (cd "$folder" && "${apt[@]}" download pgbouncer/trixie libc6/trixie libcares2/trixie libevent-2.1-7t64/trixie \
            libpam0g/trixie libssl3t64/trixie libsystemd0/trixie libcap2/trixie libaudit1/trixie libcap-ng0/trixie \
            libzstd1/trixie zlib1g/trixie)
        local package
        for package in "$folder"/*.deb; do dpkg -x "$package" "$folder/files"; done
        local loader libraries
        loader=$(find "$folder/files/usr/lib" -name 'ld-linux*.so.*' -print -quit)
        libraries=$(dirname "$(find "$folder/files/usr/lib" -name 'libc.so.6' -print -quit)")
        printf '#!/bin/sh\nexec %q --library-path %q %q "$@"\n' "$loader" "$libraries" "$folder/files/usr/sbin/pgbouncer" \
            >"$folder/pgbouncer"
        chmod +x "$folder/pgbouncer"
        rm -rf "$folder"/*.deb "$folder"/{lists,cache,sources}
    fi
    printf '%s\n' "$folder/pgbouncer"
}

newer=${PGBOUNCER:-$(fetch_newer)}
exec python3 "$here/drive.py" "${1:-$root/target/debug/colloquy}" /usr/sbin/pgbouncer "$newer"

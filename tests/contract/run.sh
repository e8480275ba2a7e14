#!/usr/bin/env bash
# Holds the server to its contract: schemathesis makes requests from openapi.json, fit and unfit, and compares the answers.
# No 5xx, no status or shape that is not written down.
#
#   tests/contract/run.sh [BINARY]    a server of its own, target/debug/colloquy unless another is named
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
server=

clean_up() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# An embedded PostgreSQL does not run as root and has to reach its files.
chmod 711 "$work"

binary=$(realpath "${1:-$root/target/debug/colloquy}")
if [[ ! -x $binary ]]; then
    echo "There is no server at $binary. Build it with: cargo build" >&2
    exit 1
fi

python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
cat >"$work/colloquy.toml" <<'TOML'
[models.offline]
provider = "offline"
id = "offline"

[[agents]]
id = "assistant"
name = "Assistant"
model = "offline"
TOML
cd "$work"
"$binary" serve --bind "127.0.0.1:$port" --data-dir "$work/data" --config "$work/colloquy.toml" >"$work/server.log" 2>&1 &
server=$!

show_log() {
    echo "The server's log:" >&2
    grep '"level":"\(WARN\|ERROR\)"' "$work/server.log" | tail -n 30 >&2
}

# Two minutes: a first start may have to fetch PostgreSQL.
deadline=$((SECONDS + 120))
until "$python" -c 'import sys, urllib.request as http
http.build_opener(http.ProxyHandler({})).open(sys.argv[1], timeout=2)' "$url/ready" 2>/dev/null; do
    if ! kill -0 "$server" 2>/dev/null || ((SECONDS > deadline)); then
        echo "The server was not ready at $url/ready." >&2
        show_log
        exit 1
    fi
    sleep 0.2
done

export SCHEMATHESIS_HOOKS=$here/hooks.py
if ! "$work/venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$root/openapi/openapi.json" --url "$url" \
    --workers 1 --phases examples,coverage,fuzzing --generation-database none --no-color; then
    show_log
    exit 1
fi

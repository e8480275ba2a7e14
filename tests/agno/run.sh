#!/usr/bin/env bash
# Drives Colloquy with the unmodified AgentOSClient of the `agno` package from PyPI, installed into a throw-away venv.
#
#   tests/agno/run.sh                          the debug build, with an embedded database
#   tests/agno/run.sh path/to/colloquy         another build; DATABASE_URL names another database
#   tests/agno/run.sh --url http://127.0.0.1:7777   a server that runs already
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

python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

if [[ ${1:-} == --url ]]; then
    "$python" "$here/drive.py" "${2:?--url needs an address}"
    exit
fi

binary=$(realpath "${1:-$root/target/debug/colloquy}")
if [[ ! -x $binary ]]; then
    echo "There is no server at $binary. Build it with: cargo build" >&2
    exit 1
fi
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
    tail -n 50 "$work/server.log" >&2
}

ready() {
    "$python" -c 'import sys, urllib.request as http
http.build_opener(http.ProxyHandler({})).open(sys.argv[1], timeout=2)' "$url/ready" 2>/dev/null
}

# Two minutes: a first start may have to fetch PostgreSQL.
deadline=$((SECONDS + 120))
until ready; do
    if ! kill -0 "$server" 2>/dev/null; then
        echo "The server ended before it was ready." >&2
        show_log
        exit 1
    fi
    if ((SECONDS > deadline)); then
        echo "The server was not ready at $url/ready after two minutes." >&2
        show_log
        exit 1
    fi
    sleep 0.2
done

if ! "$python" "$here/drive.py" "$url"; then
    show_log
    exit 1
fi

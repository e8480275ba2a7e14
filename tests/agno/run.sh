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
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

if [[ ${1:-} == --url ]]; then
    "$python" "$here/drive.py" "${2:?--url needs an address}"
else
    python3 "$root/tests/serve.py" "${1:-$root/target/debug/colloquy}" "$python" "$here/drive.py"
fi

#!/usr/bin/env bash
# Holds the server to its contract: schemathesis makes requests from openapi.json, fit and unfit, and compares the answers.
# No 5xx, no status or shape that is not written down.
#
#   tests/contract/run.sh [BINARY]    a server of its own, target/debug/colloquy unless another is named
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

export SCHEMATHESIS_HOOKS=$here/hooks.py
python3 "$root/tests/serve.py" "${1:-$root/target/debug/colloquy}" \
    "$work/venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$root/openapi/openapi.json" \
    --workers 1 --phases examples,coverage,fuzzing --generation-database none --no-color --url

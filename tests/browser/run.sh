#!/usr/bin/env bash
# Tries in a real browser what web pages can do to a server on the developer's machine: foreign ones nothing, its own everything.
# Installs Debian's Chromium if there is none, and Playwright from PyPI into a throw-away venv.
#
#   tests/browser/run.sh [BINARY]    a server of its own, target/debug/colloquy unless another is named
#   SCREENSHOT=docs.png tests/browser/run.sh    keeps a picture of the documentation as well
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v chromium >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends chromium; }
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

[ -z "${SCREENSHOT:-}" ] || SCREENSHOT=$(realpath "$SCREENSHOT")
export SCREENSHOT
python3 "$root/tests/serve.py" "${1:-$root/target/debug/colloquy}" "$work/venv/bin/python" "$here/drive.py"

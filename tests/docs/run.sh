#!/usr/bin/env bash
# Does what README.md and docs/*.md tell a reader to do, and compares what they show with what comes. The settings that they
# and colloquy.example.toml show have to be taken.
#
#   tests/docs/run.sh [BINARY]    target/debug/colloquy unless another is named
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
exec python3 "$here/replay.py" "${1:-$root/target/debug/colloquy}" "$root/README.md" "$root"/docs/*.md \
    "$root/colloquy.example.toml"

#!/bin/sh
# Finds a Python that is new enough and lets it make `.venv` (tools/setup.py).
# Usage: sh tools/setup.sh [options of tools/setup.py].  PYTHON=python3.13 chooses another interpreter.
set -eu
cd -- "$(dirname -- "$0")/.."

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" || {
        echo "pgjobq setup: PYTHON=$PYTHON is not a working Python 3.11 or newer." >&2
        exit 2
    }
    exec "$PYTHON" tools/setup.py "$@"
fi

# The environment's own Python first: asking it costs nothing when all is in place.
for candidate in .venv/bin/python python3 python python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
        exec "$candidate" tools/setup.py "$@"
    fi
done

if command -v uv >/dev/null 2>&1; then
    exec uv run --quiet --no-project --python '>=3.11' tools/setup.py "$@"
fi

cat >&2 <<'END'
pgjobq setup: no Python 3.11 or newer was found (tried python3, python, python3.11 … python3.14).
  Debian, Ubuntu:  apt-get install python3 python3-venv
  Fedora:          dnf install python3
  macOS:           brew install python
  or name one:     make test PYTHON=/path/to/python3.12
END
exit 2

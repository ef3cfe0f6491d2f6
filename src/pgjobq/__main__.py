"""`python -m pgjobq`: the command `pgjobq`."""

from __future__ import annotations

import sys

from pgjobq.cli import main

sys.exit(main())

"""Found by every Python process of a worker, through its PYTHONPATH: makes the mistake, or sets the clock."""

import os
import sys

if name := os.environ.get("CHAOS_MUTANT"):
    try:
        from chaos import mutants

        mutants.MUTANTS[name].infect_process()
    except BaseException as error:  # Python itself would print it, and go on unharmed
        sys.stderr.write(f"the mutant {name} does not fit the engine any more: {error!r}\n")
        sys.stderr.flush()
        os._exit(97)

if shift := float(os.environ.get("CHAOS_CLOCK", "0")):
    import time

    right = time.time
    time.time = lambda: right() + shift

"""Faults on real parts: a running load, what goes wrong around it, and a checker that is told neither (`import chaos`).

history    what happened, written outside the database, one write per event
app, load  the jobs, and those who enqueue them
ledger     what the database says, with a record of every move of a lease and who made it
evidence   all that a run leaves behind
checker    the promises, as functions of history and ledger (pure)
rules      what jobs share: limits, orders, unique keys, ticks (pure)
site       one server with everything around it: proxy, PgBouncer, workers
faults     what can be done to a site
drill      a short run with fixed faults; mutants are caught by it
mixed      a long run with random faults from a seed: `python -m tests.chaos`
mutants    the engine with one mistake each, which the checker must notice
"""

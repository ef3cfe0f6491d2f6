"""Measures pgjobq against a raw-SQL floor and its peers, in one run on one server: `python -m bench --help`.

__main__     the command
systems/     what is measured: one file each, all with the same small protocol (base.System)
drivers/     what runs in each system's own environment: enqueue one, enqueue many, work
steps/       what is measured: one file per kind of question
stage        one system on one fresh database: fill it, set workers to work, wait for the end
server       the PostgreSQL they share: databases, sizes, WAL, CPU, the starting gate, a held snapshot
workers      worker processes: start, memory, CPU, stop
machine      what this machine is
arithmetic   percentiles, medians, ratios
results      figures, and how they are kept
table, plots, page, progress     how they are shown
"""

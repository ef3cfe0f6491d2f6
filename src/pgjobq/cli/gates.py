"""`pgjobq gates`: who holds the places of a gate, who waits there, and limits that go before what the code says."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from pgjobq.cli.desk import CODES, add_by, age, desk, parser, show_json, show_table, whoami
from pgjobq.cli.selection import number
from pgjobq.errors import ConfigError
from pgjobq.queue import Queue
from pgjobq.settings.arguments import CommandLine
from pgjobq.survey import GateLimit, Survey

__all__ = ["gates"]

_DESCRIPTION = """\
Show the gates where jobs wait or hold places, those where most wait first.

  list             the keys: limit, who holds places, how many wait, since when
  set KEY [N]      let N jobs of this key run at once, whatever the code says;
                   KEY may be a gate's name, for all its keys; 0: none starts;
                   or set --rate, --quota, --weights: what is not given stays
  unset KEY        back to what the code says"""
_EPILOG = f"""\
{CODES}
examples:
  pgjobq gates
  pgjobq gates set merchant:7 1
  pgjobq gates set 'merchant:{{merchant_id}}' 5 --rate 10/s
  pgjobq gates set smtp --quota 1000/day --weights acme=3,globex=2
  pgjobq gates unset merchant:7
"""


def gates(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    options = _parser().read(argv)
    others = [word for word in (options.rate, options.quota, options.weights) if word is not None]
    wanted = {"list": {0}, "set": {1, 2} if others else {2}, "unset": {1}}[options.action]
    words = [word for word in (options.key, options.places) if word is not None]
    if len(words) not in wanted or (others and options.action != "set"):
        raise ConfigError(
            "pgjobq gates: wants nothing, or `set KEY N` (or --rate, --quota, --weights in place of N), or `unset KEY`"
        )
    with desk(options) as queue:
        if options.action == "list":
            return _list(queue, options)
        return _change(queue, options)


def _parser() -> CommandLine:
    made = parser("pgjobq gates", "pgjobq gates [list | set KEY [N] | unset KEY] [flags]", _DESCRIPTION, _EPILOG)
    made.add_actions("list", "set", "unset", default="list")
    made.add_argument("key", metavar="KEY", nargs="?", help="set, unset: the key, or the gate's name")
    made.add_argument("places", metavar="N", nargs="?", help="set: how many jobs may run at once, from 0")
    made.add_argument("--rate", metavar="RATE", help="set: how often they may start, such as 10/s, 100/min or 5/2h")
    made.add_argument("--quota", metavar="QUOTA", help="set: how many may start in a period, such as 1000/day")
    made.add_argument("--weights", metavar="SHARES", help="set: of shares, such as acme=3,globex=2; the others have 1")
    add_by(made)
    return made


def _list(queue: Queue, options: Namespace) -> int:
    survey = Survey(queue)
    found, limits = survey.gates(), survey.gate_limits()
    if options.json:
        show_json({"gates": found, "set": limits})
        return 0
    rows = [
        (one.key, one.limit, _many(one.holding, one.cap), _many(one.waiting, one.cap), age(one.since),
         ", ".join(str(holder.job) for holder in one.holders))
        for one in found
    ]  # fmt: skip
    show_table(
        ("KEY", "LIMIT", "RUNNING", "WAITING", "OLDEST", "WHO RUNS"),
        rows,
        nothing="no gate has jobs that wait or hold a place",
    )
    for limit in limits:
        print(f"{limit.key} was set to {_limits(limit)} {age(limit.set_at)} ago")
    return 0


def _limits(limit: GateLimit) -> str:
    told = []
    if limit.concurrency is not None:
        told.append(f"{limit.concurrency} place{'s' * (limit.concurrency != 1)}")
    if limit.rate is not None:
        told.append(f"a rate of {limit.rate['limit']:,} in {limit.rate.get('per', 1):g} s")
    if limit.quota is not None:
        told.append(f"a quota of {limit.quota['limit']:,} in each {limit.quota.get('per', 'day')}")
    if limit.weights is not None:
        told.append("the weights " + ", ".join(f"{share} {weight}" for share, weight in limit.weights.items()))
    return " and ".join(told)


def _many(count: int, cap: int) -> str:
    return f"{count:,}{'+' * (count >= cap)}"


def _change(queue: Queue, options: Namespace) -> int:
    by = options.by or whoami()
    if options.action == "set":
        places = None if options.places is None else number(options.places, "N")
        weights = None if options.weights is None else _weights(options.weights)
        queue.set_gate(options.key, concurrency=places, rate=options.rate, quota=options.quota, weights=weights, by=by)
        done = "set" if places != 0 else "set: none of its jobs starts"
    elif queue.unset_gate(options.key, by=by):
        done = "back to what the code says"
    else:
        known = ", ".join(one.key for one in Survey(queue).gate_limits())
        done = "nothing was set" + (f" for it, but for {known}" if known else "")
    if options.json:
        show_json({"action": options.action, "gate": options.key, "done": not done.startswith("nothing")})
    else:
        print(done)
    sys.stdout.flush()
    return 0


def _weights(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for piece in text.split(","):
        share, is_one, weight = piece.rpartition("=")
        if not is_one or not share.strip() or share.strip() in found:
            raise ConfigError(f"--weights {text!r}: wants each share once, with its weight: acme=3,globex=2")
        found[share.strip()] = number(weight.strip(), f"--weights {text!r}: the weight of {share.strip()}")
    return found

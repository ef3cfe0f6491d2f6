"""Plans as values: EXPLAIN (ANALYZE, BUFFERS) of a worker's prepared statements, rolled back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from sql.support.hand import Hand

__all__ = ["Plan", "explain", "prepare"]


@dataclass(frozen=True)
class Plan:
    """What the server did for one statement."""

    nodes: tuple[Mapping[str, Any], ...]

    @property
    def buffers(self) -> int:
        """Pages looked at in all; the root counts for everything below it."""
        return int(self.nodes[0]["Shared Hit Blocks"] + self.nodes[0]["Shared Read Blocks"])

    @property
    def sequential(self) -> set[str]:
        """Tables that were read from end to end."""
        return {node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"}

    @property
    def indexes(self) -> set[str]:
        """Indexes that were used."""
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    def read_from(self, table: str) -> int:
        """Pages that the scans of one table looked at."""
        scans = [node for node in self.nodes if node.get("Relation Name") == table and "Scan" in node["Node Type"]]
        return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in scans)


def prepare(hand: Hand, names: Sequence[str]) -> None:
    """Prepare statements under their names, as a worker's connection does when it first says them."""
    hand.conn.prepare_threshold = None  # psycopg's own book-keeping deallocates ours, too
    for name in names:
        hand.conn.execute(f"PREPARE {name} AS {hand.text(name)}".encode(), prepare=False)


def explain(hand: Hand, name: str, params: Sequence[object]) -> Plan:
    """Execute a prepared statement for its plan, without effect."""
    values = sql.SQL(", ").join(map(sql.Literal, params))
    query = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE {}").format(sql.Identifier(name))
    if params:
        query += sql.SQL(" (") + values + sql.SQL(")")
    with hand.conn.transaction(force_rollback=True):
        row = hand.conn.execute(query, prepare=False).fetchone()
    assert row is not None
    return Plan(tuple(_walk(row[0][0]["Plan"])))


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)

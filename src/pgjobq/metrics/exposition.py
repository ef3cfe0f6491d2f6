"""Families as the text that Prometheus reads (its text format, version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pgjobq.metrics.family import Family, number

__all__ = ["CONTENT_TYPE", "expose"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_ESCAPED_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_KINDS = {
    "counter": ("counter", "_total"),
    "info": ("gauge", "_info"),
    "gauge": ("gauge", ""),
    "histogram": ("histogram", ""),
}


def expose(families: Iterable[Family]) -> str:
    """The whole text."""
    return "".join(_told(family) for family in families)


def _told(family: Family) -> str:
    kind, suffix = _KINDS[family.kind]
    name = family.name + suffix
    lines = [f"# HELP {name} {family.help.translate(_ESCAPED_HELP)}", f"# TYPE {name} {kind}"]
    lines += [
        f"{family.name}{sample.suffix or suffix}{_labels(sample.labels)} {number(sample.value)}"
        for sample in family.samples
    ]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    # A lone surrogate cannot be sent; nothing that came from the database has one.
    pairs = (f'{name}="{_storable(value).translate(_ESCAPED)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()

"""Gathers the fragments in changes/ into a section of CHANGELOG.md.

python tools/changelog.py             show the section that the next release would get
python tools/changelog.py 0.2.0       write it, dated today, and remove the fragments
python tools/changelog.py --check     exit 1 when a fragment's name is not understood
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = ROOT / "CHANGELOG.md"
FRAGMENTS = ROOT / "changes"
MARK = "<!-- releases below -->\n"
KINDS = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "security": "Security",
}
NAME = re.compile(rf"[\w-]+\.({'|'.join(KINDS)})\.md")


def main(arguments: list[str]) -> int:
    if odd := [path.name for path in fragments() if not NAME.fullmatch(path.name) or not path.read_text().strip()]:
        print(f"changes/: not understood, or empty: {', '.join(odd)} (see changes/README.md)", file=sys.stderr)
        return 1
    if arguments == ["--check"]:
        return 0
    if not arguments:
        print(section("next"), end="")
        return 0
    version = arguments[0]
    if not re.fullmatch(r"\d+\.\d+\.\d+\w*", version) or len(arguments) > 1:
        print(__doc__, file=sys.stderr)
        return 2
    release(version)
    return 0


def fragments() -> list[Path]:
    return sorted(path for path in FRAGMENTS.iterdir() if path.name != "README.md")


def section(title: str) -> str:
    lines = [f"## {title}\n"]
    for kind, heading in KINDS.items():
        texts = [path.read_text().strip() for path in fragments() if path.name.endswith(f".{kind}.md")]
        if texts:
            lines.append(f"\n### {heading}\n\n")
            lines += [f"- {text.replace(chr(10), chr(10) + '  ')}\n" for text in texts]
    return "".join(lines)


def release(version: str) -> None:
    before, mark, after = CHANGELOG.read_text().partition(MARK)
    dated = f"{version} ({datetime.now(UTC):%Y-%m-%d})"
    CHANGELOG.write_text(f"{before}{mark}\n{section(dated)}{after}")
    for path in fragments():
        path.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

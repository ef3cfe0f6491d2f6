"""docs/cli.md leaves no command and no flag of an operator's command out."""

from __future__ import annotations

import pages
import pytest
from test_flags import flags_of

from pgjobq.cli.commands import COMMANDS

PAGE = (pages.ROOT / "docs/cli.md").read_text()
ELSEWHERE = {"worker", "migrate", "devdb"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_flag_is_told(command: str) -> None:
    assert f"`pgjobq {command}" in PAGE
    if command not in ELSEWHERE:
        assert not {flag for flag in flags_of(command) - {"--help"} if flag not in PAGE}

"""A claim alone commits without waiting for the disk; with anything else in its transaction it waits."""

from __future__ import annotations

from sql.support.hand import Hand


def _claim(hand: Hand, *, lazily: bool) -> tuple[int, object]:
    rows = hand.say("claim", ["default"], [0], [0], 10, hand.id, lazily)
    return len(rows) - 1, hand.sql("SELECT current_setting('synchronous_commit')")[0][0]


def test_only_a_claim_alone_commits_lazily(hand: Hand) -> None:
    hand.sql("SET synchronous_commit = on")
    for lazily, setting in ((True, "off"), (False, "on")):
        hand.sql("SELECT pgjobq.enqueue('send')")
        with hand.conn.transaction():
            assert _claim(hand, lazily=lazily) == (1, setting)
        assert hand.sql("SHOW synchronous_commit") == [("on",)]


def test_also_when_nothing_is_found(hand: Hand) -> None:
    with hand.conn.transaction():
        assert _claim(hand, lazily=True) == (0, "off")

"""The key ring: what it seals opens with the same key, task, queue and part, and with nothing else."""

from __future__ import annotations

import builtins
import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq import CannotDecrypt, ConfigError, KeyMissing, Keyring
from pgjobq.encryption import is_sealed, open_sealed

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
TEXT = '{"card": "4111 1111 1111 1111"}'
WHERE = {"task": "charge", "queue": "default"}


def stored(text: str, **changes: str) -> str:
    """A sealed payload as jsonb gives it back, with members changed."""
    found = json.loads(text)
    found["$enc"] |= changes
    return json.dumps(found)


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_what_is_sealed_opens(text: str, task: str, queue: str) -> None:
    ring = Keyring({"k": NEW})
    sealed = ring.seal(text, task=task, queue=queue)
    assert is_sealed(sealed)
    assert ring.open(json.dumps(json.loads(sealed)), task=task, queue=queue) == text


def test_the_form_can_be_told_by_sql_and_people() -> None:
    sealed = Keyring({"2026-11": NEW}).seal(TEXT, **WHERE)
    found = json.loads(sealed)
    assert list(found) == ["$enc"]
    assert list(found["$enc"]) == ["alg", "key", "data"]
    assert found["$enc"]["alg"] == "A256GCM"
    assert found["$enc"]["key"].startswith("2026-11.")
    assert "4111" not in sealed
    assert len(b64decode(found["$enc"]["data"])) == 12 + len(TEXT) + 16


def test_the_same_payload_never_looks_the_same() -> None:
    ring = Keyring({"k": NEW})
    assert len({ring.seal(TEXT, **WHERE) for _ in range(100)}) == 100


def test_rotation_the_first_key_seals_and_all_of_them_open() -> None:
    before = Keyring({"old": OLD})
    after = Keyring({"new": NEW, "old": OLD})
    sealed = before.seal(TEXT, **WHERE)
    assert after.open(sealed, **WHERE) == TEXT
    assert json.loads(after.seal(TEXT, **WHERE))["$enc"]["key"] == after.names[0]
    with pytest.raises(KeyMissing) as missing:
        before.open(after.seal(TEXT, **WHERE), **WHERE)
    assert missing.value.key == after.names[0]


def test_another_key_under_the_same_name_is_a_missing_key_and_no_broken_payload() -> None:
    sealed = Keyring({"k": OLD}).seal(TEXT, **WHERE)
    with pytest.raises(KeyMissing):
        Keyring({"k": NEW}).open(sealed, **WHERE)
    with pytest.raises(KeyMissing):
        open_sealed(None, sealed, **WHERE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"task": "refund", "queue": "default"},
        {"task": "charge", "queue": "mail"},
        {"task": "charge", "queue": "default", "part": "result"},
        {"task": "", "queue": "chargedefault"},
    ],
)
def test_a_payload_that_was_moved_does_not_open(elsewhere: dict[str, str]) -> None:
    ring = Keyring({"k": NEW})
    with pytest.raises(CannotDecrypt, match="changed, cut, or moved"):
        ring.open(ring.seal(TEXT, **WHERE), **elsewhere)


def test_every_changed_byte_is_noticed() -> None:
    ring = Keyring({"k": NEW})
    sealed = ring.seal(TEXT, **WHERE)
    data = b64decode(json.loads(sealed)["$enc"]["data"])
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(CannotDecrypt):
            ring.open(stored(sealed, data=b64encode(changed).decode()), **WHERE)


@pytest.mark.parametrize("data", ["", "AAAA", "not base64!", "A" * 400, "\u00e9"])
def test_what_is_no_ciphertext_is_refused(data: str) -> None:
    ring = Keyring({"k": NEW})
    with pytest.raises(CannotDecrypt):
        ring.open(stored(ring.seal(TEXT, **WHERE), data=data), **WHERE)


@pytest.mark.parametrize(
    "text",
    ['{"$enc": 1}', '{"$enc": {}}', '{"$enc": {"alg": "none", "key": "k", "data": ""}}', '{"$enc": null}', '{"$enc"'],
)
def test_a_malformed_object_is_refused(text: str) -> None:
    assert is_sealed(text)
    with pytest.raises(CannotDecrypt):
        open_sealed(Keyring({"k": NEW}), text, **WHERE)


def test_what_is_not_sealed_is_not_taken_for_it() -> None:
    assert not any(map(is_sealed, ["{}", '{"enc": 1}', '{"$encrypted": 1}', '{"a": {"$enc": 1}}', "null", ""]))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "at least one key"),
        ({"k": b"short"}, "32 random bytes"),
        ({"k": "c2hvcnQ="}, "32 random bytes"),
        ({"k": "no base64"}, "32 random bytes"),
        ({"k": None}, "32 random bytes"),
        ({"": NEW}, "key name"),
        ({"a b": NEW}, "key name"),
        ({7: NEW}, "key name"),
    ],
)
def test_keys_that_cannot_be_used(keys: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refusal:
        Keyring(keys)
    assert "c2hvcnQ" not in str(refusal.value)


def test_a_generated_key_is_taken_as_it_is() -> None:
    first, second = Keyring.generate(), Keyring.generate()
    assert first != second
    ring = Keyring({"a": first + "\n", "b": b64decode(second)})
    assert ring.open(ring.seal(TEXT, **WHERE), **WHERE) == TEXT


def test_a_ring_shows_names_and_never_a_key() -> None:
    ring = Keyring({"2026-11": NEW})
    assert repr(ring) == f"<Keyring {ring.names[0]}>"
    assert not hasattr(ring, "__dict__")


def test_without_the_package_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"\[encryption\]"):
        Keyring({"k": NEW})

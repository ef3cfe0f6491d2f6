"""The SQL functions enqueue and enqueue_many, said from plain SQL as a trigger or another language would."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sql.support.hand import Hand

FACTS = """
SELECT to_jsonb(j) - '{id, created_at, gates, hooks, version, expires_at}'::text[] FROM pgjobq.job j WHERE id = $1
"""
DEFAULTS = {
    "task": "send",
    "args": {},
    "queue": "default",
    "priority": 0,
    "max_attempts": 20,
    "ref": None,
    "tags": None,
    "headers": None,
}


def test_defaults(hand: Hand) -> None:
    job = hand.enqueue("send")
    assert hand.value(FACTS, job) == DEFAULTS
    assert hand.places() == {job: ("ready", 0, 0)}
    assert hand.sql("SELECT seq, job, queue, priority FROM pgjobq.ready") == [(job, job, "default", 0)]
    assert hand.lanes() == [("default", 0)]


def test_every_parameter(hand: Hand) -> None:
    given = {
        "args": {"order_id": 7, "note": "ü 🐘 'quoted' \\ %s $1"},
        "queue": "mail",
        "priority": -9,
        "ref": "order:7",
        "tags": ["a", 'b"c', "d,e", "{}"],
        "max_attempts": 3,
        "headers": {"trace": "x"},
    }
    job = hand.enqueue("send", **given)
    assert hand.value(FACTS, job) == {"task": "send", **given}
    assert hand.lanes() == [("mail", -9)]


@pytest.mark.parametrize("way", ["enqueue", "enqueue_many"])
@pytest.mark.parametrize(
    ("when", "place", "due"),
    [
        ({"delay": "90 seconds"}, "scheduled", "2030-01-01 12:01:30+00"),
        ({"delay": "0"}, "ready", None),
        ({"delay": "-1 hour"}, "ready", None),
        ({"run_at": "2030-01-01 12:00:00.000001+00"}, "scheduled", "2030-01-01 12:00:00.000001+00"),
        ({"run_at": "2030-01-01 13:00:00+01"}, "ready", None),
        ({"run_at": "2029-12-31 00:00:00+00"}, "ready", None),
        ({"run_at": "2030-01-02 00:00:00+14"}, "ready", None),
        ({}, "ready", None),
    ],
    ids=str,
)
def test_when(hand: Hand, way: str, when: dict[str, str], place: str, due: str | None) -> None:
    hand.set_now("2030-01-01 12:00:00+00")
    job = hand.enqueue("send", **when) if way == "enqueue" else hand.enqueue_many([{"task": "send", **when}])[0]
    assert hand.places() == {job: (place, 0, 0)}
    assert hand.value("SELECT created_at = '2030-01-01 12:00:00+00' FROM pgjobq.job")
    if due:
        assert hand.value("SELECT run_at = $1::text::timestamptz FROM pgjobq.scheduled", due)


REFUSED: list[tuple[str, Any, str]] = [
    ("priority", 10, "priority is 10: wants a whole number from -9"),
    ("priority", -10, "priority is -10: wants a whole number from -9"),
    ("max_attempts", 0, "max_attempts is 0: wants a whole number from 1 to 32767"),
    ("queue", "", "queue has 0 characters: wants 1 to 255"),
    ("queue", "q" * 256, "queue has 256 characters: wants 1 to 255"),
    ("task", "", "task has 0 characters: wants 1 to 255"),
    ("task", "t" * 256, "task has 256 characters: wants 1 to 255"),
    ("task", None, 'null value in column "task"'),
    ("ref", "", "ref has 0 characters: wants 1 to 255"),
    ("ref", "r" * 256, "ref has 256 characters: wants 1 to 255"),
    ("args", [1], "args is a JSON array: wants an object"),
    ("args", "text", "args is a JSON string: wants an object"),
    ("headers", [1], "headers is a JSON array: wants an object"),
    ("max_attempts", 40_000, "out of range|max_attempts is 40000"),
    ("delay", "soon", "invalid input syntax for type interval"),
    ("run_at", "tomorrow-ish", "invalid input syntax for type timestamp"),
]


@pytest.mark.parametrize("way", ["enqueue", "enqueue_many"])
@pytest.mark.parametrize(("name", "value", "says"), REFUSED, ids=lambda value: str(value)[:20])
def test_refused_with_words_worth_reading(hand: Hand, way: str, name: str, value: Any, says: str) -> None:
    wanted = {"task": "send", name: value}
    with pytest.raises(psycopg.Error, match=says):
        if way == "enqueue_many":
            hand.enqueue_many([{"task": "good"}, wanted])
        else:
            if name in ("args", "headers"):
                wanted[name] = json.dumps(value)
            hand.enqueue(**wanted)
    assert hand.places() == {}


def test_labels_of_255_characters_of_any_kind(hand: Hand) -> None:
    job = hand.enqueue("🐘" * 255, queue="ü" * 255, ref="€" * 255)
    assert hand.claim_one().job == job


def test_arguments_named_like_columns_do_not_confuse_the_function(hand: Hand) -> None:
    job = hand.enqueue("enqueue", queue="queue", ref="job", tags=["tags"], args={"task": "job", "queue": 1})
    lease = hand.claim_one()
    assert (lease.job, lease.task, lease.queue, lease.ref, lease.tags) == (job, "enqueue", "queue", "job", ["tags"])


# --- many ------------------------------------------------------------------------------------------------


def test_many_in_order(hand: Hand) -> None:
    jobs = [
        {
            "task": f"t{number}",
            "delay": "1 hour" if number % 3 == 0 else None,
            "priority": number % 5 - 2,
            "queue": f"q{number % 2}",
        }
        for number in range(100)
    ]
    ids = hand.enqueue_many(jobs)
    assert ids == sorted(ids)
    asked = hand.sql("SELECT id, task, priority, queue FROM pgjobq.job ORDER BY id")
    assert [row[0] for row in asked] == ids
    assert [row[1:] for row in asked] == [(job["task"], job["priority"], job["queue"]) for job in jobs]
    assert {job for job, place in hand.places().items() if place[0] == "scheduled"} == set(ids[::3])
    assert sorted(hand.lanes()) == sorted({(job["queue"], job["priority"]) for job in jobs if job["delay"] is None})


def test_many_takes_every_key_and_the_same_defaults(hand: Hand) -> None:
    full = {
        "task": "a",
        "args": {"x": 1},
        "queue": "mail",
        "priority": 3,
        "max_attempts": 2,
        "ref": "r",
        "tags": ["t", 'u"v'],
        "headers": {"h": "1"},
    }
    first, second = hand.enqueue_many([full, {"task": "send"}])
    assert hand.value(FACTS, first) == full
    assert hand.value(FACTS, second) == DEFAULTS


def test_many_of_none(hand: Hand) -> None:
    assert hand.enqueue_many([]) == []
    assert hand.sql("SELECT * FROM pgjobq.enqueue_many(NULL)") == []
    assert hand.places() == {}


def test_many_at_once(hand: Hand) -> None:
    ids = hand.enqueue_many([{"task": "send", "args": {"n": n}} for n in range(10_000)])
    assert len(set(ids)) == 10_000
    wrong = hand.value(
        "SELECT count(*) FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, n) JOIN pgjobq.job j USING (id)"
        " WHERE (j.args->>'n')::int <> u.n - 1",
        ids,
    )
    assert wrong == 0
    assert hand.value("SELECT count(*) FROM pgjobq.ready") == 10_000


@pytest.mark.parametrize("wrong", ['{"task": "send"}', '"send"', "[1]", "[[]]", '["send"]'])
def test_many_wants_an_array_of_objects(hand: Hand, wrong: str) -> None:
    with pytest.raises(psycopg.Error, match=r"non-array|array of objects|non-object"):
        hand.sql("SELECT * FROM pgjobq.enqueue_many($1)", wrong)
    assert hand.places() == {}


@pytest.mark.parametrize("key", ["prioritty", "at", "Task", "", "uniqe"])
def test_a_key_that_nobody_reads_is_refused(hand: Hand, key: str) -> None:
    """A slip of the pen must not become a job without its delay."""
    with pytest.raises(psycopg.errors.CheckViolation, match=f"no key '{key}' for a job: there are task, args, queue"):
        hand.enqueue_many([{"task": "good"}, {"task": "send", key: None}])
    assert hand.places() == {}


# --- many that are alike ---------------------------------------------------------------------------------


def _alike(hand: Hand, args: list[object], **given: object) -> list[int]:
    return _lines(hand, "\n".join(map(json.dumps, args)), **given)


def _lines(hand: Hand, lines: str, **given: object) -> list[int]:
    said = "".join(f", {name} => ${number}" for number, name in enumerate(given, 2))
    ids: list[int] = hand.value(f"SELECT pgjobq.enqueue_alike('send', $1{said})", lines, *given.values())
    return ids


def test_alike_in_order_with_the_same_defaults(hand: Hand) -> None:
    ids = _alike(hand, [{"n": n} for n in range(2_500)])
    assert ids == sorted(set(ids))
    stored = hand.sql("SELECT id, (args->>'n')::int FROM pgjobq.job ORDER BY id")
    assert stored == [(job, n) for n, job in enumerate(ids)]
    assert hand.value(FACTS, ids[7]) == {**DEFAULTS, "args": {"n": 7}}
    assert hand.value("SELECT count(*) FROM pgjobq.ready WHERE seq = job AND queue = 'default'") == 2_500
    assert hand.lanes() == [("default", 0)]


def test_alike_takes_queue_priority_and_attempts(hand: Hand) -> None:
    (job,) = _alike(hand, [{}], queue="mail", priority=-3, max_attempts=2)
    assert hand.value(FACTS, job) == {**DEFAULTS, "queue": "mail", "priority": -3, "max_attempts": 2}
    assert hand.lanes() == [("mail", -3)]
    assert hand.claim_one().job == job


@pytest.mark.parametrize(
    ("args", "given", "says"),
    [
        ([{}, [1]], {}, "line 2 of args is a JSON array: wants an object"),
        ([{}, {}, None], {}, "line 3 of args is a JSON null: wants an object"),
        ([[{}, {}]], {}, "line 1 of args is a JSON array: wants an object"),
        (["text"], {}, "line 1 of args is a JSON string: wants an object"),
        ([{}], {"priority": 10}, "priority is 10"),
        ([{}], {"queue": ""}, "queue has 0 characters"),
        ([{}], {"max_attempts": 0}, "max_attempts is 0"),
        ([{}], {"queue": None}, 'null value in column "queue"'),
    ],
    ids=str,
)
def test_alike_refuses_all_or_nothing(hand: Hand, args: list[object], given: dict[str, object], says: str) -> None:
    with pytest.raises(psycopg.Error, match=says):
        _alike(hand, args, **given)
    assert hand.places() == {}


@pytest.mark.parametrize("lines", ["", None])
def test_alike_of_none(hand: Hand, lines: str | None) -> None:
    assert _lines(hand, lines) == []  # type: ignore[arg-type]
    assert hand.lanes() == []


def test_alike_reads_json_lines(hand: Hand) -> None:
    """Space before an object, the last line ended or not; what stands in a text stands there escaped."""
    ids = _lines(hand, '{"n": 1}\n  {"n": "a\\nb"}\n\t{"n": null}\r\n{}\n')
    stored = dict(hand.sql("SELECT id, args FROM pgjobq.job"))
    assert [stored[job] for job in ids] == [{"n": 1}, {"n": "a\nb"}, {"n": None}, {}]


@pytest.mark.parametrize("lines", ["{}\n\n{}", "{}\n{", '{"n":\n1}', "{} {}", "{}\n\n"])
def test_alike_refuses_what_is_not_an_object_a_line(hand: Hand, lines: str) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="invalid input syntax for type json"):
        _lines(hand, lines)
    assert hand.places() == {}


# --- all or nothing --------------------------------------------------------------------------------------


def test_a_job_is_all_or_nothing_with_its_neighbours(hand: Hand) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        hand.enqueue_many([{"task": "a"}, {"task": "b", "priority": 10}, {"task": "c"}])
    assert hand.places() == {}


# --- inside transactions ---------------------------------------------------------------------------------


def test_from_a_trigger(hand: Hand) -> None:
    """The outbox that nobody can forget: the row and its job commit together or not at all."""
    hand.sql("CREATE TABLE orders (id int PRIMARY KEY)")
    hand.sql(
        """CREATE FUNCTION on_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               PERFORM pgjobq.enqueue('send', jsonb_build_object('order_id', NEW.id), ref => 'order:' || NEW.id);
               RETURN NULL;
           END $$"""
    )
    hand.sql("CREATE TRIGGER on_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION on_order()")
    with pytest.raises(ZeroDivisionError), hand.conn.transaction():
        hand.sql("INSERT INTO orders VALUES (1)")
        assert hand.value("SELECT count(*) FROM pgjobq.job") == 1
        raise ZeroDivisionError
    with hand.conn.transaction():
        hand.sql("INSERT INTO orders VALUES (2), (3)")
    refs = hand.sql("SELECT ref, args FROM pgjobq.job ORDER BY ref")
    assert refs == [("order:2", {"order_id": 2}), ("order:3", {"order_id": 3})]
    assert len(hand.claim()) == 2


def test_a_job_is_enqueued_and_cancelled_in_one_transaction(hand: Hand) -> None:
    with hand.conn.transaction():
        job = hand.enqueue()
        assert hand.cancel(job)
        assert not hand.cancel(job)
        assert hand.retry(job)
        assert not hand.retry(job)
    assert hand.places() == {job: ("ready", 0, 0)}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_in_stricter_transactions(hands: Callable[..., Hand], level: str) -> None:
    one, other = hands(), hands()
    other.enqueue()
    one.sql(f"BEGIN ISOLATION LEVEL {level}")
    job = one.enqueue(queue="new")
    other.enqueue(queue="new")
    one.sql("COMMIT")
    assert one.place(job) == ("ready", 0, 0)
    assert len(other.claim()) == 3


# --- waking ----------------------------------------------------------------------------------------------


def _heard(dsn: str, channel: str, hand: Hand, action: Callable[[], Any]) -> list[str]:
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute(f'LISTEN "{channel}"')
        action()
        hand.sql(f"""NOTIFY "{channel}", 'end'""")
        heard = []
        for notify in listener.notifies(timeout=20):
            if notify.payload == "end":
                return heard
            heard.append(notify.payload)
    raise AssertionError("the end was not heard")


@pytest.mark.parametrize("way", ["enqueue", "enqueue_many", "enqueue_alike"])
def test_notifies_only_while_somebody_may_be_asleep(dsn: str, hand: Hand, way: str) -> None:
    def enqueue() -> None:
        if way == "enqueue":
            hand.enqueue(queue="mail")
        elif way == "enqueue_alike":
            _alike(hand, [{}, {}], queue="mail")
        else:
            hand.enqueue_many([{"task": "send", "queue": "mail"}] * 3)

    assert _heard(dsn, "pgjobq", hand, enqueue) == []
    hand.say("doze", 60_000)
    assert _heard(dsn, "pgjobq", hand, enqueue) == ["mail"]
    hand.sql("SELECT setval('pgjobq.idle_until', 1)")
    assert _heard(dsn, "pgjobq", hand, enqueue) == []


@pytest.mark.parametrize("way", ["enqueue", "enqueue_many"])
def test_tells_upkeep_only_of_jobs_due_before_it_looks_again(dsn: str, hand: Hand, way: str) -> None:
    def enqueue(delay: str) -> Callable[[], object]:
        one = {"task": "send", "delay": delay}
        return lambda: hand.enqueue(**one) if way == "enqueue" else hand.enqueue_many([one, one])  # type: ignore[arg-type]

    hand.say("next_due", 60.0)
    assert _heard(dsn, "pgjobq:due", hand, enqueue("2 hours")) == []
    assert _heard(dsn, "pgjobq:due", hand, enqueue("5 seconds")) == [""]


# --- the xid before the number ---------------------------------------------------------------------------

WAYS = {
    "enqueue": "SELECT pgjobq.enqueue('send')",
    "enqueue_many": """SELECT * FROM pgjobq.enqueue_many('[{"task": "send"}]')""",
    "enqueue_alike": "SELECT pgjobq.enqueue_alike('send', '{}')",
}


@pytest.mark.parametrize("way", WAYS)
def test_the_transaction_has_its_xid_before_the_job_its_number(hand: Hand, way: str) -> None:
    """Claim cursors rest on it. A sequence gives out an xid itself at every 33rd number only, hence several calls."""
    hand.sql(
        """CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               ASSERT pg_current_xact_id_if_assigned() IS NOT NULL, 'a number without an xid';
               RETURN NEW;
           END $$"""
    )
    for table in ("job", "ready", "lane"):  # one of them is written first
        hand.sql(f"CREATE TRIGGER late BEFORE INSERT ON pgjobq.{table} FOR EACH ROW EXECUTE FUNCTION late()")
    for _ in range(5):
        hand.sql(WAYS[way])
    assert len(hand.places()) == 5


# --- numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**31 - 2, 2**31 + 5, 2**53 - 1, 2**53 + 1, 2**62])
def test_ids_past_every_smaller_type(hand: Hand, number: int) -> None:
    """32-bit ids, and doubles that cannot tell 2^53 from its neighbour, have stopped other queues."""
    hand.sql("SELECT setval('pgjobq.job_id_seq', $1)", number)
    one = hand.enqueue()
    two, three = hand.enqueue_many([{"task": "send"}, {"task": "send", "delay": "-1"}])
    assert (one, two, three) == (number + 1, number + 2, number + 3)
    leases = hand.claim()
    assert [(lease.job, lease.seq) for lease in leases] == [(number + n, number + n) for n in (1, 2, 3)]
    assert hand.complete(leases[0]) == [one]
    assert hand.settle_as("again", leases[1]) == [(two, True)]
    assert hand.settle_as("f", leases[2], kind="E", message="m") == [(three, True)]
    assert hand.retry(three)
    assert [lease.job for lease in hand.claim()] == [two, three]
    assert hand.cancel(one) is False


def test_ids_and_sequences_are_bigint(hand: Hand) -> None:
    """Those of identity columns too, which information_schema.sequences leaves out."""
    hand.sql("SELECT pgjobq.limit_queue('mail', 5)")
    small = """SELECT c.relname FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
               WHERE c.relnamespace = 'pgjobq'::regnamespace AND s.seqtypid <> 'bigint'::regtype"""
    assert hand.sql(small) == []
    columns = hand.sql(
        "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_schema = 'pgjobq'"
        " AND (column_name IN ('job', 'seq') OR (table_name, column_name) IN (('job', 'id'), ('jobs', 'id')))"
    )
    assert columns == [("bigint",)]

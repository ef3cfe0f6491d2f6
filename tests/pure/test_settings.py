"""Settings: one table drives flags, variables, help, parsing and checking."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.errors import AppNotFound, ConfigError
from pgjobq.settings import SETTINGS, WorkerSettings, parse_duration, show_duration
from pgjobq.settings.arguments import read_worker_arguments, worker_parser
from pgjobq.settings.kinds import Switch
from pgjobq.settings.worker import default_of

BY_NAME = {setting.name: setting for setting in SETTINGS}
# Values that are right in themselves, for the settings that need another one beside them.
COMPANIONS = {"max_jobs": {"drain": "yes"}, "max_seconds": {"drain": "yes"}}


def resolve(flags: Mapping[str, str | None] | None = None, **environ: str) -> WorkerSettings:
    return WorkerSettings.resolve(flags or {}, environ)


def refusal(flags: Mapping[str, str | None] | None = None, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(flags, **environ)
    return str(caught.value)


# --- the table -------------------------------------------------------------------------------------------


def test_every_field_has_its_entry() -> None:
    assert [field.name for field in dataclasses.fields(WorkerSettings)] != []
    assert {field.name for field in dataclasses.fields(WorkerSettings)} == set(BY_NAME)


def test_the_defaults_are_lawful() -> None:
    assert resolve() == WorkerSettings()
    for setting in SETTINGS:
        setting.kind.check(default_of(setting))


@pytest.mark.parametrize("name", BY_NAME)
def test_the_example_can_be_read_and_so_can_what_help_shows(name: str) -> None:
    setting = BY_NAME[name]
    value = setting.read(setting.example, setting.flag)
    companions = COMPANIONS.get(name, {})
    assert getattr(resolve({name: setting.example, **companions}), name) == value
    assert setting.kind.parse(setting.kind.show(value)) == value


@pytest.mark.parametrize("name", BY_NAME)
def test_flag_before_variable_before_default(name: str) -> None:
    setting = BY_NAME[name]
    others = {
        "queues": ("a,b", "c"),
        "max_memory": ("1GB", "256MB"),
        "drain": ("true", "false"),
        "poll_only": ("true", "false"),
        "log_format": ("json", "text"),
        "log_level": ("error", "debug"),
    }
    first, second = others.get(name, ("4", "3"))
    companions = COMPANIONS.get(name, {}) | ({"lease": "100"} if name == "heartbeat" else {})
    companions |= {"heartbeat": "1"} if name == "lease" else {}
    by_flag = resolve({name: first, **companions}, **{setting.variable: second})
    by_variable = resolve({name: None, **companions}, **{setting.variable: second})
    assert getattr(by_flag, name) == setting.kind.parse(first)
    assert getattr(by_variable, name) == setting.kind.parse(second)
    assert getattr(resolve(companions), name) == default_of(setting)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert resolve(PGJOBQ_QUEUES="", PGJOBQ_LEASE="  ", PGJOBQ_DRAIN="") == WorkerSettings()


def test_everything_at_once() -> None:
    found = resolve(
        {"queues": " mail, default ,mail", "lease": "1m", "heartbeat": "250ms", "keep_failed": "forever"},
        PGJOBQ_DRAIN="on",
        PGJOBQ_MAX_JOBS="10_000",
        PGJOBQ_MAX_SECONDS="1h",
        PGJOBQ_KEEP_SUCCEEDED="12h",
        PGJOBQ_LOG_LEVEL="WARNING",
    )
    assert found == WorkerSettings(
        queues=("mail", "default"),
        lease=60.0,
        heartbeat=0.25,
        drain=True,
        max_jobs=10_000,
        max_seconds=3600.0,
        keep_succeeded=0.5,
        keep_failed=None,
        log_level="warning",
    )


# --- refusals --------------------------------------------------------------------------------------------

BAD = [
    ("queues", "mail,,default"),
    ("queues", ","),
    ("queues", "x" * 256),
    ("queues", "a\0b"),
    ("concurrency", "0"),
    ("concurrency", "10001"),
    ("concurrency", "1.5"),
    ("concurrency", "ten"),
    ("concurrency", "９"),
    ("processes", "257"),
    ("processes", "-1"),
    ("poll_interval", "0"),
    ("poll_interval", "1h1s"),
    ("poll_interval", "2h"),
    ("lease", "999ms"),
    ("lease", "soon"),
    ("lease", "nan"),
    ("lease", "inf"),
    ("lease", "1e3"),
    ("heartbeat", "10ms"),
    ("grace", "-1"),
    ("grace", "25h"),
    ("drain", "maybe"),
    ("max_jobs", "0"),
    ("max_seconds", "31d"),
    ("poll_only", "2"),
    ("keep_succeeded", "36501"),
    ("keep_failed", "always"),
    ("log_format", "xml"),
    ("log_level", "loud"),
]


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_refused_wherever_it_comes_from(name: str, text: str) -> None:
    setting = BY_NAME[name]
    companions = COMPANIONS.get(name, {})
    by_flag, by_variable = (
        refusal({name: text, **companions}),
        refusal(companions, **{setting.variable: text}),
    )
    example = setting.flag if isinstance(setting.kind, Switch) else f"{setting.flag} {setting.example}"
    assert by_flag.startswith(f"{setting.flag}: ")
    assert by_flag.endswith(f"for example {example}")
    assert by_variable.startswith(f"{setting.variable}: ")
    assert by_variable.endswith(f"for example {setting.variable}={setting.example}")
    for sentence in (by_flag, by_variable):
        assert text[:20] in sentence or repr(text)[1:20] in sentence
        assert f"it takes {setting.kind.range}" in sentence
        assert "\n" not in sentence


def test_an_empty_flag_is_an_error() -> None:
    assert refusal({"concurrency": ""}).startswith("--concurrency: '' is not a whole number")
    assert refusal({"queues": ""}).startswith("--queues: '' has an empty name in it")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"concurrency": True}, "concurrency: True is not a whole number"),
        ({"concurrency": 1.0}, "concurrency: 1.0 is not a whole number"),
        ({"lease": float("nan")}, "lease: nan is not a duration"),
        ({"lease": None}, "lease: None is not a duration"),
        ({"queues": "mail"}, "queues: 'mail' is not a tuple of names"),
        ({"drain": 1}, "drain: 1 is neither True nor False"),
        ({"log_format": "xml"}, "log_format: 'xml' is not known"),
    ],
)
def test_what_is_built_by_hand_is_checked_as_well(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WorkerSettings(**values)  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)


def test_the_heartbeat_stays_below_half_the_lease() -> None:
    sentence = refusal({"lease": "10s"})
    assert "heartbeat of 5s (from the default)" in sentence
    assert "lease of 10s (from --lease)" in sentence
    cure = sentence.rpartition("--heartbeat ")[2]
    assert resolve({"lease": "10s", "heartbeat": cure}).lease == 10
    assert "(from PGJOBQ_HEARTBEAT)" in refusal(PGJOBQ_HEARTBEAT="15")
    assert resolve(PGJOBQ_HEARTBEAT="14.9").heartbeat == 14.9


@pytest.mark.parametrize("name", ["max_jobs", "max_seconds"])
def test_limits_of_a_drain_need_drain(name: str) -> None:
    setting = BY_NAME[name]
    assert refusal({name: "5"}).startswith(f"{setting.flag}: ")
    assert refusal(**{setting.variable: "5"}).startswith(f"{setting.variable}: ")
    assert "without --drain" in refusal({name: "5", "drain": "no"}, PGJOBQ_DRAIN="1")
    assert getattr(resolve({name: "5", "drain": "yes"}), name) == 5


# --- durations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("7d", 604_800),
        ("250ms", 0.25),
        (" .5 S ", 0.5),
        ("0", 0),
    ],
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.one_of(st.integers(0, 10**7), st.integers(0, 10**7).map(lambda ms: ms / 1000)))
def test_a_duration_shown_is_the_duration_read(seconds: float) -> None:
    assert parse_duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for setting in SETTINGS:
        try:
            setting.read(text, setting.variable)
        except ConfigError as error:
            assert str(error).startswith(setting.variable)


# --- the command line ------------------------------------------------------------------------------------


def test_the_whole_command_line() -> None:
    argv = [
        "shop.jobs:queue",
        "--queues",
        "mail",
        "--drain",
        "--max-jobs=5",
        "--dsn",
        "dbname=x",
        "--schema",
        "s",
    ]
    found = read_worker_arguments(argv, {"PGJOBQ_MAX_JOBS": "7", "PGJOBQ_SCHEMA": "t"})
    assert (found.app, found.dsn, found.schema) == ("shop.jobs:queue", "dbname=x", "s")
    assert found.settings == WorkerSettings(queues=("mail",), drain=True, max_jobs=5)


def test_the_environment_is_enough() -> None:
    found = read_worker_arguments([], {"PGJOBQ_APP": "a:b", "PGJOBQ_SCHEMA": "t", "PGJOBQ_PROCESSES": "2"})
    assert (found.app, found.dsn, found.schema, found.settings.processes) == ("a:b", None, "t", 2)


def test_a_switch_can_be_switched_off_again() -> None:
    assert not read_worker_arguments(["a:b", "--no-drain"], {"PGJOBQ_DRAIN": "1"}).settings.drain
    assert not read_worker_arguments(["a:b", "--no-poll-only"], {"PGJOBQ_POLL_ONLY": "1"}).settings.poll_only


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["a:b", "--concurency", "5"], r"unknown flag '--concurency'. Did you mean '--concurrency'"),
        (["a:b", "--conc=5"], "unknown flag '--conc'"),
        (["a:b", "c:d"], "one argument too many: 'c:d'"),
        (["a:b", "--lease"], "--lease: expected one argument"),
        (["a:b", "--schema", "Shop"], "schema name 'Shop' cannot be used"),
    ],
)
def test_a_command_line_that_cannot_be_read(argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_worker_arguments(argv, {})
    assert said in str(caught.value)


def test_no_app() -> None:
    with pytest.raises(AppNotFound, match=r"for example pgjobq worker shop\.jobs:queue, or set PGJOBQ_APP"):
        read_worker_arguments(["--drain"], {})


def test_help_tells_every_flag_its_variable_and_its_default() -> None:
    text = worker_parser().format_help()
    flat = " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    for setting in SETTINGS:
        shown = setting.kind.show(default_of(setting))
        assert f"{setting.help} (default: {shown}) [{setting.variable}]" in flat
        assert f"  {setting.flag}" in text
    for word in ("exit codes:", "signals:", "examples:", "SIGTERM", "PGJOBQ_APP", "--dsn", "--schema"):
        assert word in text


@pytest.mark.parametrize("prog", ["pgjobq worker", "python -m pgjobq.worker"])
def test_the_examples_in_the_help_are_right(prog: str) -> None:
    text = worker_parser(prog).format_help()
    assert max(map(len, text.splitlines())) <= 80
    lines = text.partition("examples:\n")[2].splitlines()
    commands = [line.partition(f"{prog} ")[2].split() for line in lines if line.strip()]
    assert len(commands) == 2
    for argv in commands:
        assert read_worker_arguments(argv, {"PGJOBQ_LEASE": "1m"}).app == "shop.jobs:queue"

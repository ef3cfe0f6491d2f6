"""Through a real worker: spans and errors of every process arrive, also from exporters that gather before they send."""

from __future__ import annotations

from worker.stage import Stage


def test_what_was_gathered_is_sent_before_a_process_ends(stage: Stage) -> None:
    job = stage.enqueue("outer", ref="order:7")
    crashed = stage.enqueue("crash", max_attempts=1)
    worker = stage.drain(app="apps.told:queue")
    spans = {(mark["name"].split()[0], mark["task"]): mark for mark in stage.marks("span")}
    assert set(spans) == {("process", "outer"), ("send", "inner"), ("process", "inner")}, worker.text
    assert spans["process", "inner"]["link"] == spans["send", "inner"]["id"]
    assert spans["process", "outer"]["link"] is None, "it was enqueued by SQL"
    assert spans["process", "inner"]["pid"] != spans["process", "outer"]["pid"]
    events = {mark["event"]["transaction"]: mark["event"] for mark in stage.marks("sentry")}
    assert set(events) == {"inner", "crash"}, worker.text
    assert events["crash"]["contexts"]["job"]["id"] == crashed
    assert "exit code 7" in events["crash"]["message"]
    assert events["inner"]["contexts"]["job"]["id"] > job
    (raised,) = events["inner"]["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("PermissionError", "[secret] is wrong")
    assert "hunter2" not in str(events)

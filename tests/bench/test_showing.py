"""Tables, plots, the page and the command line: from figures that are made up."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from bench.__main__ import keep, main
from bench.page import BEGIN, END, SIZING, fill_page, fill_sizing, render_markdown
from bench.plots import PLOTS, Bar, draw_bars, write_plots
from bench.results import METRICS, Results
from bench.steps import STEPS, choose_steps
from bench.table import TABLES, WIDTH, render

from bench import systems

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def results() -> Results:
    """Every metric of every system, as large as figures get."""
    machine = {"processor": "A <processor>", "cores": 2, "memory_gb": 24, "kernel": "Linux 6", "python": "3.11"}
    server = {"server_version": "18.6", "fsync": "on", "synchronous_commit": "on", "shared_buffers": "1GB"}
    full = Results(machine, server, {"date": "2026-11-23", "sizes": {}})
    for system in systems.ALL:
        full.systems[system.name] = {"version": system.version, "settings": system.settings}
        for name, metric in METRICS.items():
            for sample in (99.0, 101.0):
                full.add(name, system.name, sample * (4_731 if metric.unit == "/s" else 1))
    full.troubles.append(("oban", "install", "needs Python 3.12 or newer, and there is none on PATH"))
    return full


def test_every_metric_has_a_place_in_exactly_one_table() -> None:
    shown = [name for _, metrics, _ in TABLES for name in metrics]
    assert sorted(shown) == sorted(METRICS)


def test_every_metric_belongs_to_a_step() -> None:
    letters = {letter for step in STEPS for letter in step.letters}
    assert {metric.step for metric in METRICS.values()} == letters == set("abcdefghijklmnop")


def test_the_tables_fit_the_terminal(results: Results) -> None:
    text = render(results)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "473,100 (1.00)" in text
    assert "oban (install): needs Python 3.12" in text


def test_a_figure_that_is_missing_shows_as_missing(results: Results) -> None:
    del results.figures["one", "pgqueuer"]
    line = next(line for line in render(results).splitlines() if line.startswith("pgqueuer"))
    assert line.split()[1] == "–"


def test_without_the_floor_there_are_figures_but_no_ratios(results: Results) -> None:
    for name in METRICS:
        del results.figures[name, "raw"]
    assert "473,100" in render(results)
    assert "(1.00)" not in render(results)


def test_the_plots_are_svg_that_can_be_read_on_light_and_dark(results: Results, tmp_path: Path) -> None:
    written = write_plots(results, tmp_path)
    assert written == [f"{name}.svg" for name in PLOTS]
    for name in written:
        root = ET.parse(tmp_path / name).getroot()
        assert root.tag == f"{SVG}svg"
        assert root.get("aria-label")
        _, _, width, height = map(float, root.get("viewBox").split())
        for bar in root.iter(f"{SVG}rect"):
            assert float(bar.get("x")) + float(bar.get("width")) <= width
            assert float(bar.get("y")) + float(bar.get("height")) <= height
        assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text


def test_a_plot_is_to_scale_and_its_words_are_escaped() -> None:
    root = ET.fromstring(draw_bars('a <b> & "c"', [("pgjobq", [Bar(200, "200")]), ("raw", [Bar(100, "<100>", 1)])]))
    wide, narrow = (float(bar.get("width")) for bar in root.iter(f"{SVG}rect") if "key" not in bar.get("class"))
    assert wide == pytest.approx(2 * narrow, abs=0.1)
    assert root.get("aria-label") == 'a <b> & "c"'


def test_bars_that_stand_together_have_a_legend_in_their_order(results: Results, tmp_path: Path) -> None:
    write_plots(results, tmp_path)
    for name, (_, metrics) in PLOTS.items():
        root = ET.parse(tmp_path / f"{name}.svg").getroot()
        keys = [shape.get("class") for shape in root.iter(f"{SVG}rect") if shape.get("class").startswith("key")]
        wanted = [f"key bar{position}" for position in range(len(metrics))] if len(metrics) > 1 else []
        assert sorted(keys) == wanted
        words = {text.text for text in root.iter(f"{SVG}text")}
        assert len(metrics) == 1 or set(metrics.values()) <= words


def test_rates_of_fewer_jobs_are_told(results: Results) -> None:
    results.figures["drain1", "raw"].jobs = 100_000
    results.figures["drain1", "procrastinate"].jobs = 1_500
    assert results.reduced() == {"procrastinate": [("drain 1", 1_500)]}
    assert "procrastinate: drain 1 1,500" in render(results)
    assert "- procrastinate: drain 1 1,500" in render_markdown(results, [])


def test_what_a_job_costs_is_told_from_our_own_figures(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(f"# Words\n\n{SIZING[0]}\nstale words\n{SIZING[1]}\n\nmore words\n")
    fill_sizing(results, page)
    text = page.read_text()
    assert "| 1,000 jobs/s, run | database CPU, % of a core | 10.0 |" in text  # 100 µs a job
    assert "| 1,000,000 finished jobs kept | disk, MB | 100 |" in text  # 100 bytes a job
    assert "stale words" not in text
    del results.figures["rss", "pgjobq"]
    fill_sizing(results, page)
    assert "memory" not in page.read_text()


def test_figures_of_an_interrupted_run_do_not_get_into_the_docs(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    before = page.read_text()
    results.interrupted = True
    keep(results, tmp_path, True)
    assert page.read_text() == before
    assert (tmp_path / "results.json").exists()
    assert "not complete" in capsys.readouterr().out


def test_a_plot_of_nothing_is_not_written(results: Results, tmp_path: Path) -> None:
    results.figures.clear()
    assert write_plots(results, tmp_path) == []


def test_the_page_keeps_its_words_and_gets_new_figures(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Words\n\n{BEGIN}\nstale words\n{END}\n\nmore words\n")
    fill_page(results, page)
    fill_page(results, page)
    text = page.read_text()
    assert text.startswith("# Words\n")
    assert text.endswith("\n\nmore words\n")
    assert "stale words" not in text
    assert text.count("| pgjobq | 473,100 (1.00) |") == 1
    assert (tmp_path / "plots" / "drain.svg").exists()


def test_the_pages_in_the_repository_have_a_place_for_the_figures() -> None:
    docs = Path(__file__).parents[2] / "docs"
    for name, (begin, end) in {"benchmarks.md": (BEGIN, END), "scaling.md": SIZING}.items():
        text = (docs / name).read_text()
        assert text.index(begin) < text.index(end)


def test_a_page_without_a_place_is_refused(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("words\n")
    with pytest.raises(ValueError, match="no place for the figures"):
        fill_page(results, page)


def test_all_samples_are_kept(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    kept = json.loads((tmp_path / "results.json").read_text())
    drained = next(f for f in kept["figures"] if f["metric"] == "drain1" and f["system"] == "raw")
    assert drained["samples"] == [99 * 4_731, 101 * 4_731]
    assert drained["value"] == 473_100
    assert kept["troubles"][0]["system"] == "oban"


def test_steps_are_chosen_by_letter() -> None:
    assert [step.letters for step in choose_steps("c,a", quick=False)] == ["a", "bcg"]
    assert [step.letters for step in choose_steps(None, quick=True)] == ["a", "bcg", "d", "e", "f", "h"]
    assert choose_steps(None, quick=False) == STEPS


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--only", "z"], "no step 'z': there are a,b,c"), (["--systems", "raw,sidekiq"], "no system 'sidekiq'")],
)
def test_what_does_not_exist_is_named(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert told in capsys.readouterr().err

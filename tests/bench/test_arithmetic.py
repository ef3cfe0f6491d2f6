"""Percentiles, medians and ratios of the benchmark."""

from __future__ import annotations

import statistics

import pytest
from bench.arithmetic import median, percentile, ratio
from bench.steps.base import cut
from hypothesis import given
from hypothesis import strategies as st

FIGURES = st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=60)


@pytest.mark.parametrize(("percent", "wanted"), [(0, 1), (50, 5), (90, 9), (95, 10), (99, 10), (100, 10)])
def test_a_percentile_is_the_nearest_rank(percent: float, wanted: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == wanted


@given(FIGURES, st.floats(0, 100))
def test_a_percentile_is_a_sample_that_enough_others_do_not_exceed(samples: list[float], percent: float) -> None:
    found = percentile(samples, percent)
    assert found in samples
    assert sum(sample <= found for sample in samples) / len(samples) >= percent / 100 - 1e-9


@given(FIGURES)
def test_the_median_is_that_of_the_standard_library(samples: list[float]) -> None:
    assert median(samples) == pytest.approx(statistics.median(samples))


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_percentile_out_of_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="wants 0 to 100"):
        percentile([1.0], percent)


@pytest.mark.parametrize("function", [lambda: percentile([], 50), lambda: median([])])
def test_nothing_measured_has_no_middle(function) -> None:
    with pytest.raises(ValueError, match="measure something first"):
        function()


@pytest.mark.parametrize(
    ("figure", "floor", "wanted"), [(3.0, 2.0, 1.5), (None, 2.0, None), (3.0, None, None), (3.0, 0.0, None)]
)
def test_a_ratio_needs_both_figures(figure: float | None, floor: float | None, wanted: float | None) -> None:
    assert ratio(figure, floor) == wanted


def test_a_slow_system_gets_fewer_jobs_and_a_fast_one_no_more_than_asked() -> None:
    assert cut(100_000, 600, 4) == 2_400
    assert cut(100_000, 60_000, 4) == 100_000
    assert cut(100_000, 1, 1) == 200

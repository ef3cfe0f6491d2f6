"""Metrics: numbers that are counted where things happen, and the text in which Prometheus reads them.

family       one metric with its samples, as a value
tally        what a worker counts; adds up over its processes
gauges       what stands in the database
exposition   families as text
"""

from __future__ import annotations

from pgjobq.metrics.exposition import CONTENT_TYPE, expose
from pgjobq.metrics.family import Family, Sample
from pgjobq.metrics.gauges import Standing, gauges
from pgjobq.metrics.tally import Tally

__all__ = ["CONTENT_TYPE", "Family", "Sample", "Standing", "Tally", "expose", "gauges"]

"""Steps: what a handler has done for good, remembered across attempts.

values    what a step gives as JSON text, and back as the type that its function promises
ledger    what one attempt knows of the steps of its job, and what it may do next
hand      the two shells around that: what `job.step` and `await job.astep` do
"""

from __future__ import annotations

from pgjobq.steps.hand import RAISE, UNSAID, Hand
from pgjobq.steps.ledger import Ledger
from pgjobq.steps.values import LONGEST_NAME, is_name

__all__ = ["LONGEST_NAME", "RAISE", "UNSAID", "Hand", "Ledger", "is_name"]

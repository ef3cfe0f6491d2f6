"""The handlers of `basic`, and a note of each look for jobs and of each ring: which processes a job wakes."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from apps.basic import queue
from apps.trace import note_of_process
from pgjobq.engine.exchange import Exchange
from pgjobq.engine.pump import Pump

__all__ = ["queue"]

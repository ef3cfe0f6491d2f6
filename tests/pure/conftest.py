"""Property tests of the pure rooms: no deadline, because a busy machine is no fault of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("pure", deadline=None, database=None)
settings.load_profile("pure")

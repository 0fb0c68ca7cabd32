"""Identifiers. Each is its own type, so that two integers cannot be swapped unnoticed."""

from typing import NewType

ModelName = NewType("ModelName", str)
"""A key of the catalogue. Never a path, never a hub id."""

RequestId = NewType("RequestId", str)
"""One client request, unique for the life of the gateway."""

SequenceId = NewType("SequenceId", int)
"""One choice of one request inside a worker; unique for the life of that worker."""

TenantId = NewType("TenantId", str)
"""Who is asking: the id of an API key, or `local` when keys are off. Fairness is between tenants."""

SegmentId = NewType("SegmentId", int)
"""A part of a prompt's state that a worker keeps to be read again; unique for the life of that worker."""

BlockName = NewType("BlockName", str)
"""A block of a prompt's state on disk: stands for all that was read up to its end. Safe in a file's name."""

TokenId = int
"""An index into the model's vocabulary."""

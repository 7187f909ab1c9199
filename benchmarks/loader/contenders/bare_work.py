"""What must be done at least: decode and resize the same crops of JPEG in parts, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from work import Work

from contenders import bare_parts

NEEDS = ("simplejpeg", "torch")
FORMAT = "parts"
SETTINGS = "bare_parts, and torch's kernel to resize"
DTYPES = bare_parts.DTYPES


def stream(work: Work) -> Iterator[Any]:
    """Give the lengths of batches without end."""
    torch.set_num_threads(1)
    return bare_parts.stream(work, FORMAT, resized=True)

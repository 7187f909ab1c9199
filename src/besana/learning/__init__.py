"""Learning: embeddings, the probe, the training loop and what it leaves behind."""

from __future__ import annotations

import os

# Threads that wait for each other in turns of microseconds otherwise spin; as soon as anything
# else runs on the machine, training is ten times slower. Has to be said before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

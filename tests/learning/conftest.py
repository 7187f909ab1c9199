"""Training tests run on one thread: their networks are too small to share out."""

import besana.learning  # noqa: F401  # says how threads wait, before torch is loaded

import torch  # isort: skip

torch.set_num_threads(1)

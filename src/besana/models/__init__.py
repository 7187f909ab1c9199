"""Networks with the preprocessing they need; any timm network works without code here.

Nothing heavy is imported until a network is built: `besana.models.network` and
`besana.models.model` import torch.
"""

from __future__ import annotations

import os

# As in `besana.learning`: whichever is imported first comes before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

#: Families of networks: the part of a backbone's name before the slash, and the module whose
#: `create(name, ...)` makes it. A plain name means timm.
MODELS: dict[str, str] = {
    "timm": "besana.models.timm_family",
    "besana": "besana.models.besana_family",
}

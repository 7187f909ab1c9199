"""Networks with the preprocessing they need; any timm network works without code here.

Nothing heavy is imported until a network is built: `besana.models.network` and
`besana.models.model` import torch.
"""

from __future__ import annotations

#: Families of networks: the part of a backbone's name before the slash, and the module whose
#: `create(name, ...)` makes it. A plain name means timm.
MODELS: dict[str, str] = {
    "timm": "besana.models.timm_family",
    "besana": "besana.models.besana_family",
}

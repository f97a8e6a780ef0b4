"""The training methods by name."""

from moda_core.methods.moda import Moda
from moda_core.methods.standard import Standard

Method = Moda | Standard
METHODS: dict[str, type[Moda] | type[Standard]] = {"moda": Moda, "standard": Standard}

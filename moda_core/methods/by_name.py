"""The training methods that are shipped, by name. Importing them loads no torch."""

from moda_core.methods.gradsplitter import GradSplitter
from moda_core.methods.method import Method
from moda_core.methods.moda import Moda
from moda_core.methods.mwt import Mwt
from moda_core.methods.nemo import Nemo
from moda_core.methods.nuwa import Nuwa
from moda_core.methods.standard import Standard

METHODS: dict[str, type[Method]] = {
    "gradsplitter": GradSplitter,
    "moda": Moda,
    "mwt": Mwt,
    "nemo": Nemo,
    "nuwa": Nuwa,
    "standard": Standard,
}

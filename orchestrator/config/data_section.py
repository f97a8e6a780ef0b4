"""The section `data` of the configuration: the images and how they are split."""

from dataclasses import dataclass

from orchestrator.config.checks import check, check_seed, one_of
from orchestrator.declarations import NORMALISATIONS
from orchestrator.errors import ConfigError

DATA_SETS = ("cifar10", "digits", "fashion_mnist", "table")
BACKGROUNDS = ("black", "white")
STATISTICS = "statistics"  # of the training images
LARGEST_SIDE = 4096  # pixels of an image


@dataclass(frozen=True)
class DataConfig:
    """The images and how they are split. See ``sweeps/data``.

    ``normalisation`` says by which constants images are normalised where ``mean`` and ``std`` are not given.
    """

    name: str
    root: str | None = None
    path: str | None = None
    test_path: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    class_names: tuple[str, ...] | None = None
    channels: int = 3
    resize: int | None = None
    background: str = "white"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    normalisation: str = STATISTICS
    download: bool = False
    classes: tuple[str, ...] | None = None
    limit: int | None = None
    test_limit: int | None = None
    validation_fraction: float = 0.2
    crop: int = 0
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("data.name", self.name, DATA_SETS)
        check(
            "data.classes",
            list(self.classes or ()),
            self.classes is None or len(self.classes) > 1,
            "two classes or more",
        )
        check("data.channels", self.channels, self.channels in (1, 3), "1 (grey) or 3 (colour)")
        check("data.limit", self.limit, self.limit is None or self.limit > 0, "a positive number, or null for all")
        check("data.test_limit", self.test_limit, self.test_limit is None or self.test_limit > 0, "positive, or null")
        check("data.validation_fraction", self.validation_fraction, 0 <= self.validation_fraction < 1, "within [0, 1)")
        check("data.crop", self.crop, self.crop >= 0, "at least 0: the padding of the random crop")
        fits = self.resize is None or 0 < self.resize <= LARGEST_SIDE
        check("data.resize", self.resize, fits, f"1 to {LARGEST_SIDE}, or null")
        one_of("data.background", self.background, BACKGROUNDS)
        self._check_normalisation()
        check_seed("data.seed", self.seed, largest=2**32 - 1)  # scikit-learn's splits take no more
        if self.name == "table" and self.path is None:
            raise ConfigError("data.path=null: name the Parquet or Arrow file, folder or pattern, data.path=...")

    @property
    def has_validation(self) -> bool:
        """Whether images are held out, by which something can be chosen; without any all train."""
        return self.validation_fraction > 0

    def _check_normalisation(self) -> None:
        one_of("data.normalisation", self.normalisation, (STATISTICS, *NORMALISATIONS))
        if self.normalisation != STATISTICS and self.mean is not None:
            raise ConfigError(
                f"data.normalisation={self.normalisation} and data.mean={list(self.mean)}: give the one or the other"
            )
        if (self.mean is None) != (self.std is None):
            absent = "data.mean" if self.mean is None else "data.std"
            raise ConfigError(f"{absent}=null: data.mean and data.std go together; set both, or neither")
        if self.mean is not None and self.std is not None:
            each = "one number per channel, of images scaled to [0, 1]; divide values from 0 to 255 by 255"
            right = len(self.mean) > 0 and all(0 <= value <= 1 for value in self.mean)
            check("data.mean", list(self.mean), right, f"within [0, 1], {each}")
            right = len(self.std) > 0 and all(0 < value <= 1 for value in self.std)
            check("data.std", list(self.std), right, f"within (0, 1], {each}")

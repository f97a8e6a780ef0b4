"""The section `data` of the configuration: the images and how they are split."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from orchestrator.config.checks import check, check_seed, one_of
from orchestrator.config.class_list import read_class_list
from orchestrator.declarations import NORMALISATIONS, Key
from orchestrator.errors import ConfigError

DATA_SETS = ("cifar10", "cifar100", "digits", "fashion_mnist", "folder", "mnist", "svhn", "table")
OWN_FILES = ("folder", "table")  # data sets that data.path names, of encoded images
BACKGROUNDS = ("black", "white")
STATISTICS = "statistics"  # of the training images
LARGEST_SIDE = 4096  # that data.resize may ask for, in pixels
STRETCH, CENTRE, RANDOM, RANDOM_RESIZED = FITS = ("stretch", "centre", "random", "random_resized")
REFUSE, SKIP = UNREADABLE = ("refuse", "skip")
AUTO, FILE, MEMORY = PLACES_OF_IMAGES = ("auto", "file", "memory")


@dataclass(frozen=True)
class DataConfig:
    """The images and how they are split. See ``sweeps/data``.

    Attributes:
        test_files: which files of a table are its test images if ``test_path`` names none; null: none of them.
        resize: the side of the square that ``fit`` makes of an image, or the length of its shorter side.
        fit: how an image becomes a square: stretched, or cut in its centre. In training the network may see random
            parts of that square instead.
        image_size: the side of what the network sees of it; null: all of it.
        normalisation: by which constants images are normalised where ``mean`` and ``std`` are not given.
        class_list: a file that names ``classes``, a line for each.
        unreadable: whether images of own files that cannot be read are refused, or counted and left out.
        kept_in: where decoded images are kept: in memory, or in a file that is mapped; auto: in a file if they are
            large for this machine's memory.
    """

    name: Annotated[str, Key("data set", choices=DATA_SETS)]
    root: Annotated[str | None, Key("folder of data sets; null: MODA_DATA_DIR, else the working folder")] = None
    path: Annotated[str | None, Key("own images: a folder, or a file or pattern of tables; under root")] = None
    test_path: Annotated[str | None, Key("own test images; null: of path, else a fifth of all images")] = None
    test_files: Annotated[str | None, Key("pattern of the files of a table that are test images; null: none")] = None
    image_column: Annotated[str, Key("column of a table with the encoded images")] = "image"
    label_column: Annotated[str, Key("column of a table with the labels")] = "label"
    class_names: Annotated[tuple[str, ...] | None, Key("names of numbered labels, in order; null: as stored")] = None
    channels: Annotated[int, Key("channels of own images: 1 (grey) or 3 (colour)", "at least 1, at most 3")] = 3
    resize: Annotated[
        int | None,
        Key(
            "side of an image after resizing, or its shorter side (see fit); null: as stored",
            f"at least 1, at most {LARGEST_SIDE}",
            "pixels",
        ),
    ] = None
    fit: Annotated[str, Key("how an image becomes a square", choices=FITS)] = STRETCH
    image_size: Annotated[
        int | None, Key("side of what the network sees of resize; null: all of it", "at least 1", "pixels")
    ] = None
    background: Annotated[str, Key("what is behind transparent pixels", choices=BACKGROUNDS)] = "white"
    mean: Annotated[
        tuple[float, ...] | None, Key("mean of each channel, to normalise by; null: by normalisation", "0 to 1 each")
    ] = None
    std: Annotated[
        tuple[float, ...] | None, Key("standard deviation of each channel; null: likewise", "above 0, at most 1 each")
    ] = None
    normalisation: Annotated[str, Key("constants to normalise by", choices=(STATISTICS, *NORMALISATIONS))] = STATISTICS
    download: Annotated[bool, Key("whether a data set that is missing is downloaded")] = False
    classes: Annotated[tuple[str, ...] | None, Key("two or more classes to use, in order; null: all")] = None
    class_list: Annotated[str | None, Key("file that names the classes, one on each line; null: none")] = None
    limit: Annotated[int | None, Key("training images to use; null: all", "at least 1", "images")] = None
    test_limit: Annotated[int | None, Key("test images to use; null: all", "at least 1", "images")] = None
    validation_fraction: Annotated[
        float, Key("training images that are held out for validation", "at least 0, below 1", "share")
    ] = 0.2
    crop: Annotated[int, Key("padding of the random crop of training images; 0: none", "at least 0", "pixels")] = 0
    flip: Annotated[bool, Key("whether training images are mirrored at random")] = False
    unreadable: Annotated[
        str, Key("own images that cannot be read: refuse the data, or count and leave them out", choices=UNREADABLE)
    ] = REFUSE
    kept_in: Annotated[
        str,
        Key("where decoded images are kept; auto: in a file if they are large", choices=PLACES_OF_IMAGES),
    ] = AUTO
    seed: Annotated[int, Key("seed of the draws of limits and splits", "at least 0")] = 0

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
        self._check_fit()
        self._check_normalisation()
        one_of("data.unreadable", self.unreadable, UNREADABLE)
        if self.unreadable == SKIP and self.name not in OWN_FILES:
            raise ConfigError(
                f"data.unreadable=skip is for data=folder and data=table, not for {self.name}; leave it out"
            )
        one_of("data.kept_in", self.kept_in, PLACES_OF_IMAGES)
        if self.kept_in == FILE and self.name not in OWN_FILES:
            raise ConfigError(
                f"data.kept_in=file is for data=folder and data=table; images of {self.name} are kept in memory, so"
                " leave it out"
            )
        check_seed("data.seed", self.seed, largest=2**32 - 1)  # scikit-learn's splits take no more
        if self.name in OWN_FILES and self.path is None:
            what = "Parquet or Arrow file, folder or pattern" if self.name == "table" else "folder of images"
            raise ConfigError(f"data.path=null: name the {what}, data.path=...")

    @property
    def has_validation(self) -> bool:
        """Whether images are held out, by which something can be chosen; without any all train."""
        return self.validation_fraction > 0

    @property
    def is_augmented(self) -> bool:
        """Whether training sees other pixels of an image each time."""
        return self.crop > 0 or self.flip or self.fit in (RANDOM, RANDOM_RESIZED)

    @property
    def decoding(self) -> dict[str, Any]:
        """What a module set records of how an image of any size becomes one of this data set outside training."""
        if self.fit == STRETCH:
            return {"fit": STRETCH, "background": self.background}
        return {"fit": CENTRE, "resize": self.resize, "background": self.background}

    def completed(self) -> "DataConfig":
        """Return the section with the classes of ``class_list`` in place, so that what is recorded needs no file.

        Raises:
            ConfigError: a list that cannot be read, or classes that are stated as well.
        """
        if self.class_list is None:
            return self
        if self.classes is not None:
            raise ConfigError(
                f"data.class_list={self.class_list} and data.classes={list(self.classes)}: give the one or the other"
            )
        return replace(self, classes=read_class_list(self.class_list), class_list=None)

    def _check_fit(self) -> None:
        one_of("data.fit", self.fit, FITS)
        if self.fit == STRETCH:
            if self.image_size is not None:
                raise ConfigError(
                    f"data.image_size={self.image_size} is cut out of images of data.fit=centre, random or"
                    " random_resized; set one of them, or data.resize alone"
                )
            return
        if self.name not in OWN_FILES:
            raise ConfigError(
                f"data.fit={self.fit} is for data=folder and data=table; images of {self.name} are of one size, so"
                " leave it out"
            )
        if self.resize is None:
            raise ConfigError(f"data.fit={self.fit} needs data.resize=..., the length of an image's shorter side")
        side = self.resize if self.image_size is None else self.image_size
        largest = self.resize - 1 if self.fit == RANDOM else self.resize
        what = f"1 to {largest} with data.fit={self.fit} and data.resize={self.resize}"
        check("data.image_size", self.image_size, 1 <= side <= largest, what)
        if self.crop and self.fit != CENTRE:
            raise ConfigError(f"data.crop={self.crop} and data.fit={self.fit} both crop; set data.crop=0")

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

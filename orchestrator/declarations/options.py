"""What is said of the keys that shipped methods and networks have of their own."""

from collections.abc import Mapping

from orchestrator.declarations.keys import Key

LEAST_ZERO, LEAST_ONE = "at least 0", "at least 1"
WIDTH = Key("channels of the first stage; all others in proportion; null: the published ones", LEAST_ONE, "channels")
INIT = Key("how weights are drawn", choices=("pytorch", "published"))
PUBLISHED = Key("whether modules are exactly as published (docs/method.md)")

MODEL_KEYS: Mapping[str, Key] = {
    "width": WIDTH,
    "depth": Key("blocks of a Transformer", LEAST_ONE, "blocks"),
    "heads": Key("heads of a block; null: 12, of deit_small 6", LEAST_ONE, "heads"),
    "patch": Key("side of a patch", LEAST_ONE, "pixels"),
    "padding": Key("padding of the first convolution", LEAST_ZERO, "pixels"),
    "widths": Key("channels of each convolution, and M for a max pooling", "at least 1 each", "channels"),
    "hidden": Key("units of each hidden linear layer", "at least 1 each", "units"),
    "init": INIT,
}
METHOD_KEYS: Mapping[str, Mapping[str, Key]] = {
    "gradsplitter": {
        "weight": Key("weight of the mean of the masks", LEAST_ZERO),
        "first_epochs": Key("training of the heads alone, before all", LEAST_ZERO, "epochs"),
        "rounds": Key("how often masks with heads, and then heads alone, are trained", LEAST_ONE, "rounds"),
        "mask_epochs": Key("training of masks and heads in a round", LEAST_ONE, "epochs"),
        "head_epochs": Key("training of heads alone in a round", LEAST_ZERO, "epochs"),
        "mask_rate": Key("learning rate of masks", "above 0"),
        "batch_size": Key("images of a step", LEAST_ONE, "images"),
    },
    "moda": {
        "alpha": Key("weight of the affinity of units within a class", LEAST_ZERO),
        "beta": Key("weight of the dispersion of units between classes", LEAST_ZERO),
        "gamma": Key("weight of the compactness; strong ones make modules small", LEAST_ZERO),
        "compactness": Key("how layers weigh in the compactness", choices=("uniform", "size", "sqrt_size")),
        "gamma_warmup": Key(
            "over which share of the training gamma grows from 0; null: half of it in a network of more than 8 layers",
            "at least 0, at most 1",
            "share",
        ),
    },
    "mwt": {
        "alpha": Key("weight of the affinity of masks", LEAST_ZERO),
        "beta": Key("weight of the dispersion of masks", LEAST_ZERO),
        "published": PUBLISHED,
    },
    "nemo": {
        "alpha": Key("weight of the contrast of masks", LEAST_ZERO),
        "temperature": Key("temperature of the contrast", "above 0"),
        "published": PUBLISHED,
    },
    "nuwa": {
        "share": Key("parameters of units that a class keeps at the end", "above 0, at most 1", "share"),
        "score_epochs": Key("training of the scores", LEAST_ONE, "epochs"),
        "score_rate": Key("learning rate of the scores", "above 0"),
        "batch_size": Key("images of a step", LEAST_ONE, "images"),
    },
    "standard": {},
}
OWN_OPTION = Key("an option of your own class, or of torchvision's builder")

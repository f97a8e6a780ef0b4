"""What a training method is, and what training hands to it and gets back from it.

A method says what is shown the batches, what the loss is, and what happens after training. Training knows nothing of a
method but this protocol, so a method of one's own is a class in a file of one's own (docs/method.md, "A method of your
own").

Shapes: B samples of a worker's part of a batch, C classes, ch x H x W an image.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing import Gated
    from moda_core.units import UnitLayers

RULES = ("activity", "contribution", "size", "magnitude")  # and "score", of methods that train scores of units
GATE_RULES = (*RULES, "gate")  # of a method whose networks have gates


class Prepared(NamedTuple):
    """What a method makes of a network before its training.

    Attributes:
        model: what is shown the batches, and whose output :meth:`Method.objective` takes. It shares every parameter
            and buffer with the network, and holds ``parts``.
        parts: what is the method's own, such as mask generators; None for nothing. Its parameters are trained with the
            network's and its state is in checkpoints; it is saved beside the weights and made again by
            :meth:`Method.prepare`.
    """

    model: "nn.Module"
    parts: "nn.Module | None" = None


class Objective(NamedTuple):
    """The loss of a batch. The mean over workers is that of the global batch, for every value and for the loss's
    gradient.

    Attributes:
        loss: a scalar, the whole of it.
        cross_entropy: a scalar, of the logits.
        terms: a scalar for each of :attr:`Method.terms`, before its coefficient.
        logits: (B, C).
    """

    loss: "Tensor"
    cross_entropy: "Tensor"
    terms: "Mapping[str, Tensor]"
    logits: "Tensor"


class Workers(Protocol):
    """The workers that share the batches of a training."""

    @property
    def rank(self) -> int:
        """The rank of this worker, from 0."""
        ...

    @property
    def world(self) -> int:
        """The number of workers."""
        ...

    @property
    def group(self) -> "dist.ProcessGroup | None":
        """The process group of all workers; None for one worker."""
        ...


class Images(Protocol):
    """The training images on the network's device, normalised and not augmented."""

    @property
    def labels(self) -> "Tensor":
        """The class ids, one per image."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: "Tensor") -> "Tensor":
        """Return a batch (B, ch, H, W) of the images with these numbers."""
        ...

    def batches(self, *, rank: int = 0, world: int = 1) -> "Iterable[tuple[Tensor, Tensor]]":
        """Iterate over images and labels in order; of ``world`` workers each gets every ``world``-th batch."""
        ...


class StepCheckpoint(Protocol):
    """A checkpoint of a step after training, which stores how far it is."""

    @property
    def state(self) -> Any:
        """The state that was saved last, in this attempt or an earlier one; None before that."""
        ...

    def save(self, state: Any) -> None:
        """Save tensors and plain values, in lists and dictionaries. Every worker calls it with the same state."""
        ...


class Separate(Protocol):
    """What a method publishes instead of one network for all classes: a network of its own for each class.

    Those of several classes are not merged, and so make no module set. They are measured beside the front.
    """

    @property
    def sizes_C(self) -> "Tensor":
        """Parameters of each class's network, with all that it needs, / parameters of the full model: (C,)."""
        ...

    def predict(self, images: "Tensor") -> "Tensor":
        """Return what each class's network says of a batch, (B, C): of some classes the largest one wins."""
        ...


class Method(Protocol):
    """A way to train networks for modules: a frozen dataclass of its coefficients.

    A class of one's own derives from this one, and has what is said here unless it says otherwise.

    Attributes:
        terms: names of its loss terms beside the cross-entropy, in the order in which they are shown.
        rules: the ways to choose units that its trained network offers, of :data:`GATE_RULES`.
        standard_at_zero: the coefficients that are all 0 where the cross-entropy is the whole loss; None where that is
            not known, as of a method of one's own, whose class is not imported where results are looked at.
        needs_training: whether epochs are part of it. A method without them takes a trained network
            (``training.init_from``) and does all in :meth:`after`.
        space: its default search space: by key what ``search.space`` says of it. A method that is shipped has it in
            ``sweeps/method/<name>.yaml``.
        baselines: what such a sweep trains first, as ``search.baselines``.
    """

    terms: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[str, ...]] = RULES
    standard_at_zero: ClassVar[tuple[str, ...] | None] = None
    needs_training: ClassVar[bool] = True
    space: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    baselines: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def prepare(self, network: "nn.Module", example: "Tensor") -> Prepared:
        """Prepare the network for a training, or for reading the parts of a trained network again.

        Random draws follow from the training's seed. The network itself, which is what is saved, counted and cut, must
        not be changed: what takes the place of a call of it is put into a traced copy of its graph
        (:func:`moda_core.watch_units`, :func:`moda_core.units.rewrite_units`).

        Args:
            network: as the configuration builds it.
            example: two images as the network sees them.
        """
        return Prepared(network)

    def before_step(self, model: "nn.Module", progress: float) -> None:
        """Set what changes in the course of the training, in buffers of the model: a step may be compiled, and numbers
        of the method itself are constants in it.

        Args:
            model: as :meth:`prepare` gave it.
            progress: the share of the training's steps that are done with this one, above 0 and 1 in the last.
        """
        return

    def objective(self, output: Any, labels: "Tensor", *, num_classes: int, size: int, workers: Workers) -> Objective:
        """Compute the loss of a batch, of which this worker has a part that may be empty.

        :func:`moda_core.methods.cross_entropy` and :func:`moda_core.methods.added_up` do what several workers need.

        Args:
            output: what :attr:`Prepared.model` gives for this worker's images; a worker without any gets rows of none.
            labels: (B,) class ids.
            num_classes: C.
            size: images of the global batch.
            workers: who shares it.
        """
        ...

    def gates(self, network: "nn.Module", parts: "nn.Module | None", example: "Tensor") -> "Gated | None":
        """Return the trained network with its gates, the numbers that it multiplies its units by for each image; None
        for a method without such.

        With gates the whole network is measured, and units are counted. Modules have scales in place of them, unless
        :attr:`moda_core.choosing.Gated.folds` is False.

        Args:
            network: trained.
            parts: as :meth:`prepare` gave them, trained; None where only the sites are asked for.
            example: a few images as the network sees them.
        """
        return None

    def tuning_head(self, logits: int, classes: int) -> "nn.Module | None":
        """Return what tuning puts on a cut module in place of taking the logits of its classes; None for nothing.

        Args:
            logits: of the whole network, all of which the module has then.
            classes: of the module; the head gives a logit for each.
        """
        return None

    def tuning_module(
        self, network: "nn.Module", sites: "UnitLayers", keep: "Sequence[Tensor]", classes: int
    ) -> "nn.Module | None":
        """Return the module that tuning begins from, where it is another than the cut one; None for the cut one.

        Args:
            network: trained; it must not be changed.
            sites: at which the units are.
            keep: the units of the module, L boolean tensors of (N_l,).
            classes: of the module, which gives a logit for each.
        """
        return None

    def unit_scores(self, parts: "nn.Module | None") -> "Sequence[Tensor] | None":
        """Return a score of each unit for each class that the method has trained, L tensors of (C, N_l) at the
        network's unit layers; None for a method without such. The rule ``score`` chooses by them.
        """
        return None

    def separate(self, network: "nn.Module", parts: "nn.Module | None", example: "Tensor") -> Separate | None:
        """Return the networks of single classes that the method publishes instead of one for all; None for none.

        Args:
            network: trained, in eval mode.
            parts: as :meth:`prepare` gave them, trained.
            example: images as the network sees them.
        """
        return None

    def after(
        self,
        network: "nn.Module",
        parts: "nn.Module | None",
        images: Images,
        *,
        num_classes: int,
        workers: Workers,
        checkpoint: StepCheckpoint,
    ) -> None:
        """Run a step after the last epoch, before anything is counted. It may change the network and the parts.

        Every worker calls it, and afterwards all must have the same network. A trial that is killed in it comes here
        again with the network as the last epoch left it, and goes on from ``checkpoint.state``.

        Args:
            network: trained, in eval mode.
            parts: as :meth:`prepare` gave them, trained.
            images: the training images.
            num_classes: C.
            workers: who is here.
            checkpoint: how far an earlier attempt came.
        """
        return


def has_step_after(method: Method) -> bool:
    """Return whether a method has a step after training."""
    return getattr(type(method), "after", None) is not Method.after

"""Target classes by their ids."""

from collections.abc import Sequence


def check_class_ids(class_ids: Sequence[int], num_classes: int) -> None:
    """Refuse an empty list, a repeated id, or one outside 0 .. num_classes - 1."""
    if not class_ids:
        raise ValueError("class_ids is empty; name at least one class")
    wrong = [class_id for class_id in class_ids if not 0 <= class_id < num_classes]
    if wrong:
        raise ValueError(f"class_ids holds {wrong}; the network has classes 0 to {num_classes - 1}")
    if len(set(class_ids)) != len(class_ids):
        raise ValueError(f"class_ids={list(class_ids)} names a class twice")

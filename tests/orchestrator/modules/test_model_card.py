"""A module set's card, where classes are called anything."""

from orchestrator.modules.model_card import sliced_card


def test_class_names_stay_on_their_line():
    card = sliced_card(b"# Modules\n", ["a=b", "\x1b[31mred\n# Heading", "| ä"])
    assert card.decode().splitlines() == [
        r"> Only a=b, '\x1b[31mred\n# Heading', | ä of the set that is described below.",
        "",
        "# Modules",
    ]

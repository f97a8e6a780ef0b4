"""What is said of data that is refused."""

import pytest

from orchestrator.errors import ConfigError
from orchestrator.training.data.loading import load_data


def refusal_of(config):
    """The message with which data is refused: one short printable line."""
    with pytest.raises(ConfigError) as caught:
        load_data(config)
    message = str(caught.value)
    assert len(message) <= 500
    assert message.isprintable()
    return message

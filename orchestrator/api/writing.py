"""Writing what somebody asked to have in a file."""

from pathlib import Path

from moda_core.placing import write_whole
from orchestrator.api.asking import PathText
from orchestrator.errors import ConfigError
from orchestrator.storage import check_path


def write_output(to: PathText, data: bytes) -> Path:
    """Write a file atomically: it is complete, or as it was before. A pipe is written to directly.

    Returns:
        Its absolute path.

    Raises:
        ConfigError: it is a URI, or cannot be written.
    """
    check_path(str(to))
    try:
        file = Path(to).expanduser().absolute()
        if file.exists() and not file.is_file():  # a pipe, say
            file.write_bytes(data)
        else:
            write_whole(file.resolve(), data)
    except OSError as error:
        raise ConfigError(f"--to {to}: cannot be written: {error.strerror}") from error
    except RuntimeError as error:  # the home of somebody unknown, or links in a circle
        raise ConfigError(f"--to {to}: cannot be written: {error}") from error
    return file

"""Files that only their owner may read."""
import os
from pathlib import Path

from deploy.report import DeployError


def write_private(path: Path, text: str) -> None:
    """Write `path` whole or not at all, for its owner only. Raises DeployError where the directory cannot be written to."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
        os.replace(str(temporary), str(path))
    except OSError as error:
        raise DeployError(f"{path} cannot be written: {error.strerror}. Run this as the owner of {path.parent}.") from error

"""What the last `start` was told and what an update replaced, kept in WebODM's directory for the commands that follow."""
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.private_files import write_private
from deploy.report import DeployError

STATE_NAME = ".webodm-extensions-start.json"


@dataclass
class StartState:
    """The last start of a checkout.

    flags: of WebODM's own webodm.sh. with_node: whether our processing node belongs to it. image: the WebODM image that ours is built on.
    image_id: our image that was started. version: of the WebODM in it. cloned: whether `start` fetched the checkout, which pins its
    version to ours. previous: what `rollback` goes back to (image, image_id, base_id, version, commit, backup).
    """

    flags: list[str] = field(default_factory=list)
    with_node: bool = False
    image: str = ""
    image_id: str = ""
    version: str = ""
    cloned: bool = False
    started: bool = False
    previous: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, checkout: Path) -> "StartState":
        """What is remembered of `checkout`; nothing if there was no start yet. Raises DeployError for a damaged file."""
        path = checkout / STATE_NAME
        try:
            content = json.loads(path.read_text())
            known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
            return cls(**known)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError) as error:
            raise DeployError(f"{path} cannot be read ({error}). Delete it and run `./webodm.sh start` with your flags") from error

    def write(self, checkout: Path) -> None:
        """Keep it, whole or not at all, for its owner only: a flag may hold a broker's password."""
        write_private(checkout / STATE_NAME, json.dumps(asdict(self), indent=1) + "\n")

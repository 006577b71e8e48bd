"""The docker client: which containers run, which images are here, and commands inside them."""
import json
import shutil
import subprocess
import sys
from typing import Any, Optional

from deploy.checkout import version_in
from deploy.report import DeployError

#: The image with us in it, and the one that the last update replaced.
IMAGE = "webodm-extensions:local"
PREVIOUS = "webodm-extensions:previous"
NODE_IMAGE = "webodm-extensions-node:local"
#: A label of our images; its value is our version.
LABEL = "webodm-extensions.version"


def need_docker() -> None:
    """Raise DeployError where there is no docker client."""
    if not shutil.which("docker"):
        raise DeployError("Docker was not found. To install it: https://docs.docker.com/engine/install/. Without Docker: "
                          "`./webodm.sh sandbox start`, or `./webodm.sh install --webodm DIR` for a native WebODM")


def docker(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run the docker client. Raises DeployError where it fails, unless `check` is False."""
    need_docker()
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    if check and done.returncode:
        raise DeployError(f"docker {arguments[0]} failed: {_why(done.stderr)}")
    return done


def _why(stderr: str) -> str:
    text = stderr.strip()[-400:]
    if "permission denied" in text.lower():
        return f"{text}. Run this as root, or as a user in the group `docker`."
    if "cannot connect" in text.lower():
        return f"{text} Start it: `sudo systemctl start docker`."
    return text


def running(name: str) -> str:
    """The id of the running container of that whole name; empty if it does not run. Raises DeployError where Docker does not answer."""
    done = docker("ps", "--quiet", "--filter", f"name=^/?{name}$", "--filter", "status=running", check=False)
    if done.returncode:
        raise DeployError(f"docker does not answer: {_why(done.stderr)}")
    return (done.stdout.split() or [""])[0]


def need_running(name: str) -> str:
    """As `running`. Raises DeployError where the container does not run."""
    found = running(name)
    if not found:
        raise DeployError(f"the container `{name}` is not running. Run `./webodm.sh start` first")
    return found


def inspect(name: str) -> Optional[dict[str, Any]]:
    """What `docker inspect` says of a container or image; None if there is none."""
    done = docker("inspect", name, check=False)
    return json.loads(done.stdout)[0] if done.returncode == 0 else None


def variables(container: "dict[str, Any]") -> "dict[str, str]":
    """The environment that a container was made with, out of what `inspect` says.

    A name alone stands there for a variable that a compose file passes on and nobody has set.
    """
    return dict(line.split("=", 1) for line in container["Config"]["Env"] if "=" in line)


def image_id(tag: str) -> str:
    """The id of an image that is here; empty if it is not."""
    done = docker("image", "inspect", "--format", "{{.Id}}", tag, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def is_our_image(image: str) -> bool:
    """Whether an image that is here was built from our Dockerfile."""
    done = docker("image", "inspect", "--format", "{{json .Config.Labels}}", image, check=False)
    return done.returncode == 0 and LABEL in (json.loads(done.stdout) or {})


def webodm_version(image: str) -> str:
    """The WebODM in an image, as its package.json says; empty if it does not."""
    done = docker("run", "--rm", "--network", "none", "--entrypoint", "cat", image, "/webodm/package.json", check=False)
    return version_in(done.stdout) if done.returncode == 0 else ""


def in_webapp(command: list[str]) -> int:
    """Run a command in the webapp container with this terminal; returns its exit code. Raises DeployError."""
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    return subprocess.run(["docker", "exec", "-i", *terminal, need_running("webapp"), *command]).returncode

"""Stands before docker and docker-compose on a trial's PATH: `pull` takes the "published" image instead of asking a registry.

No registry can be reached from the test. Everything else goes to the real programs.
"""
from pathlib import Path

from tests.docker.images import TARGETS

#: What a pull would bring, if it is there.
PUBLISHED = "published/webodm_webapp:latest"

_WRAPPER = """\
#!/bin/bash
# {name} for a trial: `pull` tags what is published, the rest is the real program's
pull=
for word in "$@"; do
    case $word in
        pull) pull=1 ;;
        up | run | build | exec | config | logs | inspect | image) break ;;
    esac
done
if [ -n "$pull" ]; then
    if docker image inspect {published} >/dev/null 2>&1; then
        exec "{docker}" tag {published} {tag}
    fi
    exit 0
fi
exec "{real}" "$@"
"""


def write(directory: Path, programs: "dict[str, str]") -> Path:
    """Write a wrapper of each program (name: path of the real one) into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, real in programs.items():
        wrapper = directory / name
        wrapper.write_text(_WRAPPER.format(name=name, real=real, docker=programs["docker"], published=PUBLISHED, tag=TARGETS["webapp"]))
        wrapper.chmod(0o755)
    return directory

"""The systemd unit of our own Celery worker, for a native WebODM: our jobs stand in a queue that WebODM's worker does not take from."""
import os
import pwd
import shutil
from pathlib import Path

from deploy.report import Report
from deploy.webodm import WebODM

NAME = "webodm-extensions-worker.service"
#: As deploy/docker/extensions-worker has it.
_UNIT = """\
# Written by `webodm.sh install`; `webodm.sh uninstall` removes it. It needs the same environment as WebODM's own worker.
[Unit]
Description=Celery worker for OpenScan Cloud and Tapis storage in WebODM
After=network-online.target postgresql.service redis.service

[Service]
User={user}
WorkingDirectory={directory}
{environment}ExecStart="{python}" -m celery -A worker worker --queues {queue} --autoscale 4,1 --hostname extensions@%h
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def text(webodm: WebODM, env_file: str) -> str:
    """The unit for this WebODM; `env_file` is the environment of its services, empty if none was named."""
    owner = pwd.getpwuid(os.stat(str(webodm.directory)).st_uid).pw_name
    environment = f"EnvironmentFile={_escaped(os.path.abspath(env_file))}\n" if env_file else ""
    queue = webodm.environment().get("WO_EXTENSIONS_QUEUE") or "extensions"
    python = os.path.abspath(webodm.python) if os.sep in webodm.python else (shutil.which(webodm.python) or webodm.python)
    return _UNIT.format(user=owner, directory=_escaped(str(webodm.directory)), environment=environment, queue=queue,
                                          python=_escaped(python))


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


def put(webodm: WebODM, env_file: str, report: Report) -> None:
    """Write the unit into WebODM's directory and say the one command that starts it."""
    path, wanted = webodm.directory / NAME, text(webodm, env_file)
    if path.is_file() and path.read_text() == wanted:
        report.same(f"{path} is up to date")
    else:
        report.change(f"write {path}", lambda: path.write_text(wanted))
    report.note(f"our jobs need their own Celery worker: sudo systemctl enable --now {path}   (or set WO_EXTENSIONS_QUEUE=celery, so "
                "that WebODM's worker takes them)")


def remove(webodm: WebODM, report: Report) -> None:
    """Take the unit out, if it is there."""
    path = webodm.directory / NAME
    if path.exists():
        report.change(f"remove {path} (it may run: sudo systemctl disable --now {NAME})", Path(path).unlink)

"""`backup`: our tables as gzipped SQL that only its owner may read."""
import gzip
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Optional

from deploy.report import DeployError
from deploy.webodm import WebODM

#: pg_dump's options: our tables alone, and no words on who owned them. Without our migrations' records a restore would
#: meet `migrate` and its tables; so it goes into tables that `install` made: see docs/install.md.
OPTIONS = ("--data-only", "--disable-triggers", "--no-owner", "-t", "openscan_*", "-t", "tapis_*")


def backup(webodm: WebODM, target: Optional[Path]) -> int:
    """Dumps the tables of a native WebODM with the `pg_dump` of this machine. Raises DeployError."""
    if not shutil.which("pg_dump"):
        raise DeployError("pg_dump is not here; it comes with PostgreSQL's client programs (postgresql-client)")
    database = webodm.probe("database_address")
    environment = {**webodm.environment(), **{name: value for name, value in database.items() if value}}
    return dump(["pg_dump", *OPTIONS], target, environment)


def dump(command: list[str], target: Optional[Path], environment: dict[str, str]) -> int:
    """Runs `command` (a pg_dump) into `target`, gzipped; nothing is left where it fails. Raises DeployError."""
    target = target or Path(f"webodm-extensions-{time.strftime('%Y%m%d-%H%M%S')}.sql.gz")
    temporary = target.with_name(target.name + ".part")
    descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb") as out:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
            if process.stdout is None:
                raise DeployError("pg_dump has no output")
            shutil.copyfileobj(process.stdout, out)
            code = process.wait()
    except OSError as error:
        temporary.unlink()
        raise DeployError(f"the backup failed: {error}") from error
    if code:
        temporary.unlink()
        raise DeployError(f"pg_dump failed (exit {code})")
    os.replace(str(temporary), str(target))
    print(f"+ {target} ({target.stat().st_size} bytes): our tables. It holds personal data and encrypted tokens; the files "
          "are in WebODM's media directory. docs/install.md tells how to bring it back.")
    return 0

"""`backup`: our tables as gzipped SQL that only its owner may read."""
import gzip
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Optional

from deploy.report import DeployError
from deploy.webodm import WebODM

#: pg_dump's options: our tables alone, and no words on who owned them. Without our migrations' records a restore would
#: meet `migrate` and its tables; so it goes into tables that `install` made: see docs/admin/backup.md. pg_dump writes the tables in the
#: order of their foreign keys, so that no superuser has to switch triggers off for a restore.
OPTIONS = ("--data-only", "--no-owner", "-t", "openscan_*", "-t", "tapis_*")


def backup(webodm: WebODM, target: Optional[Path]) -> int:
    """Dumps the tables of a native WebODM with the `pg_dump` of this machine. Raises DeployError."""
    if not shutil.which("pg_dump"):
        raise DeployError("pg_dump was not found. Install PostgreSQL's client programs (package postgresql-client)")
    database = webodm.probe("database_address")
    environment = {**webodm.environment(), **{name: value for name, value in database.items() if value}}
    return dump(["pg_dump", *OPTIONS], target, environment)


def dump(command: list[str], target: Optional[Path], environment: dict[str, str]) -> int:
    """Runs `command` (a pg_dump) into `target`, gzipped; nothing is left where it fails. Raises DeployError."""
    target = target or Path(f"webodm-extensions-{time.strftime('%Y%m%d-%H%M%S')}.sql.gz")
    if target.is_dir():
        raise DeployError(f"{target} is a directory: give a file in it")
    temporary = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=str(target.parent))  # its owner's alone
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb") as out, \
                subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            shutil.copyfileobj(process.stdout, out)  # type: ignore[arg-type]
        if process.returncode:
            raise DeployError(f"pg_dump failed (exit {process.returncode})")
        os.replace(str(temporary), str(target))
    except OSError as error:
        raise DeployError(f"the backup into {target.parent.resolve()} failed: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    print(f"+ {target} ({target.stat().st_size} bytes): our tables. It holds personal data and encrypted tokens; the files "
          "are in WebODM's media directory. docs/admin/backup.md tells how to bring it back.")
    return 0

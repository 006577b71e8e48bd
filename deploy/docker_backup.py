"""`backup` and `restore` of a WebODM in Docker: our tables alone, or everything that is needed to stand it up elsewhere."""
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

from deploy import backup, compose_settings
from deploy.containers import docker, need_running
from deploy.private_files import write_private
from deploy.report import DeployError
from deploy.start_state import STATE_NAME

DATABASE = "webodm_dev"
#: Made inside WebODM's directory before migrations run; the newest are kept.
BACKUPS_NAME = "webodm-extensions-backups"
KEPT_BACKUPS = 5
#: The whole of a database: a restore replaces what is there.
WHOLE = ("--no-owner", "--clean", "--if-exists")
#: Files of a checkout that a backup holds: WebODM's secret key, without which no token can be read, and how it was started.
KEPT_FILES = (".secret_key", ".env", compose_settings.SETTINGS_NAME, compose_settings.SHELL_NAME, STATE_NAME)
MEDIA = "/webodm/app/media"
WAIT_SECONDS = 60


def dump_tables(target: Optional[Path]) -> int:
    """`backup`: our tables, from the running database container. Raises DeployError."""
    command = ["docker", "exec", need_running("db"), "pg_dump", "-U", "postgres", *backup.OPTIONS, DATABASE]
    return backup.dump(command, target, dict(os.environ))


def dump_all(checkout: Path, directory: Path, media: bool) -> int:
    """`backup --all DIRECTORY`: the whole database, WebODM's key, all settings and (with `media`) the media. Raises DeployError."""
    database, webapp = need_running("db"), need_running("webapp")
    if directory.exists() and any(directory.iterdir()):
        raise DeployError(f"{directory} is not empty: give a new directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise DeployError(f"{directory} cannot be made: {error.strerror}") from error
    _dump_database(database, directory / "database.sql.gz")
    for name in KEPT_FILES:
        if (checkout / name).is_file():
            write_private(directory / name, (checkout / name).read_text())
    if media:
        _to_file(["docker", "exec", webapp, "tar", "-C", MEDIA, "-c", "--exclude=./plugins", "--exclude=./tmp", "."],
                 directory / "media.tar", "the media")
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"+ {directory} ({size} bytes): database, key, settings{', media' if media else ' (media: add --media)'}. "
          "It contains secrets. To restore it: `./webodm.sh restore DIRECTORY` (docs/admin/backup.md)")
    return 0


def _dump_database(container: str, target: Path) -> None:
    command = f"pg_dump -U postgres {' '.join(WHOLE)} {DATABASE} | gzip"
    _to_file(["docker", "exec", container, "bash", "-o", "pipefail", "-c", command], target, "the database")


def _to_file(command: list[str], target: Path, what: str) -> None:
    temporary = target.with_name(target.name + ".part")
    try:
        descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE)
        if done.returncode:
            raise DeployError(f"the backup of {what} into {target.parent} failed: {done.stderr.decode(errors='replace').strip()[-400:]}")
        os.replace(str(temporary), str(target))
    except OSError as error:
        raise DeployError(f"the backup of {what} into {target.parent} failed: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def restore_files(checkout: Path, directory: Path) -> None:
    """Bring WebODM's key and the settings back into `checkout`. Raises DeployError for what is no backup."""
    if not (directory / "database.sql.gz").is_file():
        raise DeployError(f"{directory} is not a backup: database.sql.gz is missing. `./webodm.sh backup --all DIRECTORY` makes one.")
    for name in KEPT_FILES:
        if (directory / name).is_file():
            write_private(checkout / name, (directory / name).read_text())


def restore_database(directory: Path) -> None:
    """Fill the database of the running container from a backup, or leave it as it was. Raises DeployError."""
    container = need_running("db")
    wait_for_database(container)
    command = f"gunzip | psql -q -v ON_ERROR_STOP=1 --single-transaction -U postgres {DATABASE}"
    with (directory / "database.sql.gz").open("rb") as source:
        done = subprocess.run(["docker", "exec", "-i", container, "bash", "-o", "pipefail", "-c", command], stdin=source,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        raise DeployError("the database could not be restored; nothing in it was changed: "
                          f"{done.stderr.decode(errors='replace').strip()[-400:]}")


def wait_for_database(container: str) -> None:
    """Wait until PostgreSQL in the container takes connections. Raises DeployError after a minute.

    Asks over TCP: while a new volume is set up, WebODM's image runs a server that listens on the socket only, and stops it again.
    """
    ready = f"pg_isready -q -h 127.0.0.1 && psql -U postgres -Atc 'SELECT 1' {DATABASE}"
    deadline = time.monotonic() + WAIT_SECONDS
    while docker("exec", container, "sh", "-c", ready, check=False).stdout.strip() != "1":
        if time.monotonic() > deadline:
            raise DeployError("the database container does not answer. `docker logs db` shows why")
        time.sleep(1)


def before_migrations(directory: Path) -> int:
    """Called by the shim once the database container is up and before the others start: dump a database that has something in it."""
    container = need_running("db")
    wait_for_database(container)
    asked = docker("exec", container, "psql", "-U", "postgres", "-Atc", "SELECT to_regclass('django_migrations') IS NOT NULL", DATABASE)
    if asked.stdout.strip() != "t":
        return 0  # a fresh database
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DeployError(f"{directory} cannot be made for the backup: {error.strerror}. To start "
                          "without a backup: `start --no-backup`.") from error
    target = directory / f"database-{time.strftime('%Y%m%d-%H%M%S')}.sql.gz"
    _dump_database(container, target)
    print(f"+ {target} ({target.stat().st_size} bytes): the whole database, saved before migrations run", flush=True)
    for old in sorted(directory.glob("database-*.sql.gz"))[:-KEPT_BACKUPS]:
        old.unlink()
    return 0


def restore_before_start(directory: Path) -> int:
    """Called by the shim like `before_migrations`: dump what the database holds now, then fill it. Raises DeployError."""
    kept = directory.resolve().parent / BACKUPS_NAME
    before_migrations(kept)
    restore_database(directory)
    print(f"+ restored the database from {directory}", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit({"backup": before_migrations, "restore": restore_before_start}[sys.argv[1]](Path(sys.argv[2])))
    except DeployError as failed:
        print(f"error: {failed}", file=sys.stderr)
        sys.exit(1)

"""A look at the run's database from outside."""
import subprocess
from pathlib import Path

import pgserver


def database_dump(stack) -> str:
    """Everything that is in the database, as text."""
    host = stack.environment()["WO_DATABASE_HOST"]
    tool = Path(pgserver.__file__).parent / "pginstall" / "bin" / "pg_dump"
    done = subprocess.run([str(tool), "-h", host, "-U", "postgres", "webodm"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout

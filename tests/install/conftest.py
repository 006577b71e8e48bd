"""A WebODM-shaped directory with its own database and a Python that has WebODM's packages but none of ours."""
import base64
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from dev.sandbox.stack import HOST_DIR, ROOT, Stack

#: What `install` brings in: requirements/ours*.txt and what they need.
OUR_PACKAGES = ("cryptography", "prometheus_client", "PyYAML", "tapipy", "atomicwrites", "cffi", "pycparser", "pillow-heif",
                "opencv-python-headless")


@dataclass
class Target:
    """A WebODM directory, the Python that runs it and the environment of its processes."""

    directory: Path
    python: Path
    env: dict[str, str]
    media: Path

    def deploy(self, command: str, *arguments: str, check: bool = True, env: dict[str, str] = None  # type: ignore[assignment]
               ) -> "subprocess.CompletedProcess[str]":
        """Runs `python deploy COMMAND --webodm DIR …` as webodm.sh does."""
        done = subprocess.run([sys.executable, str(ROOT / "deploy"), command, "--webodm", str(self.directory), *arguments],
                              env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=1200)
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Runs its Python in its directory, without anything of the repository on the path."""
        done = subprocess.run([str(self.python), *arguments], cwd=self.directory, env=self.env, capture_output=True, text=True,
                              timeout=600)
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def shell(self, code: str) -> str:
        """Runs lines in its Django; returns what they print."""
        setup = ("import os, sys, django; sys.path.insert(0, os.getcwd()); "
                 "os.environ['DJANGO_SETTINGS_MODULE'] = 'webodm.settings'; django.setup()\n")
        return self.run("-c", setup + code).stdout.strip()

    @property
    def site_packages(self) -> Path:
        return next((self.python.parent.parent / "lib").glob("python3*/site-packages"))

    def packages(self) -> dict[str, str]:
        """Every package of its Python: name and version."""
        return {found.metadata["Name"]: found.version for found in importlib.metadata.distributions(path=[str(self.site_packages)])}

    def files(self) -> dict[str, str]:
        """Every file of the directory and of its plugins: relative name to what it holds (links: where they point)."""
        found = {}
        for base in (self.directory, self.media / "plugins"):
            for folder, directories, names in os.walk(base):
                for name in [*names, *directories]:
                    path = Path(folder, name)
                    if path.is_symlink():
                        found[str(path)] = f"-> {os.readlink(path)}"
                    elif path.is_file() and "__pycache__" not in path.parts:
                        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def sql(self, *statements: str) -> list[tuple]:
        """Runs statements in its database; returns the rows of the last."""
        connection = psycopg2.connect(host=self.env["WO_DATABASE_HOST"], port=5432, user="postgres",
                                      dbname=self.env["WO_DATABASE_NAME"])
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def tables(self) -> set[str]:
        return {row[0] for row in self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}

    def forget_our_tables(self) -> None:
        """As if we had never been in its database."""
        ours = [name for name in self.tables() if name.startswith(("openscan_", "tapis_"))]
        self.sql(*(f"DROP TABLE {name} CASCADE" for name in ours),
                 "DELETE FROM django_migrations WHERE app IN ('openscan', 'tapis')",
                 "DELETE FROM auth_permission WHERE content_type_id IN"
                 " (SELECT id FROM django_content_type WHERE app_label IN ('openscan', 'tapis'))",
                 "DELETE FROM django_content_type WHERE app_label IN ('openscan', 'tapis')",
                 "DELETE FROM app_plugin WHERE name IN ('openscan_cloud', 'tapis_storage')")


def _venv_by_links(directory: Path, without: tuple[str, ...]) -> Path:
    """A virtual environment that shows every package of ours' but `without`, by links; returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    ours = {name for package in without for name in _top_levels(package)}
    target = next(directory.glob("lib/python3*/site-packages"))
    source = Path(importlib.metadata.distribution("Django").locate_file(""))
    for path in source.iterdir():
        if path.name not in ours and not path.name.endswith(".pth"):
            (target / path.name).symlink_to(path)
    return directory / "bin" / "python"


def _top_levels(package: str) -> set[str]:
    files = importlib.metadata.distribution(package).files or []
    return {file.parts[0] for file in files if ".." not in file.parts}


def _wheel_of_installed(package: str, out: Path) -> None:
    """Packs an installed package as a wheel again, so that pip installs it for real without a network."""
    distribution = importlib.metadata.distribution(package)
    name = f"{distribution.metadata['Name'].replace('-', '_')}-{distribution.version}"
    record = []
    with zipfile.ZipFile(out / f"{name}-py3-none-any.whl", "w") as wheel:
        for file in distribution.files or []:
            if ".." in file.parts or "__pycache__" in file.parts or file.name in ("RECORD", "INSTALLER", "REQUESTED", "WHEEL"):
                continue
            content = Path(file.locate()).read_bytes()
            wheel.writestr(str(file), content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(content)}\n")
        info = next(file.parts[0] for file in distribution.files or [] if file.parts[0].endswith(".dist-info"))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "".join([*record, f"{info}/WHEEL,,\n{info}/RECORD,,\n"]))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a wheel of each of our packages."""
    out = tmp_path_factory.mktemp("wheels")
    for package in (*OUR_PACKAGES, "flit_core"):  # the last builds the wheel of our apps
        _wheel_of_installed(package, out)
    return out


@contextmanager
def new_database(ground: Stack) -> Iterator[str]:
    """The name of a new, empty database."""
    name = f"install_{uuid.uuid4().hex[:8]}"
    connection = psycopg2.connect(host=ground.environment()["WO_DATABASE_HOST"], port=5432, user="postgres", dbname="postgres")
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _webodm(ground: Stack, base: Path, without: tuple[str, ...], **env: str) -> Iterator[Target]:
    """A WebODM that has never heard of us, with its own Python."""
    directory = base / "WebODM"
    shutil.copytree(HOST_DIR, directory)  # with its bytecode, which no process of the tests would write
    python = _venv_by_links(base / "venv", without)
    env = {key: value for key, value in ground.environment().items()
           if key != "PYTHONPATH" and not key.startswith(("WO_OPENSCAN_", "WO_TAPIS_", "WO_SMTP_"))} | env
    with new_database(ground) as database:
        env.update(SANDBOX_DATA=str(base / "data"), WO_DATABASE_NAME=database, PYTHONDONTWRITEBYTECODE="1", PIP_NO_INDEX="1")
        found = Target(directory, python, env, base / "data" / "media")
        found.run("manage.py", "migrate", "--noinput", "-v", "0")
        found.run("manage.py", "check")  # its first boot, which makes media/plugins/__init__.py
        yield found


@pytest.fixture(scope="module")
def target(ground: Stack, tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Target]:
    """A WebODM that has never heard of us. Tests take us out of it again, where others follow; our tables may stay."""
    with _webodm(ground, tmp_path_factory.mktemp("native"), without=OUR_PACKAGES, PIP_FIND_LINKS=str(wheels)) as found:
        yield found


@pytest.fixture(scope="module")
def equipped(ground: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A WebODM that has never heard of us either, but whose Python has the packages that we need: `install --link` needs no pip."""
    with _webodm(ground, tmp_path_factory.mktemp("equipped"), without=()) as found:
        yield found

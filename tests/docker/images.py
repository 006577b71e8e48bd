"""The stand-in images: a small Debian by debootstrap, from the mirror that apt is configured with, and what a WebODM needs on it."""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dev.sandbox.stack import HOST_DIR, ROOT
from tests.docker.engine import Engine, EngineMissing, cache_dir

STANDIN = ROOT / "dev" / "standins" / "webodm"
BASE = "webodm-standin-base:latest"
#: The last Debian whose own Python is WebODM's 3.9.
SUITE = "bullseye"
#: A Debian that has Compose v2 as a package.
COMPOSE_SUITE = "trixie"
PACKAGES = ("ca-certificates", "curl", "procps", "cron", "gettext-base", "python3.9", "python3.9-venv", "python3-distutils", "nginx-light",
            "redis-server", "postgresql-13", "git", "libgomp1")
TARGETS = {"database": "webodm/webodm_db:latest", "broker": "redis:7.0.10", "python": "python:3.9-slim-bookworm",
           "webapp": "webodm/webodm_webapp:latest", "node": "webodm/nodeodx:latest"}
#: The same WebODM under the name that a fresh clone is pinned to.
RELEASE_TAG = "webodm/webodm_webapp:3.2.4"
KEPT = (BASE, *TARGETS.values(), RELEASE_TAG)


def mirror() -> str:
    """The Debian mirror that apt is configured with. Raises EngineMissing where there is none."""
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"],
                          capture_output=True, text=True)
    for line in done.stdout.splitlines():
        origin, _, address = line.partition(" ")
        if origin == "Debian" and "security" not in address:
            return address.strip()
    raise EngineMissing("apt is configured with no Debian mirror (or `apt-get update` has not run)")


def compose_v2(engine: Engine) -> Path:
    """Compose v2 as a plugin of the docker client: this machine's, else Debian's package. Raises EngineMissing.

    Debian 12 has Compose v1 only, so the package comes from a later Debian on the same mirror.
    """
    for directory in ("/usr/libexec/docker", "/usr/lib/docker", "/usr/local/lib/docker", "/usr/local/libexec/docker"):
        plugin = Path(directory) / "cli-plugins" / "docker-compose"
        if plugin.exists():
            return plugin.parent
    kept = cache_dir() / "compose-v2" / "usr" / "libexec" / "docker" / "cli-plugins"
    if not (kept / "docker-compose").exists():
        _download(("docker-compose", "docker-buildx"), cache_dir() / "compose-v2")
    return kept


def _download(packages: "tuple[str, ...]", out: Path) -> None:
    """Unpack Debian packages of `COMPOSE_SUITE` into `out`, with apt lists apart from the machine's own."""
    with tempfile.TemporaryDirectory(prefix="webodm-apt-") as name:
        scratch = Path(name)
        for directory in ("lists/partial", "cache/archives/partial", "unpacked"):
            (scratch / directory).mkdir(parents=True)
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (scratch / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror()} {COMPOSE_SUITE} main\n")
        options = [f"-oDir::Etc::SourceList={scratch}/sources.list", "-oDir::Etc::SourceParts=/dev/null",
                   f"-oDir::State::Lists={scratch}/lists", f"-oDir::Cache={scratch}/cache", "-oAPT::Sandbox::User=root"]
        for command in (["update", "-qq"], ["download", "-qq", *packages]):
            done = subprocess.run(["apt-get", *options, *command], cwd=str(scratch), capture_output=True, text=True, timeout=900)
            if done.returncode:
                raise EngineMissing(f"Compose v2 cannot be fetched: Debian's {' and '.join(packages)} of {COMPOSE_SUITE}: "
                                    f"{done.stderr.strip()[-300:]}")
        for package in scratch.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(scratch / "unpacked")], check=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(str(out), ignore_errors=True)
        shutil.move(str(scratch / "unpacked"), str(out))


def build_base(engine: Engine) -> None:
    """Make the Debian that all stand-ins stand on, unless the engine has it. Takes two minutes."""
    if engine.has_image(BASE):
        return
    with tempfile.TemporaryDirectory(prefix="webodm-debian-", dir=str(cache_dir())) as name:
        root = Path(name) / "root"
        (root / "etc" / "dpkg" / "dpkg.cfg.d").mkdir(parents=True)
        (root / "etc" / "dpkg" / "dpkg.cfg.d" / "unsafe-io").write_text("force-unsafe-io\n")
        done = subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), mirror()],
                              capture_output=True, text=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
        if done.returncode:
            raise EngineMissing(f"debootstrap failed:\n{done.stdout[-1500:]}{done.stderr[-500:]}")
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists", "etc/apt/sources.list"):
            path = root / leftover
            shutil.rmtree(str(path)) if path.is_dir() else path.unlink()
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
            engine.docker("import", "-", BASE, stdin=tar.stdout)


def wheels() -> Path:
    """A directory with all wheels that the images install, made by this Python from the package index that pip is configured with."""
    requirements = ROOT / "dev" / "requirements"
    ours = ROOT / "deploy" / "requirements"
    node = ROOT / "node" / "requirements"
    sets = [["-c", str(requirements / "webodm.txt"), "-r", str(requirements / "host.txt"), "-r", str(ours / "ours.txt")],
            ["--no-deps", "-r", str(ours / "ours-nodeps.txt")], ["--no-deps", "pip==24.0", "wheel==0.44.0", "flit_core==3.12.0"],
            ["-r", str(node / "engine.txt"), "-r", str(node / "server.txt")]]
    words = "".join(" ".join(one) for one in sets) + "".join(
        path.read_text() for path in [requirements / "webodm.txt", requirements / "host.txt", *sorted(ours.glob("*.txt")),
                                      *sorted(node.glob("*.txt"))])
    out = cache_dir() / f"wheels-{hashlib.sha256(words.replace(str(ROOT), '').encode()).hexdigest()[:12]}"
    if not out.exists():
        unfinished = out.with_suffix(".part")
        earlier = sorted(cache_dir().glob("wheels-*"), key=lambda path: path.stat().st_mtime)
        if earlier and not unfinished.exists():
            earlier[-1].rename(unfinished)  # most of them are wanted again
        for one in sets:
            done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--find-links", str(unfinished), "-w",
                                   str(unfinished), *one], capture_output=True,
                                  text=True, timeout=1800)
            if done.returncode:
                raise EngineMissing(f"pip could not fetch the wheels for the images:\n{done.stderr[-1500:]}")
        unfinished.rename(out)
    return out


def build(engine: Engine, version: str = "3.2.4", marker: str = "", targets: "tuple[str, ...]" = tuple(TARGETS)) -> None:
    """Make the stand-in images. `version` is the WebODM that the webapp calls itself; `marker` makes it another image.

    Docker's own cache makes this quick where nothing changed.
    """
    build_base(engine)
    with tempfile.TemporaryDirectory(prefix="webodm-standin-") as name:
        context = Path(name)
        shutil.copytree(str(HOST_DIR), str(context / "host"), ignore=shutil.ignore_patterns("__pycache__"))
        settings = context / "host" / "webodm" / "settings.py"
        text = settings.read_text().replace('VERSION = "3.2.4"', f'VERSION = "{version}"')
        settings.write_text(text + (f"\n# {marker}\n" if marker else ""))
        shutil.copytree(str(STANDIN / "image"), str(context / "image"))
        (context / "requirements").mkdir()
        for name in ("webodm.txt", "host.txt"):  # these alone: another file would make Docker build the packages' layer again
            shutil.copy(str(ROOT / "dev" / "requirements" / name), str(context / "requirements"))
        package = (STANDIN / "checkout" / "package.json").read_text()
        (context / "package.json").write_text(package.replace("3.2.4", version))
        shutil.copytree(str(ROOT / "node"), str(context / "node"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(str(ROOT / "tests" / "support" / "quick_engine.py"), str(context))
        shutil.copytree(str(wheels()), str(context / "wheels"), copy_function=_link)
        shutil.copy(str(STANDIN / "Dockerfile"), str(context / "Dockerfile"))
        for target in targets:
            engine.docker("build", "-q", "--target", target, "-t", TARGETS[target], str(context))


def derive(engine: Engine, base: str, tag: str, *, version: str = "", run: str = "true") -> None:
    """Make `tag` of `base`: the same WebODM changed by a shell command, or called another version."""
    if version:
        run = f"""sed -i 's/"version": "[^"]*"/"version": "{version}"/' /webodm/package.json"""
    engine.docker("build", "-q", "-t", tag, "-", input=f"FROM {base}\nRUN {run}\n")


def _link(source: str, target: str) -> str:
    """A hard link where the disk is the same, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target

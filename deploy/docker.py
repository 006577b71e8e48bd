"""WebODM in Docker with us in it: `start`, `stop`, `down`, `restart`, `update`, `rollback`, `logs`, `config`, `manage`, `backup` and more.

WebODM's own webodm.sh does the work, with all of its flags: `deploy/docker/shim/docker-compose` stands before the real Compose and
lays our files over those that WebODM names.
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

from deploy import compose_settings, containers, docker_backup, docker_uninstall
from deploy.checkout import RELEASE, RELEASE_IMAGE, current_commit, find_checkout, git
from deploy.containers import IMAGE, PREVIOUS, docker, image_id, in_webapp, need_docker, need_running
from deploy.report import DeployError
from deploy.start_state import StartState
from deploy.webodm import ROOT, TESTED_VERSIONS, VERSION

SHIM = ROOT / "deploy" / "docker" / "shim"
#: Runs a management command without booting WebODM's web pages for it.
MANAGE = "/opt/webodm-extensions/deploy/docker/manage.py"
OUR_FLAGS = ("--force", "--no-backup", "--with-node", "--fresh", "--again")
USAGE = """\
Usage: ./webodm.sh start [OUR FLAGS] [FLAGS]   start WebODM with both plugins; FLAGS are those of WebODM's own webodm.sh.
                                               Without FLAGS, those of the last start
       ./webodm.sh restart                     stop, then start with the flags and settings of the last start
       ./webodm.sh stop|down                   stop WebODM; `down` also removes the containers (volumes stay)
       ./webodm.sh update [OUR FLAGS]          fetch WebODM's next version and build our image on it, then replace the running one
       ./webodm.sh rollback                    return to what the last update replaced
       ./webodm.sh logs [ARGUMENTS]            logs of webapp and the workers; ARGUMENTS go to Compose's `logs`
       ./webodm.sh config [ARGUMENTS]          print the merged Compose file, including secrets
       ./webodm.sh manage COMMAND …            run a management command in the running webapp container
       ./webodm.sh backup [FILE]               save the rows of our tables
       ./webodm.sh backup --all DIRECTORY [--media]    save the whole database, WebODM's key, all settings (and the media)
       ./webodm.sh restore DIRECTORY           restore into a stopped WebODM; its database is replaced
       ./webodm.sh uninstall [--purge]         remove both plugins; --purge deletes their tables and files too
       ./webodm.sh unit                        print a systemd unit that starts WebODM with both plugins at boot

OUR FLAGS: --force      accept a WebODM version that COMPATIBILITY.md does not list, or that is not the one running now
           --no-backup  do not back up the database before migrations run
           --with-node  also start our own processing node, registered and open to all users
           --fresh      forget flags and settings of the last start
           --again      repeat the last start, in the background and without building: for a systemd unit

WEBODM_DIR is WebODM's directory (default: ./WebODM; if there is none, `start` clones the tested release).
Paths in FLAGS are relative to that directory. More: docs/admin/docker.md."""


class Project:
    """One WebODM checkout, what its last start was told, and Compose on it."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.state = StartState.read(checkout)

    def environment(self, *, starts: bool = False, needed: bool = False, fresh: bool = False, **more: str) -> dict[str, str]:
        """The environment of WebODM's webodm.sh: our Compose before the real one, and what it lays over. Raises DeployError."""
        settings = compose_settings.prepare(self.checkout, starts=starts, needed=needed, fresh=fresh)
        node = {"WEBODM_EXTENSIONS_NODE": "1"} if self.state.with_node else {}
        # our own containers are not behind a proxy, nor is a build's context
        return {**os.environ, "WEBODM_EXTENSIONS_DIR": str(ROOT), "WEBODM_EXTENSIONS_SETTINGS": str(settings),
                "WEBODM_EXTENSIONS_PYTHON": sys.executable, "WEBODM_IMAGE": self.state.image or RELEASE_IMAGE,
                "PATH": f"{SHIM}{os.pathsep}{os.environ.get('PATH', '')}", **node, **more}

    def compose(self, environment: dict[str, str], *arguments: str) -> int:
        """Compose with WebODM's main file and ours; returns its exit code."""
        return _run([str(SHIM / "docker-compose"), "-f", "docker-compose.yml", *arguments], self.checkout, environment)

    def webodm_sh(self, environment: dict[str, str], command: str, *flags: str) -> int:
        """WebODM's own script; returns its exit code."""
        return _run(["./webodm.sh", command, *flags], self.checkout, environment)

    def configured_image(self) -> str:
        """The image that the checkout's own compose files give webapp. Raises DeployError."""
        environment = {**self.environment(), "WEBODM_EXTENSIONS_BARE": "1"}
        done = subprocess.run([str(SHIM / "docker-compose"), "-f", "docker-compose.yml", "config"], cwd=str(self.checkout),
                              env=environment, capture_output=True, text=True)
        service = re.search(r"^  webapp:\n((?:    .*\n|\n)*)", done.stdout, re.MULTILINE)
        image = re.search(r"^    image: ['\"]?([^\s'\"]+)", service.group(1), re.MULTILINE) if service else None
        if done.returncode or image is None:
            raise DeployError(f"Compose does not show which image {self.checkout / 'docker-compose.yml'} uses for webapp: "
                              f"{done.stderr.strip()[-400:] or 'it names none'}. Set it: WEBODM_IMAGE=webodm/webodm_webapp:TAG")
        return image.group(1)

    def base_image(self) -> str:
        """The WebODM image to build on: WEBODM_IMAGE, the pinned one of a clone of ours, or what the checkout configures."""
        named = os.environ.get("WEBODM_IMAGE", "")
        return named or (self.state.image if self.state.cloned and self.state.image else self.configured_image())


def _run(arguments: list[str], checkout: Path, environment: dict[str, str]) -> int:
    try:
        return subprocess.run(arguments, cwd=str(checkout), env=environment).returncode
    except KeyboardInterrupt:
        return 130


def main(command: str, arguments: list[str]) -> int:
    """Run one of the Docker commands with the rest of its command line; returns the exit code. Raises DeployError."""
    if command == "manage":
        return manage(arguments)
    if {"-h", "--help"}.intersection(arguments):  # WebODM's webodm.sh ignores what it does not know, and stops or starts
        print(USAGE)
        return 0
    project = Project(find_checkout(clone=command == "start"))
    return COMMANDS[command](project, arguments)


# -- starting ---------------------------------------------------------------------------------------------------------

def start(project: Project, arguments: list[str]) -> int:
    """`start`: build our image on the WebODM that is configured, then let WebODM's script start it."""
    need_docker()
    ours, flags = _split(arguments)
    state = project.state
    if "--again" in ours:
        _refuse_flags("start --again", flags)
        if not state.started:
            raise DeployError("there is no earlier start to repeat. Run `./webodm.sh start --detached` once")
        flags = [*(flag for flag in state.flags if flag != "--detached"), "--detached"]
        if image_id(IMAGE):
            return project.webodm_sh(project.environment(needed=True), "start", *flags)
    elif flags or "--fresh" in ours:
        _refuse_unknown(flags, project.checkout)
        state.with_node = "--with-node" in ours
    else:
        flags = state.flags
        state.with_node = state.with_node or "--with-node" in ours
        if flags:
            print(f"* using the flags of the last start: {' '.join(flags)} (--fresh forgets them)", flush=True)
    state.image = project.base_image()
    version = _check_version(state.image, ours, "start")
    environment = project.environment(starts="--again" not in ours, needed=True, fresh="--fresh" in ours)
    print(f"* WebODM {version} in {project.checkout} ({state.image}), with docker-compose.override.yml", flush=True)
    code = _build(project, environment)
    if code:
        print("error: our image could not be built. Nothing was stopped or started", file=sys.stderr)
        return code
    new = image_id(IMAGE)
    migrates = new != state.image_id
    state.flags, state.version, state.started = flags, version, True
    state.write(project.checkout)
    if migrates and "--no-backup" not in ours:
        environment.update(_before_up("backup", project.checkout / docker_backup.BACKUPS_NAME))
    code = project.webodm_sh(environment, "start", *flags)
    there = containers.inspect("webapp")
    if there and there["Image"] == new:  # not before: a start whose dump failed must dump again
        state.image_id = new
        state.write(project.checkout)
    return code


def _before_up(what: str, place: Path) -> dict[str, str]:
    """What the shim does with the database alone, before the other containers start."""
    return {"WEBODM_EXTENSIONS_BEFORE_UP": what, "WEBODM_EXTENSIONS_PLACE": str(place)}


def _build(project: Project, environment: dict[str, str]) -> int:
    """Build our image (and our node's); the base image is here already. Returns the exit code."""
    services = ["worker", *(["scan-node"] if project.state.with_node else [])]
    return project.compose(environment, "build", "--build-arg", f"VERSION={VERSION}", *services)


def _split(arguments: list[str]) -> "tuple[set[str], list[str]]":
    """Our own flags, and WebODM's."""
    return set(arguments).intersection(OUR_FLAGS), [one for one in arguments if one not in OUR_FLAGS]


def _check_version(image: str, ours: "set[str]", command: str) -> str:
    """Have the base image here and say which WebODM is in it. Raises DeployError for one that was not tried, or another than runs."""
    if not image_id(image):
        print(f"+ docker pull {image}", flush=True)
        if subprocess.run(["docker", "pull", image]).returncode:
            raise DeployError(f"the image {image} is not on this machine and cannot be pulled. Nothing was changed. Check the network, "
                              "or choose another image: WEBODM_IMAGE=webodm/webodm_webapp:TAG ./webodm.sh start")
    version = containers.webodm_version(image)
    there = containers.inspect("webapp")
    running = containers.webodm_version(there["Image"]) if there and command == "start" else ""
    if "--force" in ours:
        return version
    if running and running != version:
        raise DeployError(f"this start would change WebODM from {running} to {version}, because {image} now contains another version. "
                          f"To change the version with a backup, run `./webodm.sh update`; without one, `start --force`.")
    if version not in TESTED_VERSIONS:
        raise DeployError(f"{image} is WebODM {version or 'of no known version'}, which we have not tested (tested: "
                          f"{', '.join(TESTED_VERSIONS)}; see COMPATIBILITY.md). To use it anyway: `./webodm.sh {command} --force`.")
    return version


def _refuse_unknown(flags: list[str], checkout: Path) -> None:
    """WebODM's webodm.sh ignores flags that it does not know (`--detach`, `--port=80`), and would do something else than was meant."""
    known = (checkout / "webodm.sh").read_text(errors="replace")
    for flag in flags:
        if flag.startswith("--") and not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", known):
            raise DeployError(f"WebODM's webodm.sh has no flag {flag} (write values after a space). "
                              f"`{checkout / 'webodm.sh'}` without arguments lists its flags")


def _refuse_flags(command: str, flags: list[str]) -> None:
    if flags:
        raise DeployError(f"{command} takes no flags ({' '.join(flags)}): it repeats those of the last start. "
                          "`./webodm.sh start FLAGS` changes them.")


# -- what runs --------------------------------------------------------------------------------------------------------

def restart(project: Project, arguments: list[str]) -> int:
    """`restart`: the last start once more, with the settings of the site's file as they are now."""
    _refuse_flags("restart", arguments)
    need_docker()
    state = project.state
    if not state.started or not image_id(IMAGE):
        raise DeployError("there is no earlier start to repeat. Run `./webodm.sh start` with your flags")
    return project.webodm_sh(project.environment(needed=True), "restart", *state.flags)


def stop(project: Project, arguments: list[str]) -> int:
    return _stop("stop", project, arguments)


def down(project: Project, arguments: list[str]) -> int:
    return _stop("down", project, arguments)


def _stop(command: str, project: Project, arguments: list[str]) -> int:
    _refuse_unknown(arguments, project.checkout)
    return project.webodm_sh(project.environment(), command, *(arguments or project.state.flags))


def logs(project: Project, arguments: list[str]) -> int:
    """`logs`: of webapp and the workers, whatever the arguments, unless they name services."""
    ours = ("webapp", "worker", "extensions-worker")
    named = set(arguments).intersection([*ours, "db", "broker", "scan-node"])
    return project.compose(project.environment(), "logs", *(arguments or ["--follow"]), *([] if named else ours))


def config(project: Project, arguments: list[str]) -> int:
    return project.compose(project.environment(needed=True), "config", *arguments)


def manage(arguments: list[str]) -> int:
    """A management command in the running webapp; its answer alone on stdout. Raises DeployError."""
    print("manage: in the running WebODM container", file=sys.stderr, flush=True)
    container = need_running("webapp")
    _need_our_image(container)
    return in_webapp(["python", MANAGE, *arguments])


def _need_our_image(container: str) -> None:
    if not containers.is_our_image((containers.inspect(container) or {}).get("Image", "")):
        raise DeployError("the running webapp is WebODM's own image, without our plugins: it was started by WebODM's own webodm.sh or "
                          "unit. `./webodm.sh start` starts it with the plugins")


# -- update and rollback ----------------------------------------------------------------------------------------------

def update(project: Project, arguments: list[str]) -> int:
    """`update`: fetch and build while the old version runs, then replace it. What it replaces is kept for `rollback`."""
    need_docker()
    ours, flags = _split(arguments)
    _refuse_flags("update", flags)
    checkout, state = project.checkout, project.state
    base = state.image or project.configured_image()
    previous: dict[str, Any] = {"image": base, "base_id": image_id(base), "image_id": image_id(IMAGE), "version": state.version,
                                "commit": current_commit(checkout), "flags": state.flags}
    environment = project.environment(needed=True)
    try:
        base = _fetch(project, environment, previous)
        version = _check_version(base, ours, "update")
    except DeployError as error:
        _put_back(project, previous)
        raise DeployError(f"{error} WebODM still runs as before.") from error
    state.image = environment["WEBODM_IMAGE"] = base
    if previous["image_id"]:
        docker("tag", previous["image_id"], PREVIOUS)  # kept before the build takes its name away
    if _build(project, environment):
        _put_back(project, previous)
        raise DeployError("the new image could not be built. WebODM still runs as before.")
    was_running = bool(containers.running("webapp"))
    state.previous, state.version, state.image_id = previous, version, image_id(IMAGE)
    state.write(checkout)
    print(f"* built on WebODM {version} ({base}); before: {previous['version'] or 'unknown'}", flush=True)
    if not was_running:
        print("* WebODM is not running; `./webodm.sh start` starts the new version")
        return 0
    if "--no-backup" not in ours:
        docker_backup.before_migrations(checkout / docker_backup.BACKUPS_NAME)
    flags = [*(flag for flag in state.flags if flag != "--detached"), "--detached"]
    code = project.webodm_sh(environment, "restart", *flags)
    if code:
        raise DeployError("WebODM is down. `./webodm.sh start` starts the new version, `./webodm.sh rollback` the previous one")
    print("* the new version is starting; `./webodm.sh rollback` returns to the previous one", flush=True)
    return 0


def _fetch(project: Project, environment: dict[str, str], previous: dict[str, Any]) -> str:
    """Bring the next version of WebODM's files and images here; returns the image to build on. Raises DeployError."""
    checkout, state = project.checkout, project.state
    if state.cloned:  # its version is ours: `git pull` in this checkout brings the next one
        if previous["commit"] != RELEASE:
            git(["fetch", "--quiet", "origin"], checkout)
            git(["checkout", "--quiet", RELEASE], checkout)
        base = os.environ.get("WEBODM_IMAGE") or RELEASE_IMAGE
    else:
        if previous["commit"]:
            git(["pull", "--quiet", "--ff-only"], checkout)
        base = os.environ.get("WEBODM_IMAGE") or project.configured_image()
    nodes = "docker-compose.nodeodm.yml"
    with_nodes = (checkout / nodes).exists() and " ".join(state.flags).count("--default-nodes 0") == 0
    pulled = project.compose({**environment, "WEBODM_EXTENSIONS_BARE": "1"}, *(["-f", nodes] if with_nodes else []), "pull")
    if base != previous["image"] and not pulled:
        pulled = subprocess.run(["docker", "pull", base]).returncode
    if pulled:
        raise DeployError("WebODM's images could not be pulled. Check the network and try again.")
    return base


def _put_back(project: Project, previous: dict[str, Any]) -> None:
    """Make files and tags what they were before an update."""
    if previous["commit"] and current_commit(project.checkout) != previous["commit"]:
        git(["reset", "--quiet", "--keep", previous["commit"]], project.checkout)  # on its branch, local changes kept
    for identity, tag in ((previous["base_id"], previous["image"]), (previous["image_id"], IMAGE)):
        if identity and image_id(tag) != identity and "@" not in tag:
            docker("tag", identity, tag)


def rollback(project: Project, arguments: list[str]) -> int:
    """`rollback`: the files, images and flags that the last update replaced."""
    _refuse_flags("rollback", arguments)
    state, previous = project.state, project.state.previous
    if not previous.get("image_id") or not image_id(previous["image_id"]):
        raise DeployError("there is no previous version: no update was made, or its old image was removed")
    _put_back(project, previous)
    changed = previous["version"] != state.version
    state.image, state.version, state.image_id = previous["image"], previous["version"], previous["image_id"]
    state.flags, state.previous = previous["flags"], {}
    state.write(project.checkout)
    flags = [*(flag for flag in state.flags if flag != "--detached"), "--detached"]
    code = project.webodm_sh(project.environment(needed=True), "restart", *flags)
    if code:
        raise DeployError("WebODM is down. `./webodm.sh start` starts the previous version")
    print(f"* back at WebODM {state.version or 'as it was'}", flush=True)
    if changed:
        print("* its database was migrated by the update. If something fails, restore the dump from before the update: it is in "
              f"{project.checkout / docker_backup.BACKUPS_NAME} (docs/admin/backup.md)")
    return 0


# -- backup, restore, out again ---------------------------------------------------------------------------------------

def run_backup(arguments: list[str]) -> int:
    """`backup [FILE]`, `backup --all DIRECTORY [--media]`. Raises DeployError."""
    parser = argparse.ArgumentParser(prog="./webodm.sh backup", allow_abbrev=False)
    parser.add_argument("file", nargs="?", help="the file for the rows of our tables (default: a name with the time)")
    parser.add_argument("--all", metavar="DIRECTORY", help="save the whole database, WebODM's key and all settings in a new directory")
    parser.add_argument("--media", action="store_true", help="with --all: also save WebODM's media")
    options = parser.parse_args(arguments)
    if options.all:
        if options.file:
            parser.error("give either FILE or --all DIRECTORY, not both")
        return docker_backup.dump_all(find_checkout(), Path(options.all).resolve(), options.media)
    return docker_backup.dump_tables(Path(options.file) if options.file else None)


def restore(project: Project, arguments: list[str]) -> int:
    """`restore DIRECTORY`: key and settings, then the media and the database before anything else runs."""
    ours, named = _split(arguments)
    if len(named) != 1 or named[0].startswith("-"):
        raise DeployError("restore needs one directory, made by `./webodm.sh backup --all DIRECTORY`")
    directory = Path(named[0]).resolve()
    if containers.running("webapp"):
        raise DeployError("WebODM is running. Run `./webodm.sh down` first, then restore")
    docker_backup.restore_files(project.checkout, directory)
    cloned, project.state = project.state.cloned, StartState.read(project.checkout)
    state = project.state
    state.cloned = cloned
    state.image = project.base_image()
    state.version = _check_version(state.image, ours, "restore")
    state.previous = {}
    environment = project.environment(needed=True)
    if _build(project, environment):
        raise DeployError("our image could not be built. The database was not changed")
    state.image_id, state.started = image_id(IMAGE), True
    state.write(project.checkout)
    flags = [*(flag for flag in state.flags if flag != "--detached"), "--detached"]
    code = project.webodm_sh({**environment, **_before_up("restore", directory)}, "start", *flags)
    if code:
        raise DeployError("the restore failed: see above. WebODM is down")
    print("* restored. Run `./webodm.sh doctor` to check it", flush=True)
    return 0


def uninstall(project: Project, arguments: list[str]) -> int:
    """`uninstall [--purge] [--dry-run]`: WebODM without us, started by its own script."""
    parser = argparse.ArgumentParser(prog="./webodm.sh uninstall", allow_abbrev=False)
    parser.add_argument("--purge", action="store_true", help="also delete our tables and files")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    options = parser.parse_args(arguments)
    container = need_running("webapp")
    _need_our_image(container)
    if options.dry_run:
        return in_webapp(docker_uninstall.command(options.purge, dry_run=True))
    code = docker_uninstall.take_out(container, options.purge)
    if code:
        return code
    if project.webodm_sh(project.environment(), "down", *project.state.flags):
        raise DeployError("WebODM could not be stopped. Run `uninstall` again")
    if options.purge:
        docker_uninstall.forget_files(project.checkout)
    print("* uninstalled. Start WebODM without the plugins by its own script:\n"
          f"  cd {project.checkout} && ./webodm.sh start {' '.join(project.state.flags)}".rstrip(), flush=True)
    return 0


def unit(project: Project, arguments: list[str]) -> int:
    """`unit`: print a systemd unit for this checkout."""
    _refuse_flags("unit", arguments)
    text = (ROOT / "deploy" / "docker" / "webodm-extensions.service").read_text()
    for name, value in (("@WEBODM_DIR@", project.checkout), ("@EXTENSIONS_DIR@", ROOT)):
        text = text.replace(name, str(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%"))
    print(text, end="")
    return 0


def doctor(url: Optional[str], as_json: bool) -> int:
    """The doctor inside the running webapp container. Raises DeployError."""
    container = need_running("webapp")
    _need_our_image(container)
    command = ["python", "/opt/webodm-extensions/deploy", "doctor", "--webodm", "/webodm"]
    return in_webapp(command + (["--url", url] if url else ["--url", "container"]) + (["--json"] if as_json else []))


COMMANDS = {"start": start, "stop": stop, "down": down, "restart": restart, "update": update, "rollback": rollback, "logs": logs,
            "config": config, "restore": restore, "uninstall": uninstall, "unit": unit}


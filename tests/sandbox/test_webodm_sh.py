"""`webodm.sh` as a program: help, errors, where it may be called from, how it finds a Python 3.9, its lock."""
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

from tests.plugin import ROOT

SCRIPT = ROOT / "webodm.sh"


def call(*arguments: str, cwd: Optional[Path] = None, env: Optional[dict[str, str]] = None,
         script: Path = SCRIPT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(script), *arguments], cwd=cwd, env=env, capture_output=True, stdin=subprocess.DEVNULL, text=True,
                          timeout=300)


def functions(snippet: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs `snippet` with the script's functions defined and its main call left out."""
    source = SCRIPT.read_text().replace('\nmain "$@"; exit\n', "\n").replace(
        "SELF=${BASH_SOURCE[0]}", f'SELF={env.get("FAKE_ROOT", ROOT)}/webodm.sh')
    return subprocess.run([shutil.which("bash"), "-c", source + snippet], env=env, capture_output=True,
                          text=True, timeout=300)


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_the_commands_from_any_directory(flag, tmp_path):
    done = call(flag, cwd=tmp_path)
    assert done.returncode == 0
    for command in ("demo", "test", "sandbox start", "manage", "install", "doctor", "package"):
        assert command in done.stdout


@pytest.mark.parametrize("arguments, status, words", [
    ((), 2, "Usage"),
    (("paint",), 1, "there is no command 'paint'"),
    (("manage",), 1, "manage needs a command"),
    (("sandbox",), 1, "sandbox needs one of"),
    (("manage", "--sandbox"), 1, "manage needs a command"),
    (("manage", "--webodm", "/nonexistent", "check"), 1, "is not a WebODM: it has no manage.py"),
    (("manage", "--webodm=/nonexistent", "check"), 1, "is not a WebODM: it has no manage.py"),
    (("manage", "--python", "python3", "--webodm=/nonexistent", "check"), 1, "is not a WebODM: it has no manage.py"),
    (("backup", "--wat"), 2, "unrecognized arguments: --wat"),
    (("doctor", "--env-file", "/nonexistent"), 1, "are for a native WebODM. Add --webodm DIR"),
    (("demo", "opera"), 1, "'scan' (the default) and 'tapis', not 'opera'"),
    (("node",), 1, "node knows 'start'"),
    (("node", "start", "--token"), 1, "--token needs a value"),
    (("bench", "opera"), 1, "there is no benchmark 'opera'"),
])
def test_wrong_calls_say_what_is_wrong(arguments, status, words):
    done = call(*arguments)
    assert done.returncode == status
    assert words in done.stderr


def test_works_through_a_link_to_its_directory(tmp_path):
    (tmp_path / "link").symlink_to(ROOT)
    assert call("--help", script=tmp_path / "link" / "webodm.sh").returncode == 0


def test_works_through_links_to_itself_whatever_the_caller_has_set(tmp_path):
    """As one in ~/bin; and `cd` of a shell with CDPATH goes elsewhere and prints."""
    (tmp_path / "bin dir").mkdir()
    (tmp_path / "bin dir" / "first").symlink_to(SCRIPT)
    (tmp_path / "bin dir" / "webodm").symlink_to("first")
    done = call("package", "--out", "zips", cwd=tmp_path, script=tmp_path / "bin dir" / "webodm",
                env={**os.environ, "CDPATH": f"/:{tmp_path}"})
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "zips").glob("*.zip"))) == 2


@pytest.mark.parametrize("command", ["demo", "sandbox", "manage", "test", "bench", "lint", "node"])
def test_asking_for_help_installs_nothing(command, bare_env, tmp_path):
    """The tools for it are not even on this PATH; and a directory with spaces holds the checkout."""
    root = tmp_path / "a check out"
    root.mkdir()
    shutil.copy(SCRIPT, root / "webodm.sh")
    done = subprocess.run([shutil.which("bash"), str(root / "webodm.sh"), command, "--help"], env=bare_env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and command in done.stdout
    assert not (root / ".venv").exists()


def test_a_script_that_is_changed_while_it_runs_ends_as_it_began(tmp_path):
    """As by a `git pull` while the sandbox or the tests run."""
    copy = tmp_path / "webodm.sh"
    text = SCRIPT.read_text()
    # the copy changes itself in place while its command runs, as a longer text
    change = "import sys; f = open(sys.argv[1], 'r+'); t = f.read(); f.seek(0); f.write('#' * 900 + t)"
    changing = f'usage() {{ python3 -c "{change}" "{copy}"; echo usage; }}'
    copy.write_text(text.replace("# On one line: bash", changing + "\n# On one line: bash"))
    copy.chmod(0o755)
    done = call("--help", script=copy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "usage\n", "")
    assert copy.read_text().startswith("#" * 900), "it was changed"


def fake_python(path: Path, version: str) -> Path:
    """A program that answers as a Python of that version does, or as a pyenv shim without a version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n[ -n '{version}' ] || exit 127\necho {version}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare_env(tmp_path) -> dict[str, str]:
    """A PATH with the plain tools and no Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dirname", "ls", "cat", "cksum", "mkdir", "rm", "sleep", "kill", "ln", "readlink", "flock", "uname"):
        (tools / name).symlink_to(shutil.which(name))
    return {"PATH": str(tools), "HOME": str(tmp_path / "home")}


def test_finds_python39_on_the_path_past_a_shim_that_fails(bare_env, tmp_path):
    fake_python(tmp_path / "shims" / "python3.9", "")
    good = fake_python(tmp_path / "bin" / "python3", "3.9")
    bare_env["PATH"] += f":{tmp_path / 'shims'}:{good.parent}"
    assert functions("find_python39", bare_env).stdout.strip() == str(good)


def test_finds_pyenvs_python39_in_an_empty_path(bare_env, tmp_path):
    fake_python(tmp_path / "home" / ".pyenv" / "versions" / "3.9.1" / "bin" / "python3.9", "")
    good = fake_python(tmp_path / "home" / ".pyenv" / "versions" / "3.9.18" / "bin" / "python3.9", "3.9")
    assert functions("find_python39", bare_env).stdout.strip() == str(good)


def test_finds_the_root_of_a_pyenv_that_another_home_holds(bare_env, tmp_path):
    shim = fake_python(tmp_path / "else" / ".pyenv" / "shims" / "python3.9", "")
    good = fake_python(tmp_path / "else" / ".pyenv" / "versions" / "3.9.18" / "bin" / "python3.9", "3.9")
    bare_env["PATH"] += f":{shim.parent}"
    assert functions("find_python39", bare_env).stdout.strip() == str(good)


def test_finds_uvs_python39(bare_env, tmp_path):
    good = fake_python(tmp_path / "uv-pythons" / "python3.9", "3.9")
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "python find 3.9" ] && echo {good}\n')
    uv.chmod(0o755)
    bare_env["PATH"] += f":{uv.parent}"
    assert functions("find_python39", bare_env).stdout.strip() == str(good)


def test_says_how_to_get_a_python39_where_there_is_none(bare_env, tmp_path):
    fake_python(tmp_path / "bin" / "python3", "3.12")
    bare_env["PATH"] += f":{tmp_path / 'bin'}"
    done = functions("find_python39", bare_env)
    assert done.returncode == 1
    assert "uv python install 3.9" in done.stderr
    assert "pyenv install 3.9" in done.stderr


def test_many_calls_at_once_take_turns_and_a_killed_one_holds_nothing(bare_env, tmp_path):
    """Each call works with the lock to itself. A killed one leaves its file behind, with a process id that any program may have by now."""
    bare_env["FAKE_ROOT"] = str(tmp_path)
    snippet = """
        job() { echo "in $1"; command sleep 0.1; echo "out $1"; }
        die() { echo "held"; exec 1>&-; while :; do :; done; }
        with_lock host die & held=$!
        command sleep 1
        kill -9 $held
        for round in 1 2 3; do
            for each in a b c d; do (with_lock host job $each) & done
            wait
        done 2>&1"""
    done = functions(snippet, bare_env)
    lines = [line for line in done.stdout.splitlines() if line.split()[0] in ("in", "out")]
    assert len(lines) == 24, done.stdout
    for entered, left in zip(lines[::2], lines[1::2]):
        assert (entered.split()[0], left.split()[0]) == ("in", "out") and entered.split()[1] == left.split()[1], lines
    assert "Another webodm.sh is setting up .venv/host" in done.stdout


@pytest.mark.parametrize(("venv", "system", "machine", "words"), [
    ("host", "Linux", "x86_64", ""),
    ("engine", "Linux", "aarch64", ""),
    ("clients", "Linux", "aarch64", "this machine is Linux aarch64"),
    ("host", "Linux", "aarch64", "sudo apt-get install postgresql redis-server"),
    ("host", "Darwin", "arm64", "this machine is Darwin arm64"),
    ("engine", "Linux", "riscv64", "this machine is Linux riscv64"),
])
def test_a_machine_that_it_does_not_run_on_is_told_so_at_once(venv, system, machine, words, bare_env, tmp_path):
    """Not that the network is missing: no wheel exists there."""
    uname = tmp_path / "bin" / "uname"
    uname.parent.mkdir()
    uname.write_text(f'#!/bin/sh\n[ "$1" = -s ] && echo {system} || echo {machine}\n')
    uname.chmod(0o755)
    bare_env["PATH"] = f"{uname.parent}:{bare_env['PATH']}"
    done = functions(f"make_venv() {{ echo made; }}; ensure_{venv}", {**bare_env, "FAKE_ROOT": str(ROOT)}) if not words else \
        functions(f"ensure_{venv}", bare_env)
    assert (done.returncode == 0) == (not words) and words in done.stderr and "network" not in done.stderr, done.stderr


def test_uv_fetches_a_python39_where_there_is_none(bare_env, tmp_path):
    good = tmp_path / "uv-pythons" / "python3.9"
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'''#!/bin/bash
case "$1 $2 $3" in
  "python install 3.9") mkdir -p {good.parent}; echo '#!/bin/sh' > {good}; echo 'echo 3.9' >> {good}; /bin/chmod +x {good} ;;
  "python find 3.9") [ -x {good} ] && echo {good} ;;
esac
''')
    uv.chmod(0o755)
    bare_env["PATH"] += f":{uv.parent}"
    done = functions("find_python39", bare_env)
    assert done.stdout.strip() == str(good) and "uv downloads one" in done.stderr


@pytest.mark.parametrize(("before", "after"), [("", "localhost,127.0.0.1,::1"), ("example.org", "example.org,localhost,127.0.0.1,::1"),
                                               ("127.0.0.1,x", "127.0.0.1,x")])
def test_a_proxy_does_not_stand_before_our_own_servers(before, after, bare_env):
    """`http_proxy` without `no_proxy` would send requests to 127.0.0.1 there."""
    done = functions('echo "$no_proxy $NO_PROXY"', {**bare_env, "http_proxy": "http://127.0.0.1:9", "no_proxy": before})
    assert done.stdout.split() == [after, "localhost,127.0.0.1,::1"]


def test_a_venv_is_made_again_only_when_its_requirements_change(tmp_path):
    python = tmp_path / "python3.9"  # makes virtual environments without pip: nothing is installed here
    python.write_text(f'#!/bin/sh\n[ "$2" != venv ] || set -- "$@" --without-pip\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    env = {**os.environ, "FAKE_ROOT": str(tmp_path), "WEBODM_PYTHON": str(python)}
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "a.txt").write_text("one\n")
    before = functions("requirements_key requirements/a.txt", env).stdout
    assert functions("requirements_key requirements/a.txt", env).stdout == before != ""
    (tmp_path / "requirements" / "a.txt").write_text("two\n")
    assert functions("requirements_key requirements/a.txt", env).stdout != before
    counting = """
        run_pip() { echo "pip $1"; }
        install_tiny() { run_pip tiny; }
        make_venv tiny KEY; make_venv tiny KEY; make_venv tiny OTHER; rm "$VENVS/tiny/bin/python"; make_venv tiny OTHER"""
    done = functions(counting, env)
    assert done.stdout.count("pip tiny") == 6, done.stderr  # pip itself and the packages, three times
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["Setting", "Updating", "Setting"]


@pytest.mark.parametrize("command", ["status", "logs"])
def test_a_reader_that_has_enough_is_no_error(command, tmp_path):
    """`./webodm.sh sandbox status | head -1`: it ends as other programs do, without a traceback."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "web.log").write_text("a line\n" * 50)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run([str(SCRIPT), "sandbox", command, "--data", str(tmp_path)], stdout=closed, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")

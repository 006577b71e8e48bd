"""Builds the uploader as one file, or the window as a program: `python build.py zipapp|program [--out DIR]`.

`zipapp` needs pip, and a network or a pip cache. `program` makes a program for the system on which it runs. First run
`pip install pyinstaller "./uploader[window,heif]"` with the same Python.
"""
import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipapp
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: The last releases of our dependencies that run with Python 3.8.
LAST_FOR_38 = ["requests<2.33", "urllib3<2.3", "charset-normalizer<3.5", "idna<3.12"]


def build_zipapp(out: Path) -> Path:
    """`openscan-upload.pyz`: the command and its pure Python dependencies. Runs with any Python from 3.8 on."""
    target = out / "openscan-upload.pyz"
    needs = re.findall(r"^dependencies = \[(.+)\]$", (HERE / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]
    with tempfile.TemporaryDirectory() as directory:
        # Wheels for the oldest supported Python, without compiled parts: Python cannot import those from a zip.
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", directory, "--only-binary", ":all:",
                        "--python-version", "3.8", "--implementation", "py", "--abi", "none", "--platform", "any",
                        *re.findall(r'"([^"]+)"', needs), *LAST_FOR_38], check=True)
        shutil.copytree(str(HERE / "src" / "openscan_uploader"), f"{directory}/openscan_uploader",
                        ignore=shutil.ignore_patterns("__pycache__"))
        zipapp.create_archive(directory, target, interpreter="/usr/bin/env python3", main="openscan_uploader.__main__:run", compressed=True)
    target.chmod(0o755)
    return target


def build_program(out: Path) -> Path:
    """A directory with the window as a program, made by PyInstaller from `openscan-uploader.spec`."""
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", "--distpath", str(out),
                        "--workpath", work, str(HERE / "openscan-uploader.spec")], check=True)
    return out / "openscan-uploader"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["zipapp", "program"])
    parser.add_argument("--out", type=Path, default=HERE.parent / "dist", help="directory for the result (default: dist)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(build_zipapp(options.out) if options.what == "zipapp" else build_program(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

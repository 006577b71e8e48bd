"""The figures that the engine promises, at default quality. Long: ``--long``."""
import subprocess
import sys

import pytest

from tests.engine.running import ROOT


@pytest.mark.long
@pytest.mark.parametrize("only", ["banana", "object", "relief", "flight"])
def test_figures(only, tmp_path):
    done = subprocess.run([sys.executable, "-m", "dev.benchmarks.engine", "figures", "--only", only, "--work",
                           str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=3600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]

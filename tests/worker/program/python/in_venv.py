"""Runs a test of this folder with the Python of $TRAINYARD_VENV, or build/venv below the source
tree.

Exit status 77: that Python is not there, or has no Keras.
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = (
    pathlib.Path(os.environ.get("TRAINYARD_VENV") or HERE.parents[3] / "build/venv") / "bin/python"
)
FIND = (
    "from importlib.util import find_spec; import sys; "
    "sys.exit(not all(map(find_spec, ('keras', 'tf_keras', 'PIL'))))"
)

if not PYTHON.exists() or subprocess.run([PYTHON, "-c", FIND]).returncode:
    print(f"skipped: {PYTHON} has no Keras (ci/test.sh --all installs it)")
    sys.exit(77)
os.execv(PYTHON, [str(PYTHON), str(HERE / sys.argv[1]), *sys.argv[2:]])

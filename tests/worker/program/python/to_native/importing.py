"""Imports models as the attempt does, and gives back what came of it. Import this before anything else.

Tests run with the Python that has Keras: TRAINYARD_VENV, else build/venv. Exit status 77: there is none.
"""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[4]
PACKAGE = ROOT / "worker" / "program" / "python"

_python = pathlib.Path(os.environ.get("TRAINYARD_VENV") or ROOT / "build" / "venv") / "bin" / "python"
if "TRAINYARD_KERAS" not in os.environ:
    probe = "import importlib.util as u, sys; sys.exit(0 if all(map(u.find_spec, ['keras', 'safetensors'])) else 77)"
    if not _python.exists() or subprocess.run([_python, "-c", probe]).returncode != 0:
        print(f"{_python} has no Keras: skipped")
        sys.exit(77)
    changed = {"TRAINYARD_KERAS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    os.execve(_python, [str(_python), *sys.argv], {**os.environ, **changed})

sys.path.insert(0, str(PACKAGE))

import numpy  # noqa: E402
from trainyard_program.to_native import __main__ as to_native  # noqa: E402
from trainyard_program.to_native.refused import Refused  # noqa: E402

DISTANCE_MAX = 1e-4


class Imported:
    def __init__(self, path, folder):
        work = to_native.Import(str(path))
        self.layers, self.distance = work.run(str(folder))
        self.lines = work.lines
        self.spec = pathlib.Path(folder, "trainyard.yaml").read_text()
        self.has_weights = pathlib.Path(folder, "weights.safetensors").exists()


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


def import_model(model, file="model.keras"):
    """Saves a Keras model, imports the file."""
    with folder() as place:
        path = place / file
        if file.endswith(".json"):
            path.write_text(model.to_json())
        else:
            model.save(path)
        (place / "out").mkdir()
        return Imported(path, place / "out")


def import_text(text, file):
    with folder() as place:
        (place / file).write_text(text)
        return Imported(place / file, place)


def refusal(make):
    """The sentence that `make` is refused with."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            make()
    except Refused as refused:
        text = str(refused)
        assert "\n" not in text and len(text) < 1_000, text
        return text
    raise AssertionError("expected a refusal, found none")


def randomise(model, seed):
    """Other weights than fresh ones, which are zeros and ones in many places."""
    random = numpy.random.default_rng(seed)
    for layer in model.layers:
        values = []
        for variable in layer.weights:
            shape = tuple(variable.shape)
            spread = (2.0 / max(1, numpy.prod(shape[:-1]))) ** 0.5 if len(shape) > 1 else 0.3
            value = random.normal(0, spread, shape)
            if any(word in variable.name for word in ("variance", "gamma")):
                value = random.uniform(0.5, 2, shape)
            values.append(value.astype("float32") if "count" not in variable.name else numpy.asarray(variable))
        layer.set_weights(values)
    return model


VALIDATE = """
import json, sys, jsonschema, yaml
schema = json.load(open(sys.argv[1]))
for text in json.load(sys.stdin):
    jsonschema.validate(yaml.safe_load(text), schema)
"""


def validate(specs):
    """Each spec, with the # of its data taken away, against the schema of trainyard.yaml."""
    filled = ["\n".join(line[1:] if line[:1] == "#" and line[1:2] not in (" ", "") or line.startswith("#  ") else line
                        for line in spec.split("\n")) for spec in specs]
    command = ["/usr/bin/python3", "-c", VALIDATE, str(ROOT / "docs" / "spec.schema.json")]
    done = subprocess.run(command, input=json.dumps(filled), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:] + "\n".join(filled)

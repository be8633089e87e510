"""Runs programs as the worker does: a folder of their own, an environment of their own, a metrics
file.
"""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
PROGRAMS = HERE.parent / "programs"
PACKAGE = ROOT / "worker" / "program" / "python"
FASHION_MNIST = "/usr/share/datasets/fashion-mnist"
LIMIT_S = 800


class Attempt:
    """One program in one folder; `run` may be called again to continue it."""

    def __init__(self, folder, program, params=None, data=None):
        self.folder = pathlib.Path(folder)
        self.program = program
        for name in ("work", "home", "data", "checkpoints", "output"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name, path in (data or {}).items():
            os.symlink(path, self.folder / "data" / name)
        (self.folder / "params.json").write_text(json.dumps(params or {}))
        self.metrics = self.folder / "metrics"

    def environment(self, hooked, resume, more):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "KERAS_HOME": str(self.folder / "home" / ".keras"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": f"{PACKAGE}:{HERE / 'killer'}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
            "NO_PROXY": "",
            # Nobody listens there: downloads fail at once.
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
        }
        if hooked:
            environment.update(
                TRAINYARD_METRICS_FILE=str(self.metrics),
                TRAINYARD_PARAMS_FILE=str(self.folder / "params.json"),
                TRAINYARD_DATA_DIR=str(self.folder / "data"),
                TRAINYARD_CHECKPOINT_DIR=str(self.folder / "checkpoints"),
                TRAINYARD_OUTPUT_DIR=str(self.folder / "output"),
            )
        if resume:
            environment["TRAINYARD_RESUME_FROM"] = str(resume)
        environment.update(more or {})
        return environment

    def start(self, *arguments, hooked=True, resume=None, more=None, fresh_work=False):
        if fresh_work:  # another attempt begins with a new copy of the source
            self.folder.joinpath("work").rename(self.folder / "work-before")
            (self.folder / "work").mkdir()
        return subprocess.Popen(
            [sys.executable, *map(str, self.program_words()), *map(str, arguments)],
            cwd=self.folder / "work",
            env=self.environment(hooked, resume, more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def program_words(self):
        return [self.program] if isinstance(self.program, (str, pathlib.Path)) else self.program

    def run(self, *arguments, **how):
        process = self.start(*arguments, **how)
        self.stdout, self.stderr = process.communicate(timeout=LIMIT_S)
        return process.returncode

    def lines(self, key=None):
        if not self.metrics.exists():
            return []
        lines = [json.loads(line) for line in self.metrics.read_text().splitlines()]
        return [line for line in lines if key in line] if key else lines

    def epochs(self):
        return [line["epoch"] for line in self.lines("epoch")]

    def newest(self):
        """The entry that the last epoch's line names: what the worker continues from."""
        return self.folder / "checkpoints" / self.lines("checkpoint")[-1]["checkpoint"]


def make_image_folder(folder, count=40, side=32):
    """Two classes that colour tells apart, most of the time."""
    import numpy
    from PIL import Image

    rng = numpy.random.default_rng(0)
    for channel, name in enumerate(("blue", "red")):
        os.makedirs(f"{folder}/{name}")
        for index in range(count):
            pixels = rng.integers(0, 160, (side, side, 3))
            pixels[..., 2 - 2 * channel] += 60
            Image.fromarray(pixels.astype("uint8")).save(f"{folder}/{name}/{index:03}.png")
    return folder

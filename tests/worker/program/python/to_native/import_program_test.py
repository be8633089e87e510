"""Programs are run up to their fit and no further; what they build is imported. Run as the worker runs them."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

import importing  # first: it finds the Python with Keras

LIMIT_S = 300

FASHION = """
import helper
from tensorflow.keras import layers, models
from tensorflow.keras.datasets import fashion_mnist

(x, y), test = fashion_mnist.load_data()
assert x.shape[1:] == (28, 28) and y.ndim == 1
model = models.Sequential([
    layers.Conv2D(helper.FILTERS, 3, activation='relu'), layers.MaxPooling2D(), layers.Flatten(),
    layers.Dense(10, activation='softmax'),
])
model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', metrics=['accuracy'])
try:
    model.fit(x[..., None] / 255.0, y, epochs=7, batch_size=64, validation_split=0.2)
except Exception:
    pass
open('went-on', 'w').close()
"""
NEVER_FITS = """
import keras
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
model.compile('sgd', 'mse')
"""
CRASHES = "import keras\n\nraise ValueError('no such\\nthing')\n"
SUBCLASSED = """
import keras
class Net(keras.Model):
    def call(self, x):
        return x
net = Net()
net.compile('sgd', 'mse')
net.fit([1], [1])
"""


class Attempt:
    def __init__(self, place, program, **files):
        self.output, metrics = place / "output", place / "metrics"
        work = place / "work"
        for folder in (work, self.output, place / "home"):
            folder.mkdir()
        (work / "train.py").write_text(program)
        for name, text in files.items():
            (work / f"{name}.py").write_text(text)
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(place / "home"), "KERAS_HOME": str(place / "home" / ".keras"),
            "PYTHONPATH": str(importing.PACKAGE), "TF_CPP_MIN_LOG_LEVEL": "3", "LANG": "C.UTF-8",
            "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",  # nobody listens there
            "TRAINYARD_METRICS_FILE": str(metrics), "TRAINYARD_OUTPUT_DIR": str(self.output),
            "TRAINYARD_LOGITS": os.environ["TRAINYARD_LOGITS"],
        }
        command = [sys.executable, "-m", "trainyard_program.to_native", "train.py"]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        self.code, self.stderr = done.returncode, done.stderr
        self.lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        self.went_on = (work / "went-on").exists()

    def said(self, key):
        return next((line[key] for line in self.lines if key in line), None)

    def file(self, name):
        return pathlib.Path(self.output, name).read_text()


def run(program, **files):
    with importing.folder() as place:
        attempt = Attempt(place, program, **files)
        attempt.spec = attempt.file("trainyard.yaml") if attempt.code == 0 else ""
        attempt.translation = attempt.file("translation.txt") if attempt.code == 0 else ""
        return attempt


class ProgramTest(unittest.TestCase):
    def test_a_program_is_stopped_at_its_fit(self):
        attempt = run(FASHION, helper="FILTERS = 6\n")
        self.assertEqual(attempt.code, 0, attempt.stderr)
        self.assertFalse(attempt.went_on)
        self.assertLess(attempt.said("val_loss"), importing.DISTANCE_MAX)
        self.assertIn("filters: 6", attempt.spec)
        self.assertIn("  epochs: 7\n", attempt.spec)
        self.assertIn("  batch_size: 64\n", attempt.spec)
        self.assertIn("validation: 0.2\n", attempt.spec)
        self.assertIn("keras.datasets.fashion_mnist", attempt.spec)
        self.assertIn("random images stood in", attempt.translation)
        importing.validate([attempt.spec])

    def test_a_program_that_never_fits_gives_what_it_compiled(self):
        self.assertEqual(run(NEVER_FITS).code, 0)

    def test_programs_that_come_to_nothing_say_why(self):
        for program, words in (
            (CRASHES, ["train.py", "line 3", "ValueError", "before it called fit"]),
            (SUBCLASSED, ["Net", "Sequential or functional"]),
            ("def broken(:\n", ["line 1", "SyntaxError"]),
        ):
            with self.subTest(words=words):
                attempt = run(program)
                self.assertNotEqual(attempt.code, 0)
                for word in words:
                    self.assertIn(word, attempt.said("error"))
                self.assertNotIn("\n", attempt.said("error"))


if __name__ == "__main__":
    unittest.main()

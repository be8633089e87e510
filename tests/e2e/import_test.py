"""A Keras model is imported in a sandbox on this machine, and the network that comes of it is trained on from its
weights; what cannot be translated is named. Exit status 77: no Python with Keras (TRAINYARD_VENV, else build/venv)."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from yard import CLASSES, SIDE, YardTest, main

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = pathlib.Path(os.environ.get("TRAINYARD_VENV") or ROOT / "build" / "venv")
FIND = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('keras', 'safetensors'))))"

PROGRAM = f"""
import keras
from keras import layers as L

model = keras.Sequential([
    keras.Input(({SIDE}, {SIDE}, 1)), L.Rescaling(1 / 255), L.Conv2D(8, 3, padding='same', activation='relu'),
    L.MaxPooling2D(), L.Flatten(), L.Dense({CLASSES}, activation='softmax')])
model.compile(keras.optimizers.SGD(1e-9), 'sparse_categorical_crossentropy')
model.save('model.keras')
refused = [keras.Input((12, 12, 1)), L.Conv2D(4, 3, activation='gelu', name='odd'), L.Flatten(), L.Dense(3)]
keras.Sequential(refused).save('refused.keras')
model.fit([], [], epochs=2, batch_size=16)
raise SystemExit('not stopped at fit')
"""


def can_sandbox():
    bubblewrap = shutil.which("bwrap")
    return bubblewrap and subprocess.run(
        [bubblewrap, "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True).returncode == 0


class Import(YardTest):

    def path(self, *names):
        return os.path.join(self.yard.folder, *names)

    def make_models(self):
        os.makedirs(self.path("source"))
        with open(self.path("source", "train.py"), "w") as file:
            file.write(PROGRAM)
        environment = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        program = PROGRAM.replace("model.fit", "raise SystemExit\nmodel.fit")
        subprocess.run([VENV / "bin/python", "-c", program], cwd=self.path("source"), env=environment, check=True)

    def read(self, *names):
        with open(self.path(*names)) as file:
            return file.read()

    def train_on(self, folder):
        """Fills in where the data lie, and trains."""
        spec = re.sub("#data:\n(#.*\n)+", f"data:\n  format: idx\n"
                      "  train: {images: DIR/train-images.idx, labels: DIR/train-labels.idx}\n"
                      .replace("DIR", self.yard.data_dir), self.read(folder, "trainyard.yaml"))
        with open(self.path(folder, "trainyard.yaml"), "w") as file:
            file.write(spec + "\ntarget: {metric: val_loss, at_most: 0.00000001}\ntune: false\n")
        job = int(self.yard.json("submit", self.path(folder), "--set", "train.epochs=1")["job"])
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"] + self.yard.log())
        return shown

    @unittest.skipUnless(can_sandbox(), "NOT TESTED: bubblewrap cannot make a sandbox here")
    def test_a_model_and_a_program_are_imported_and_trained_on(self):
        self.make_models()
        self.yard.start("--allow-programs", "--program-path", str(VENV))
        out = self.yard.cli("import", self.path("source", "model.keras"), "-o", self.path("net")).stdout
        self.assertIn("Conv2D 'conv2d' -> conv {filters: 8", out)
        self.assertIn("weights: weights.safetensors", self.read("net", "trainyard.yaml"))
        self.train_on("net")
        # A tensor that does not fit is named.
        os.truncate(self.path("net", "weights.safetensors"), 100)
        job = int(self.yard.json("submit", self.path("net"))["job"])
        self.assertIn("safetensors", self.yard.wait_for_end(job)["reason"])

        self.yard.cli("import", self.path("source", "train.py"), "-o", self.path("of-program"))
        spec = self.read("of-program", "trainyard.yaml")
        for words in ("epochs: 2", "batch_size: 16", "optimizer: sgd", "filters: 8"):
            self.assertIn(words, spec)

        refused = self.yard.cli("import", self.path("source", "refused.keras"), "-o", self.path("none"), expect=4)
        self.assertIn("Conv2D 'odd': activation gelu has no native form", refused.stdout + refused.stderr)
        self.assertFalse(os.path.exists(self.path("none", "trainyard.yaml")))


if __name__ == "__main__":
    if not (VENV / "bin/python").exists() or subprocess.run([VENV / "bin/python", "-c", FIND]).returncode:
        print(f"skipped: {VENV} has no Keras (ci/test.sh --all installs it)")
        sys.exit(77)
    main()

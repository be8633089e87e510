"""Unmodified Keras programs, trained under the worker's contract; killed in the middle and
continued.

A program is killed by SIGKILL at the end of an epoch: its entry is written but not yet named, its
line not yet said.
"""

import json
import pathlib
import re
import shutil
import sys
import tempfile
import unittest
import zipfile

import support
from support import FASHION_MNIST, PROGRAMS, Attempt

DATA = {"fashion_mnist": FASHION_MNIST, "mnist": FASHION_MNIST}


class Programs(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def attempt(self, program, name="attempt", **how):
        return Attempt(self.folder / name, PROGRAMS / program, data=DATA, **how)

    def ok(self, attempt, *arguments, notes=0, **how):
        self.assertEqual(attempt.run(*arguments, **how), 0, attempt.stderr[-2000:])
        self.assertEqual(attempt.lines("error"), [])
        self.assertEqual(len({line["note"] for line in attempt.lines("note")}), notes)

    def kill_and_continue(self, attempt, epoch, epochs, *arguments, notes=0, more=None):
        """All epochs are there once, and all but the first few come from the second attempt."""
        code = attempt.run(*arguments, more={**(more or {}), "TEST_KILL_AT": f"epoch-{epoch:05}"})
        self.assertEqual(code, -9, attempt.stderr[-2000:])
        self.assertEqual(attempt.epochs(), list(range(1, epoch)))
        steps = attempt.lines("epoch")[-1]["step"]
        how = {"resume": attempt.newest(), "fresh_work": True, "more": more}
        self.ok(attempt, *arguments, notes=notes, **how)
        self.assertEqual(attempt.epochs(), list(range(1, epochs + 1)))
        self.assertEqual(attempt.lines("epoch")[-1]["step"] * (epoch - 1), steps * epochs)

    def test_sequential_cnn_on_fashion_mnist(self):
        undisturbed = self.attempt("fashion_cnn.py", "undisturbed")
        self.ok(undisturbed)
        last = undisturbed.lines("epoch")[-1]
        self.assertEqual(last["step"], 4 * 43)
        for name in (
            "loss",
            "accuracy",
            "val_loss",
            "val_accuracy",
            "seconds",
            "images_per_second",
        ):
            self.assertGreater(last[name], 0)
        self.assertEqual(last["learning_rate"], 0.001)
        self.assertEqual(
            undisturbed.lines("model")[0]["model"],
            {
                "description": "conv2d 16 - max_pooling2d - conv2d 32 - max_pooling2d - flatten"
                " - dropout 0.2 - dense 32 - dense 10",
                "parameters": 30762,
                "changes": [],
            },
        )
        entries = {path.name for path in (undisturbed.folder / "checkpoints").glob("epoch-*")}
        self.assertEqual(entries, {"epoch-00002", "epoch-00003", "epoch-00004"})
        with zipfile.ZipFile(undisturbed.newest() / "model.keras") as model:
            self.assertIn("model.weights.h5", model.namelist())
        accuracy = undisturbed.lines("result")[-1]["result"]["accuracy"]
        self.assertEqual(f"Test accuracy: {accuracy:.4f}", undisturbed.stdout.split("\n")[-2])

        continued = self.attempt("fashion_cnn.py")
        self.kill_and_continue(continued, 3, 4)
        self.assertIn("epochs 4 [0, 1, 2, 3]", continued.stdout)
        self.assertAlmostEqual(
            continued.lines("result")[-1]["result"]["accuracy"], accuracy, delta=0.05
        )

    def test_without_the_workers_environment_a_program_is_as_ever(self):
        plain = self.attempt("dense.py")
        self.assertEqual(plain.run(hooked=False), 0, plain.stderr[-2000:])
        self.assertRegex(plain.stdout, r"^last 0\.\d+\n$")
        self.assertEqual(list((plain.folder / "checkpoints").iterdir()), [])

    def test_image_folder(self):
        images = support.make_image_folder(self.folder / "images")
        self.kill_and_continue(self.attempt("image_folder.py"), 3, 4, images)

    def test_functional_model_with_a_branch(self):
        attempt = self.attempt("functional.py")
        self.kill_and_continue(attempt, 3, 4)
        printed = float(re.search(r"'acc': ([\d.]+)", attempt.stdout)[1])
        self.assertAlmostEqual(attempt.lines("result")[-1]["result"]["accuracy"], printed, 6)

    def test_dense_model_without_an_input_layer(self):
        attempt = self.attempt("dense.py")
        self.kill_and_continue(attempt, 2, 3)
        # What it prints of the whole History is what was reported.
        self.assertIn(str(round(attempt.lines("epoch")[-1]["val_accuracy"], 3)), attempt.stdout)

    def test_a_model_of_its_own_class_trained_epoch_by_epoch(self):
        attempt = self.attempt("own_class.py")
        self.kill_and_continue(attempt, 3, 4, notes=1)
        self.assertIn("only its weights", attempt.lines("note")[0]["note"])
        self.assertTrue((attempt.newest() / "model.weights.h5").exists())
        self.assertEqual(attempt.stdout, "epochs 4 True\n")

    def test_tf_keras_imports(self):
        attempt = self.attempt("tf_keras_imports.py")
        self.kill_and_continue(attempt, 3, 3)
        self.assertIn("epochs [0, 1, 2]", attempt.stdout)

    def test_keras_2(self):
        attempt = self.attempt("tf_keras_imports.py")
        self.kill_and_continue(attempt, 2, 3, more={"TF_USE_LEGACY_KERAS": "1"})
        self.assertIn("epochs [0, 1, 2]", attempt.stdout)

    def test_early_stopping_and_schedules(self):
        undisturbed = self.attempt("schedules.py", "undisturbed")
        self.ok(undisturbed)
        epochs = undisturbed.epochs()[-1]
        self.assertLess(epochs, 8)  # it stops early
        continued = self.attempt("schedules.py")
        self.kill_and_continue(continued, 4, epochs)
        # Rates, the best model's file and the log come out the same.
        self.assertEqual(continued.stdout, undisturbed.stdout)

    def test_two_fits(self):
        attempt = self.attempt("two_fits.py")
        self.kill_and_continue(attempt, 4, 6)
        self.assertIn("first [0, 1] True\nsecond [0, 1, 2, 3] 4\ntrained 6\n", attempt.stdout)

    def test_more_epochs_of_a_loop_of_fits_are_refused(self):
        attempt = self.attempt("own_class.py", params={"epochs": 8})
        process = attempt.start()
        process.communicate(timeout=support.LIMIT_S)
        self.assertEqual(process.returncode, 70)
        self.assertIn("one epoch at a time", attempt.lines("error")[-1]["error"])

    def test_changes_from_the_parameters_file_and_the_end_by_sigterm(self):
        wanted = {"width": 2, "added_dense": 8, "epochs": 1000, "learning_rate": 0.003}
        attempt = self.attempt("fashion_cnn.py", params=wanted)
        process = attempt.start()
        for line in process.stdout:
            if attempt.lines("checkpoint"):
                break
        process.terminate()
        process.communicate(timeout=support.LIMIT_S)
        self.assertEqual(process.returncode, 143)
        changes = {c["path"]: c["to"] for c in attempt.lines("model")[-1]["model"]["changes"]}
        self.assertEqual(changes["conv2d.filters"], "32")
        self.assertEqual(changes["optimizer.learning_rate"], "0.003")
        self.assertEqual(changes["fit.epochs"], "1000")
        with zipfile.ZipFile(attempt.newest() / "model.keras") as model:
            layers = json.loads(model.read("config.json"))["config"]["layers"]
        sizes = [layer["config"].get("filters") or layer["config"].get("units") for layer in layers]
        self.assertEqual([size for size in sizes if size], [32, 64, 64, 8, 10])

    def test_a_checkpoint_that_does_not_fit_is_an_error(self):
        attempt = self.attempt("dense.py")
        broken = self.folder / "broken"
        broken.mkdir()
        (broken / "state.json").write_text("{")
        self.assertEqual(attempt.run(resume=broken), 70)
        self.assertIn("state.json", attempt.lines("error")[-1]["error"])
        attempt.metrics.unlink()
        attempt.run(more={"TEST_KILL_AT": "epoch-00002"})
        (attempt.folder / "params.json").write_text('{"width": 2}')  # as if the program had changed
        self.assertEqual(attempt.run(resume=attempt.newest()), 70)
        self.assertIn("shape (10, 24)", attempt.lines("error")[-1]["error"])


if __name__ == "__main__":
    sys.exit(unittest.main())

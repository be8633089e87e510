"""Unmodified Keras programs, pushed and submitted as they are: found out, trained, killed in mid-run, continued by
epoch, changed from outside until the target is met, and their models fetched. Skipped without Keras in build/venv."""

import os
import pathlib
import shutil
import subprocess
import unittest

from yard import CLI, YardTest, main

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests/worker/program/programs"
VENV = pathlib.Path(os.environ.get("TRAINYARD_VENV") or ROOT / "build/venv")
FASHION = "/usr/share/datasets"
IMAGES = """
import os, random
from PIL import Image
random.seed(5)
for name, colour in (("blue", (30, 30, 200)), ("green", (30, 200, 30)), ("red", (200, 30, 30))):
    os.makedirs("images/" + name)
    for number in range(40):
        noisy = tuple(c + random.randint(-30, 30) for c in colour)
        Image.new("RGB", (24, 24), noisy).save("images/%s/%02d.png" % (name, number))
"""


def cannot_run():
    bubblewrap = shutil.which("bwrap")
    if not bubblewrap or subprocess.run([bubblewrap, "--unshare-all", "--ro-bind", "/", "/", "true"],
                                        capture_output=True).returncode:
        return "bubblewrap cannot make a sandbox here"
    find = "import importlib.util, sys; sys.exit(not importlib.util.find_spec('keras'))"
    python = VENV / "bin/python"
    if not python.exists() or subprocess.run([python, "-c", find]).returncode:
        return "%s has no Keras" % python
    return ""


@unittest.skipIf(cannot_run(), "NOT TESTED: " + cannot_run())
class KerasPrograms(YardTest):

    def setUp(self):
        super().setUp()
        self.yard.start("--allow-programs", "--program-path", str(VENV), "--data-root", FASHION)

    def repository(self, program, prepare=""):
        """A repository with nothing but the program."""
        folder = os.path.join(self.yard.folder, program)
        os.makedirs(folder)
        shutil.copy(PROGRAMS / (program + ".py"), os.path.join(folder, "train.py"))
        if prepare:
            subprocess.run([VENV / "bin/python", "-c", prepare], cwd=folder, check=True)
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", folder]
        subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", "first"], check=True)
        return folder

    def kill_after_first_checkpoint(self, job):
        """The checkpoint of an epoch is stored before the next epoch is told of."""
        self.yard.wait_for_epoch(job, 2)
        self.yard.kill_worker()

    def assert_continued(self, trial, epochs):
        """Every epoch once, the later ones by another attempt."""
        self.assertEqual([int(e["epoch"]) for e in trial["epochs"]], list(range(1, epochs + 1)))
        attempts = [int(e["attempt"]) for e in trial["epochs"]]
        self.assertEqual(attempts, sorted(attempts))
        self.assertGreater(attempts[-1], attempts[0])
        self.assertEqual(int(trial["restarts"]), 1)
        self.assertFalse(any(e["exact"] for e in trial["epochs"] if int(e["attempt"]) > 1))

    def ended_well(self, job):
        shown = self.yard.wait_for_end(job)
        told = subprocess.run([CLI, "job", "logs", str(job)], env=self.yard.environment, capture_output=True, text=True)
        self.assertEqual(shown["state"], "JOB_STATE_SUCCEEDED", shown["reason"] + told.stdout[-4000:])
        path = os.path.join(self.yard.folder, "best.keras")
        self.yard.cli("model", "get", str(job), "-o", path)
        load = "import keras, sys; print(keras.saving.load_model(sys.argv[1]).count_params())"
        loaded = subprocess.run([VENV / "bin/python", "-c", load, path], capture_output=True, text=True, check=True)
        return shown, int(loaded.stdout.split()[-1])

    def handicapped(self, program, target, prepare=""):
        """A job whose first trial learns next to nothing, is killed, goes on and misses its target."""
        folder = self.repository(program, prepare)
        job = int(self.yard.json("submit", folder, "--target", target, "--manual", "--set", "changes.epochs=12",
                                 "--set", "changes.lr=0.0000001")["job"])
        self.kill_after_first_checkpoint(job)
        self.yard.wait_until(lambda: self.yard.job(job)["state"] == "JOB_STATE_WAITING", "the first trial to end")
        self.assert_continued(self.yard.job(job)["trials"][0], 12)
        return job

    def applied(self, trial):
        return {change["path"]: change["to"] for change in trial["applied"]}

    def test_a_pushed_cnn_finds_its_data_is_killed_and_changed_until_it_meets_its_target(self):
        folder = self.repository("fashion_cnn", "open('trainyard.yaml', 'w').write("
                                 "'changes: {epochs: 3}\\ntarget: 0.77\\nbudget: {trials: 6}\\n')")
        found = self.yard.json("detect", folder)
        self.assertEqual(found["runtime"], "program-keras")
        self.assertTrue(found["program"]["cnn"])
        self.yard.cli("project", "add", folder, "--name", "clothes")
        self.yard.wait_until(lambda: self.yard.json("job", "list").get("jobs"), "the push to become a job")
        job = int(self.yard.json("job", "list")["jobs"][0]["id"])
        self.kill_after_first_checkpoint(job)
        shown, parameters = self.ended_well(job)
        first, last = shown["trials"][0], shown["trials"][-1]
        self.assert_continued(first, 3)
        self.assertEqual(shown["project"], "clothes")
        self.assertEqual(shown["spec"]["program"]["command"], ["python3", "train.py"])
        self.assertIn("conv2d 16", first["description"])
        self.assertGreater(last["number"], 1, "the first trial met a target that it should miss")
        self.assertTrue(last["tweak"]["changes"])
        self.assertEqual(parameters, int(last["parameters"]))

    def test_a_functional_model_is_widened_by_hand(self):
        job = self.handicapped("functional", "0.7")
        self.yard.cli("tweak", str(job), "--set", "changes.lr=0", "--set", "changes.width=2",
                      "--set", "changes.added_convs=1")
        shown, parameters = self.ended_well(job)
        second = shown["trials"][1]
        self.assertEqual(self.applied(second)["stem.filters"], "16")
        self.assertTrue(any("Conv2D" in made for made in self.applied(second).values()), second["applied"])
        self.assertEqual(parameters, int(second["parameters"]))

    def test_a_dense_network_is_changed_by_hand(self):
        job = self.handicapped("dense", "0.8")  # more than luck, or a line, comes to
        self.yard.cli("tweak", str(job), "--set", "changes.epochs=30", "--set", "changes.lr=0.01",
                      "--set", "changes.width=2", "--set", "changes.added_dense=32", "--set", "changes.dropout=0.1")
        second = self.ended_well(job)[0]["trials"][1]
        self.assertEqual(self.applied(second)["first.units"], "48")
        self.assertEqual(self.applied(second)["fit.epochs"], "30")

    def test_a_folder_of_images_is_sorted(self):
        job = self.handicapped("image_folder", "0.9", IMAGES)
        self.yard.cli("tweak", str(job), "--set", "changes.lr=0", "--set", "changes.batch_size=8")
        second = self.ended_well(job)[0]["trials"][1]
        self.assertEqual(self.applied(second)["fit.batch_size"], "8")


if __name__ == "__main__":
    main()

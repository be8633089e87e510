#!/usr/bin/python3
"""The measuring of the tuner still works: on so few images that it takes seconds and measures nothing.

Usage: tuning_run_test.py DRIVER
"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

DRIVER = ""
FEW = ("--images", "1200", "--max-epochs", "8")


def run(*arguments, stdin=""):
    return subprocess.run([DRIVER, *arguments], input=stdin, capture_output=True, text=True)


def play(*arguments):
    done = run(*FEW, *arguments)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def without_seconds(job):
    for part in (job, *job["trials"]):
        del part["cpu_seconds"]
    return job


class Play(unittest.TestCase):
    def test_grows_with_inheritance_and_stops_at_the_cap(self):
        job = play("--method", "grow", "--target", "0.99")
        self.assertFalse(job["met"])
        self.assertLess(job["epochs"], 9)  # parts of epochs that were broken off come on top
        self.assertGreater(len(job["trials"]), 1)
        self.assertTrue(job["trials"][1]["inherited"])

    def test_from_scratch_inherits_nothing(self):
        job = play("--method", "scratch", "--target", "0.99")
        self.assertGreater(len(job["trials"]), 1)
        self.assertFalse(any(trial["inherited"] for trial in job["trials"]))

    def test_ends_when_the_target_is_met(self):
        job = play("--method", "grow", "--target", "0.5")
        self.assertTrue(job["met"])
        self.assertEqual(len(job["trials"]), 1)

    def test_the_same_seed_plays_the_same_job(self):
        once, again = (play("--method", "grow", "--target", "0.99", "--seed", "7") for _ in "12")
        self.assertEqual(without_seconds(once), without_seconds(again))

    def test_searches_the_space(self):
        for method in ("random", "tpe"):
            job = play("--method", method, "--target", "0.99")
            self.assertGreater(len(job["trials"]), 1, method)
            self.assertNotEqual(job["trials"][0]["rate"], job["trials"][1]["rate"], method)

    def test_plants_a_defect_and_says_what_was_found(self):
        run_once = play("--plant", "too few epochs", "--setup", "plain")
        self.assertEqual(len(run_once["trials"]), 1)
        self.assertNotEqual(run_once["text"], "")
        self.assertIn(run_once["right"], (True, False))

    def test_trains_points_for_searchers_of_others(self):
        point = {"seed": 1, "point": {"train.lr": 0.1, "train.epochs": 2, "train.batch_size": "64",
                                      "network.width": "2", "network.depth": 1}}
        said = [point, {"go": True}, {"go": True}, point, {"go": False}]
        done = run("--serve", "--images", "1200", stdin="\n".join(map(json.dumps, said)))
        self.assertEqual(done.returncode, 0, done.stderr)
        space, *rows = map(json.loads, done.stdout.splitlines())
        self.assertEqual(space["start"].keys(), point["point"].keys())
        self.assertEqual([row.get("epoch", "done") for row in rows], [1, 2, "done", 1, "done"])
        self.assertEqual(rows[0]["val_accuracy"], rows[3]["val_accuracy"])


class BadInput(unittest.TestCase):
    def refused(self, found, *arguments, stdin=""):
        done = run(*arguments, stdin=stdin)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(found, done.stdout + done.stderr)

    def test_names_what_it_does_not_know(self):
        self.refused("--method", "--method", "guess")
        self.refused("huge", "--setup", "huge")
        self.refused("haunted", "--plant", "haunted", "--setup", "plain")
        self.refused("--target", "--target", "92")
        self.refused("/nowhere", "--data", "/nowhere")
        self.refused("rate: 1", "--serve", "--images", "1200", stdin="rate: 1\n")


class Table(unittest.TestCase):
    def test_is_made_of_results_and_runs_nothing_twice(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(Path(__file__).with_name("tuning_bench.py")), DRIVER,
                       "--results", folder, "--seeds", "1", *FEW, "--only", "grow-0.9-"]
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("grow-0.9-1 done", done.stderr)
            self.assertRegex(done.stdout, r"\| grows, inherits weights \| (> 8|\d)")
            again = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((again.stdout, again.stderr), (done.stdout, ""))


if __name__ == "__main__":
    DRIVER = sys.argv.pop(1)
    unittest.main()

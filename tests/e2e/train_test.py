"""`trainyard train`: one command from a folder to its models, that leaves nothing behind; stopped by signals, and gone
on with from its state folder."""

import glob
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from yard import CLI, PATIENCE_S, YardTest, main, start_ticks


class Train(YardTest):

    def setUp(self):
        super().setUp()
        self.out = os.path.join(self.yard.folder, "out")
        # Where the command keeps what lives as long as it does. Short: a socket's path is.
        self.temporary_dir = tempfile.mkdtemp(prefix="ty-")
        self.addCleanup(os.rmdir, self.temporary_dir)  # which proves that nothing is left
        self.yard.environment.update(TMPDIR=self.temporary_dir, TRAINYARD_COORDINATOR="127.0.0.1:1")

    def source(self, **more):
        folder = os.path.join(self.yard.folder, "source")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "trainyard.yaml"), "w") as file:
            file.write(self.spec(**more))
        return folder

    def train(self, source, *flags, expect):
        return self.yard.cli("train", source, "-o", self.out, "--threads", "1", "--data-root", self.yard.data_dir,
                             *flags, expect=expect)

    def start(self, source, *flags):
        process = subprocess.Popen(
            [CLI, "train", source, "-o", self.out, "--threads", "1", "--data-root", self.yard.data_dir, *flags],
            env=self.yard.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        return process

    def children(self, pid):
        """Of the coordinator that it started, and that one's workers."""
        found = []
        for task in glob.glob("/proc/%d/task/*/children" % pid):  # of each thread those that it forked
            with open(task) as file:
                found += [int(child) for child in file.read().split()]
        return found + [below for child in found for below in self.children(child)]

    def read_until(self, process, pattern):
        text = ""
        for line in process.stdout:
            text += line
            if re.search(pattern, line):
                return text
        self.fail("its output ended without %r:\n%s" % (pattern, text))

    def remove_leftovers(self):
        """A killed command's socket and log; its state is elsewhere."""
        for folder in glob.glob(self.temporary_dir + "/trainyard-*"):
            for file in os.listdir(folder):
                os.remove(os.path.join(folder, file))
            os.rmdir(folder)

    def models(self):
        return sorted(os.listdir(self.out))

    def test_detect_needs_no_coordinator_of_anybody(self):
        del self.yard.environment["TRAINYARD_COORDINATOR"]
        with socket.socket() as default:
            if default.connect_ex(("127.0.0.1", 7700)) == 0:
                self.skipTest("a coordinator of somebody else's listens at the default address")
        folder = os.path.join(self.yard.folder, "program")
        os.makedirs(folder)
        with open(os.path.join(folder, "train.py"), "w") as file:
            file.write("import keras\nkeras.Sequential([keras.layers.Conv2D(2, 3)]).fit(None)\n")
        found = json.loads(self.yard.cli("detect", folder, "--output", "json", expect=0).stdout)
        self.assertEqual(found["runtime"], "program-keras")
        self.assertEqual(found["program"]["command"], ["python3", "train.py"])
        os.rename(os.path.join(folder, "train.py"), os.path.join(folder, "train.txt"))
        self.assertIn("found nothing to run", self.yard.cli("detect", folder, expect=2).stderr)

    def test_a_folder_becomes_models_and_nothing_else_is_left(self):
        done = self.train(self.source(epochs=2, target=0.3), expect=0)
        self.assertEqual(self.models(), ["best.onnx", "best.safetensors"])
        self.assertIn("target met", done.stdout)
        self.assertIn(os.path.join(self.out, "best.onnx"), done.stdout)
        self.assertNotIn("trainyard model get", done.stdout, "nobody can be asked for it any more")
        self.assertEqual(glob.glob(self.temporary_dir + "/*"), [])

    def test_below_the_target_there_are_models_and_the_code_says_so(self):
        self.train(self.source(epochs=1), "--output", "json", expect=3)
        self.assertEqual(self.models(), ["best.onnx", "best.safetensors"])

    def test_bad_input_is_refused_as_submit_does(self):
        source = self.source(epochs=1)
        refused = self.train(source, "--set", "train.lr=fast", expect=2)
        self.assertIn("train.lr", refused.stderr)
        with open(os.path.join(source, "trainyard.yaml"), "a") as file:
            file.write("nonsense: 1\n")
        self.assertRegex(self.train(source, expect=2).stderr, r"trainyard.yaml:\d+:\d+: .*nonsense")
        self.assertIn("no-such", self.train(os.path.join(source, "no-such"), expect=2).stderr)
        self.assertEqual(glob.glob(self.temporary_dir + "/*"), [])

    def test_a_folder_that_cannot_be_written_is_told_before_anything_starts(self):
        source = self.source(epochs=1)
        for folder in ("/proc/models", os.path.join(source, "trainyard.yaml")):
            refused = self.yard.cli("train", source, "-o", folder, expect=2)
            self.assertIn("-o", refused.stderr)
            self.assertIn(folder, refused.stderr)

    def test_a_coordinator_that_refuses_says_why(self):
        refused = self.train(self.source(epochs=1), "--state-dir", "/proc/state", expect=2)
        self.assertIn("does not start", refused.stderr)
        self.assertIn("/proc/state", refused.stderr)

    def test_stopped_it_ends_with_its_processes_and_goes_on_from_its_state(self):
        source = self.source(epochs=60)
        state = os.path.join(self.yard.folder, "kept")
        for attempt, number, code in ((1, signal.SIGTERM, 143), (2, signal.SIGINT, 130)):
            process = self.start(source, "--state-dir", state)
            self.read_until(process, r"attempt %d of trial 1" % attempt)
            self.read_until(process, r" epoch  ")
            children = self.children(process.pid)
            self.assertEqual(len(children), 2, "a coordinator and a worker")
            process.send_signal(number)
            rest = process.stdout.read()
            self.assertEqual(process.wait(PATIENCE_S), code, rest)
            self.assertIn("goes on from what is in " + state, rest)
            self.assertNotIn("trainyard watch", rest)
            self.assertEqual([c for c in children if start_ticks(c)], [])
            self.assertFalse(os.path.exists(self.out) and self.models())
        done = self.train(source, "--state-dir", state, expect=3)
        self.assertRegex(done.stdout, r"attempt 3 of trial 1 .* from step [1-9]")
        self.assertEqual(self.models(), ["best.onnx", "best.safetensors"])

    def test_killed_it_takes_its_processes_along(self):
        process = self.start(self.source(epochs=1000), "--state-dir", os.path.join(self.yard.folder, "kept"))
        self.read_until(process, r" epoch  ")
        children = self.children(process.pid)
        process.kill()
        process.wait()
        self.yard.wait_until(lambda: not any(start_ticks(c) for c in children), "its processes to end")
        self.remove_leftovers()

    def test_a_killed_coordinator_is_told_and_what_it_had_is_kept(self):
        process = self.start(self.source(epochs=1000), "--state-dir", os.path.join(self.yard.folder, "kept"))
        self.read_until(process, r" epoch  ")
        coordinator, *workers = self.children(process.pid)
        os.kill(coordinator, signal.SIGKILL)
        for worker in workers:  # nobody will come back to it
            os.kill(worker, signal.SIGKILL)
        rest = process.stdout.read()
        self.assertEqual(process.wait(PATIENCE_S), 1, rest)
        self.assertIn("trainyard-coordinator ended with signal 9; its state is kept in " + self.yard.folder, rest)
        self.remove_leftovers()


if __name__ == "__main__":
    main()

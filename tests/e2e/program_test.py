"""A program of the user's on this machine, in its sandbox: streamed, killed, continued by epoch, tweaked by a
person's hand, published and fetched. And what people are told where programs are not allowed."""

import os
import shutil
import subprocess
import unittest

from yard import YardTest, main

# No framework: it follows the contract with files alone. Each epoch waits for the test's leave.
PROGRAM = """
import json, os, shutil, time

env = os.environ
params = json.load(open(env["TRAINYARD_PARAMS_FILE"]))
epochs = params.get("epochs", 4)
done = 0
if "TRAINYARD_RESUME_FROM" in env:
    done = int(open(env["TRAINYARD_RESUME_FROM"] + "/epoch").read())
    print("continues after epoch", done)
for epoch in range(done + 1, epochs + 1):
    while not os.path.exists(env["TRAINYARD_DATA_DIR"] + "/leave/%d" % epoch):
        print("waits")
        time.sleep(0.05)
    folder = env["TRAINYARD_CHECKPOINT_DIR"] + "/epoch-%05d" % epoch
    os.mkdir(env["TRAINYARD_CHECKPOINT_DIR"] + "/.new")
    for name, text in (("epoch", str(epoch)), ("model.txt", "weights of epoch %d" % epoch)):
        open(env["TRAINYARD_CHECKPOINT_DIR"] + "/.new/" + name, "w").write(text)
    os.rename(env["TRAINYARD_CHECKPOINT_DIR"] + "/.new", folder)
    line = {"epoch": epoch, "loss": 1 / epoch, "val_accuracy": epoch / 10, "checkpoint": os.path.basename(folder)}
    print(json.dumps(line), file=open(env["TRAINYARD_METRICS_FILE"], "a"))
open(env["TRAINYARD_OUTPUT_DIR"] + "/report.txt", "w").write("trained %d epochs" % epochs)
"""


def can_sandbox():
    bubblewrap = shutil.which("bwrap")
    return bubblewrap and subprocess.run(
        [bubblewrap, "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True).returncode == 0


class Program(YardTest):

    def submit(self, target, *flags):
        folder = os.path.join(self.yard.folder, "source")
        os.makedirs(folder, exist_ok=True)
        self.leave = os.path.join(self.yard.data_dir, "leave")
        os.makedirs(self.leave, exist_ok=True)
        with open(os.path.join(folder, "train.py"), "w") as file:
            file.write(PROGRAM)
        with open(os.path.join(folder, "trainyard.yaml"), "w") as file:
            file.write("name: own\ntarget: %s\ntune: {enabled: false}\nprogram:\n  command: [python3, train.py]\n"
                       "  framework: other\n  data: {leave: %s}\n" % (target, self.leave))
        return int(self.yard.json("submit", folder, *flags)["job"])

    def let(self, *epochs):
        for epoch in epochs:
            with open(os.path.join(self.leave, str(epoch)), "w"):
                pass

    def get(self, job, *arguments):
        path = os.path.join(self.yard.folder, "got.txt")
        self.yard.cli("model", "get", str(job), "-o", path, *arguments)
        with open(path) as file:
            return file.read()

    @unittest.skipUnless(can_sandbox(), "NOT TESTED: bubblewrap cannot make a sandbox here")
    def test_a_program_is_killed_continued_by_epoch_and_its_files_are_fetched(self):
        self.yard.start("--allow-programs")
        job = self.submit(0.4)
        self.let(1, 2)
        # The best epoch is that of a checkpoint that is stored.
        self.yard.wait_until(lambda: int(self.yard.job(job)["best_epoch"]) == 2, "the second checkpoint")
        self.yard.kill_worker()
        self.let(3, 4)
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_SUCCEEDED", shown["reason"] + self.yard.log())
        trial = shown["trials"][0]
        self.assertEqual([int(epoch["epoch"]) for epoch in trial["epochs"]], [1, 2, 3, 4])
        self.assertEqual([int(epoch["attempt"]) for epoch in trial["epochs"]], [1, 1, 2, 2])
        self.assertIn("continues after epoch 2", self.yard.cli("job", "logs", str(job)).stdout)
        self.assertEqual(self.get(job, "--file", "model.txt"), "weights of epoch 4")
        self.assertIn("model.txt", self.yard.cli("job", "show", str(job)).stdout)
        refused = self.yard.cli("model", "get", str(job), "-o", "x.onnx", expect=2)
        self.assertIn("model.txt", refused.stderr)

    def test_where_programs_are_not_allowed_people_are_told_what_to_do(self):
        self.yard.start()
        job = self.submit(0.4)
        shown = self.yard.job(job)
        waits = shown["trials"][0]["attempts"][0]["waiting_for"]
        self.assertIn("--allow-programs", waits)


if __name__ == "__main__":
    main()

"""A whole Trainyard of real processes for a test: coordinator, its workers, the command line, and a small
data set of its own. Waits on what can be observed, never on the clock alone."""

import hashlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

PATIENCE_S = 240  # until a test gives up waiting; far beyond what anything takes

BIN = os.environ.get("TRAINYARD_BIN", "")
COORDINATOR = os.path.join(BIN, "trainyard-coordinator")
WORKER = os.path.join(BIN, "trainyard-worker")
CLI = os.path.join(BIN, "trainyard")

SIDE = 12
CLASSES = 4


def write_idx(folder, name, count, seed, noise):
    """Images of `CLASSES` kinds: a random pattern each, under noise, so that they can be learned."""
    rng = random.Random(99)
    patterns = [[rng.randrange(256) for _ in range(SIDE * SIDE)] for _ in range(CLASSES)]
    rng = random.Random(seed)
    labels = bytes(rng.randrange(CLASSES) for _ in range(count))
    pixels = bytearray()
    for label in labels:
        pattern = patterns[label]
        pixels += bytes(
            int(p + (rng.random() - 0.5) * 2 * noise) & 255 if rng.random() > 0.2 else rng.randrange(256)
            for p in pattern
        )
    images_path = os.path.join(folder, name + "-images.idx")
    labels_path = os.path.join(folder, name + "-labels.idx")
    with open(images_path, "wb") as file:
        file.write(struct.pack(">BBBBIII", 0, 0, 8, 3, count, SIDE, SIDE) + bytes(pixels))
    with open(labels_path, "wb") as file:
        file.write(struct.pack(">BBBBI", 0, 0, 8, 1, count) + labels)
    return images_path, labels_path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Yard:
    """One state folder, and whatever runs on it."""

    def __init__(self, folder, workers=1, flags=()):
        self.folder = folder
        self.state_dir = os.path.join(folder, "state")
        self.data_dir = os.path.join(folder, "data")
        self.address = "127.0.0.1:%d" % free_port()
        self.workers = workers
        self.flags = list(flags)
        self.coordinator = None
        self.external = {}
        self.log_path = os.path.join(folder, "coordinator.log")
        self.environment = dict(os.environ, XDG_CACHE_HOME=os.path.join(folder, "cache"),
                                TRAINYARD_COORDINATOR=self.address, NO_COLOR="1")
        os.makedirs(self.data_dir, exist_ok=True)

    # ---- Processes ----

    def start(self, *flags, expect_ready=True, poll_ms=50):
        workers = [] if self.workers is None else ["--workers", str(self.workers)]
        command = [COORDINATOR, "--listen", self.address, "--state-dir", self.state_dir, *workers,
                   "--threads-per-worker", "1", "--data-root", self.data_dir, "--poll-ms", str(poll_ms),
                   *self.flags, *flags]
        with open(self.log_path, "ab") as log:
            self.coordinator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log,
                                                env=self.environment, text=True)
        if expect_ready:
            line = self.coordinator.stdout.readline()
            assert "is ready at" in line, "expected the ready line, found %r\n%s" % (line, self.log())
        return self.coordinator

    def kill(self, number=signal.SIGKILL):
        """Ends the coordinator; its exit code."""
        self.coordinator.send_signal(number)
        try:
            return self.coordinator.wait(PATIENCE_S)
        finally:
            self.coordinator.stdout.close()

    def start_worker(self, name):
        """A worker that somebody started by hand."""
        with open(os.path.join(self.folder, name + ".log"), "ab") as log:
            self.external[name] = subprocess.Popen([WORKER, "--threads", "1"], env=self.environment,
                                                   stdout=log, stderr=log)
        return self.external[name]

    def worker_log(self, name):
        with open(os.path.join(self.folder, name + ".log")) as file:
            return file.read()

    def stop_everything(self):
        """At a test's end: no process is left."""
        for worker in self.external.values():
            worker.kill()
            worker.wait()
        if self.coordinator and self.coordinator.poll() is None:
            self.coordinator.kill()
            self.coordinator.wait()
            self.coordinator.stdout.close()
        # A killed process still holds its lock, and may still write, until it is really gone.
        self.wait_until(lambda: not self.kill_workers(), "the workers to be gone")

    def kill_workers(self):
        """Those that ran: found by their working folder, since one just forked has no pid file yet."""
        pids = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{entry}/cwd").startswith(self.state_dir + "/"):
                    pids.append(int(entry))
            except OSError:
                continue
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return pids

    def worker_pids(self):
        """Of the workers that run: the lock on its slot tells a running worker's file from an old one."""
        pids = []
        workers = os.path.join(self.state_dir, "workers")
        for name in os.listdir(workers) if os.path.isdir(workers) else []:
            if not name.endswith(".pid"):
                continue
            with open(os.path.join(workers, name)) as file:
                words = file.read().split()
            if len(words) == 2 and start_ticks(int(words[0])) == int(words[1]):
                pids.append(int(words[0]))
        return pids

    def the_worker(self):
        """The pid of the one worker."""
        self.wait_until(lambda: len(self.worker_pids()) == 1, "one worker to run")
        return self.worker_pids()[0]

    def kill_worker(self, number=signal.SIGKILL):
        pid = self.the_worker()
        os.kill(pid, number)
        return pid

    def log(self):
        text = ""
        workers = os.path.join(self.state_dir, "workers")
        paths = [self.log_path] + [os.path.join(self.folder, name + ".log") for name in self.external]
        if os.path.isdir(workers):
            paths += sorted(os.path.join(workers, n) for n in os.listdir(workers) if n.endswith(".log"))
        for path in paths:
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    text += "---- %s\n%s" % (path, "".join(file.readlines()[-60:]))
        return text

    # ---- The command line ----

    def cli(self, *arguments, expect=0, timeout=PATIENCE_S):
        done = subprocess.run([CLI, *arguments], env=self.environment, capture_output=True, text=True,
                              timeout=timeout)
        if expect is not None:
            assert done.returncode == expect, "trainyard %s: exit code %d, expected %d\n%s%s\n%s" % (
                " ".join(arguments), done.returncode, expect, done.stdout, done.stderr, self.log())
        return done

    def json(self, *arguments):
        return json.loads(self.cli(*arguments, "--output", "json").stdout)

    def job(self, job):
        return self.json("job", "show", str(job))

    def submit(self, spec, *flags):
        folder = os.path.join(self.folder, "source-%s" % hashlib.sha256(spec.encode()).hexdigest()[:8])
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "trainyard.yaml"), "w") as file:
            file.write(spec)
        return int(self.json("submit", folder, *flags)["job"])

    def events(self, job):
        """The whole history of a job that has ended."""
        lines = self.cli("watch", str(job), "--output", "json", expect=None).stdout.splitlines()
        return [json.loads(line) for line in lines if line]

    def model_hashes(self, job):
        hashes = {}
        for name in ("best.safetensors", "best.onnx"):
            path = os.path.join(self.folder, "job%s-%s" % (job, name))
            self.cli("model", "get", str(job), "-o", path)
            with open(path, "rb") as file:
                hashes[name] = hashlib.sha256(file.read()).hexdigest()
        return hashes

    # ---- Waiting ----

    def wait_until(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, "waited in vain for %s\n%s" % (what, self.log())
            time.sleep(0.01)

    def wait_for_epoch(self, job, epoch, trial=1):
        def reached():
            shown = self.job(job)
            trials = [t for t in shown["trials"] if int(t["number"]) == trial]
            if shown["state"] in ENDED and not (trials and len(trials[0]["epochs"]) >= epoch):
                raise AssertionError("job %s ended before epoch %d: %s" % (job, epoch, shown))
            return trials and len(trials[0]["epochs"]) >= epoch
        self.wait_until(reached, "epoch %d of trial %d" % (epoch, trial))

    def seconds_to_next_step(self, job, kill):
        """From the killing of the worker until the next attempt is past the step that it starts from."""
        attempts = lambda: self.job(job)["trials"][0]["attempts"]  # noqa: E731
        before, start = len(attempts()), time.monotonic()
        kill()

        def stepped():
            now = attempts()
            return len(now) > before and int(now[-1]["step"]) > int(now[-1]["from_step"])
        self.wait_until(stepped, "the next attempt's first step")
        return time.monotonic() - start

    def wait_for_end(self, job):
        self.wait_until(lambda: self.job(job)["state"] in ENDED, "job %s to end" % job)
        return self.job(job)


ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_BELOW_TARGET", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def start_ticks(pid):
    """When a process started, in ticks since boot; 0 if it does not run."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


class YardTest(unittest.TestCase):
    """A test with a yard in a folder of its own, and data for a job of a few seconds."""

    WORKERS = 1
    FLAGS = ("--retry-pause-ms", "20")
    IMAGES = 1500
    NOISE = 90  # of 256 grey levels

    def setUp(self):
        import tempfile
        self.temporary = tempfile.TemporaryDirectory(prefix="trainyard-test-")
        self.yard = Yard(self.temporary.name, self.WORKERS, self.FLAGS)
        write_idx(self.yard.data_dir, "train", self.IMAGES, 1, self.NOISE)
        write_idx(self.yard.data_dir, "test", 300, 2, self.NOISE)

    def tearDown(self):
        self.yard.stop_everything()
        self.temporary.cleanup()

    def spec(self, epochs=4, target=None, filters=32, tune=False, more="", layers=None):
        """Without a target, one that cannot be met, so that every epoch is run. With 128 filters an epoch takes long
        enough to be interrupted."""
        data = self.yard.data_dir
        target = target or "{metric: val_loss, at_most: 0.00000001}"
        layers = layers or f"""
    - conv: {{filters: {filters}, kernel: 3, padding: same}}
    - batch_norm
    - relu
    - conv: {{filters: {filters}, kernel: 3, padding: same}}
    - relu
    - max_pool: 2
    - dropout: 0.2
    - flatten
    - dense: {CLASSES}"""
        return f"""name: small
data:
  format: idx
  train: {{images: {data}/train-images.idx, labels: {data}/train-labels.idx}}
  test: {{images: {data}/test-images.idx, labels: {data}/test-labels.idx}}
validation: 0.2
network:
  layers:{layers}
train:
  epochs: {epochs}
  batch_size: 16
  lr: 0.02
  augmentation: {{shift: 1}}
target: {target}
tune: {{enabled: {str(tune).lower()}}}
{more}
"""

    def undisturbed(self, spec):
        """The model's hashes of a run that nothing disturbs, on a yard of its own."""
        import tempfile
        with tempfile.TemporaryDirectory(prefix="trainyard-calm-") as folder:
            calm = Yard(folder, 1, self.FLAGS)
            calm.data_dir = self.yard.data_dir
            try:
                calm.start()
                job = calm.submit(spec)
                shown = calm.wait_for_end(job)
                self.assertIn("model", shown, calm.log())
                return calm.model_hashes(job)
            finally:
                calm.stop_everything()

    def assert_history_is_whole(self, job, epochs, trial=1):
        """Every epoch is there once among those that count, and what is there twice came out the same."""
        events = self.yard.events(job)
        cursors = [int(e["cursor"]) for e in events]
        self.assertEqual(cursors, sorted(set(cursors)), "no event comes twice or out of order")
        shown = [t for t in self.yard.job(job)["trials"] if int(t["number"]) == trial][0]
        self.assertEqual([int(e["epoch"]) for e in shown["epochs"]], list(range(1, epochs + 1)))
        seen = {}
        for event in events:
            if event["kind"] != "epoch" or int(event["trial"]) != trial:
                continue
            row = event["epoch"]
            key = int(row["epoch"])
            metrics = (row["val_accuracy"], row["val_loss"], row["train_loss"])
            self.assertEqual(seen.setdefault(key, metrics), metrics, "epoch %d came out differently" % key)
        self.assertEqual(sorted(seen), list(range(1, epochs + 1)))
        return events


def main():
    unittest.main(verbosity=2)

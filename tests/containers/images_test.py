"""The images, on a real Docker Engine: what is in them and what is not, and that they do what docs/images.md says."""

import json
import os
import shutil
import sys
import tempfile
import time
import unittest

from engine import BASE, ROOT, EngineTest, run, skip_where_there_can_be_none

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
from yard import write_idx  # noqa: E402

MIB = 1 << 20
# Beyond the base image. What grows past this should have a reason.
SIZES_MIB = {"cli": 100, "coordinator": 110, "worker-cpu": 170, "worker-cuda": 1400,
             "program-sklearn": 550, "program-keras": 1700, "program-torch": 1600}

# What programs import, by image.
SCIENCE = "numpy scipy pandas sklearn joblib matplotlib.pyplot PIL.Image"
PACKAGES = {
    "program-sklearn": SCIENCE,
    "program-keras": SCIENCE + " keras tensorflow h5py tensorflow.keras.preprocessing.image",
    "program-torch": SCIENCE + " torch torchvision.transforms torch.utils.data",
}

# As root of nothing, on a read-only root: what is imported; which installed package lacks what it asks for; the
# package that the worker puts in front of programs.
LOOK = """
import importlib, importlib.metadata, os, re, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
def installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
for package in importlib.metadata.distributions(path=["/usr/local/lib/python3.11/dist-packages"]):
    for asked in package.requires or ():
        name = re.match(r"[\\w.-]+", asked)[0]
        if ";" not in asked and not installed(name):
            print(package.metadata["Name"], "lacks", name)
print("user", os.getuid(), "python", os.path.isdir("/usr/share/trainyard/program/trainyard_program"))
"""

KERAS_PROGRAM = """
import keras, numpy
rng = numpy.random.default_rng(1)
labels = rng.integers(0, 3, 600)
images = rng.normal(0, 0.3, (600, 8, 8, 1))
images[numpy.arange(600), labels * 2, :, 0] += 1
model = keras.Sequential([
    keras.Input((8, 8, 1)),
    keras.layers.Conv2D(8, 3, activation="relu"),
    keras.layers.Flatten(),
    keras.layers.Dense(3, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(images[:500], labels[:500], batch_size=8, epochs=4, validation_data=(images[500:], labels[500:]), verbose=2)
"""

SPEC = """name: small
data:
  format: idx
  train: {images: data/train-images.idx, labels: data/train-labels.idx}
  test: {images: data/test-images.idx, labels: data/test-labels.idx}
validation: 0.2
network:
  layers:
    - conv: {filters: 8, kernel: 3, padding: same}
    - relu
    - max_pool: 2
    - flatten
    - dense: 4
train: {epochs: %d, batch_size: 16, lr: 0.02}
target: %s
tune: {enabled: false}
"""


class Images(EngineTest):
    NEEDED = tuple(SIZES_MIB)

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="trainyard-images-")
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o755)

    def repository(self, epochs=2, target=0.3, more=""):
        repository = os.path.join(self.folder.name, "repo")
        data = os.path.join(repository, "data")
        os.makedirs(data, exist_ok=True)
        write_idx(data, "train", 1500, 1, 90)
        write_idx(data, "test", 300, 2, 90)
        with open(os.path.join(repository, "trainyard.yaml"), "w") as file:
            file.write(SPEC % (epochs, target) + more)
        return repository

    def out(self, owner):
        out = os.path.join(self.folder.name, "out")
        os.makedirs(out, exist_ok=True)
        os.chown(out, owner, owner)
        return out

    def shell(self, image, script):
        return self.engine.docker("run", "--rm", "--entrypoint", "/bin/sh", "trainyard/" + image, "-c",
                                  script).stdout

    def train(self, repository, *arguments, image="worker-cpu", out=None, options=(), check=True):
        """As docs/images.md has it, with a root file system that is read-only besides."""
        mounts = ["-v", repository + ":/repo:ro"] + (["-v", out + ":/out"] if out else [])
        return self.engine.docker("run", "--rm", "--read-only", "--tmpfs", "/tmp", *mounts, *options,
                                  "trainyard/" + image, "train", "/repo", *arguments, check=check)

    # ---- What is in them ----

    def test_sizes_are_what_was_meant(self):
        base = self.engine.size(BASE)
        for name, limit in SIZES_MIB.items():
            size = (self.engine.size("trainyard/" + name) - base) / MIB
            print("trainyard/%s: %.0f MiB on a base of %.0f MiB" % (name, size, base / MIB), flush=True)
            self.assertLess(size, limit, name)

    def test_each_says_what_it_is_and_runs_as_nobody_special(self):
        for name in self.NEEDED:
            config = self.engine.inspect("trainyard/" + name)["Config"]
            self.assertEqual(config["User"], "10001:10001", name)
            self.assertEqual(config["Entrypoint"][:2], ["/usr/bin/tini", "--"], name)
            labels = config["Labels"]
            for label in ("title", "description", "version", "vendor"):
                self.assertTrue(labels["org.opencontainers.image." + label], (name, label))
            health = config.get("Healthcheck", {}).get("Test")
            self.assertEqual(health[0], "NONE" if name == "cli" else "CMD", name)
            self.assertEqual([v for v in config["Env"] if "TOKEN" in v or "SECRET" in v], [])
            self.assertEqual(self.shell(name, "id -u; id -g; id -un").split(), ["10001", "10001", "trainyard"])

    def test_only_the_folders_meant_for_it_can_be_written(self):
        writable = "find / -xdev -type d -writable -not -path '/proc*' -not -path '/dev*' 2> /dev/null; true"
        for name in self.NEEDED:
            self.assertEqual(sorted(self.shell(name, writable).split()), sorted([
                "/out", "/run/lock", "/tmp", "/var/cache/trainyard", "/var/lib/trainyard", "/var/tmp"]), name)

    def test_nothing_is_left_of_building_them(self):
        left = ("ls -A /var/lib/apt/lists /var/cache/apt /packages /source /build /wheels 2> /dev/null | grep -v ':$'; "
                "command -v pip g++ cmake; find / -xdev -name '*.deb' -o -xdev -name '*.whl' 2> /dev/null")
        for name in self.NEEDED:
            self.assertEqual(self.shell(name, left + "; true").split(), [], name)

    # ---- What they do ----

    def test_the_cuda_image_has_all_libraries_and_says_that_there_is_no_driver(self):
        asked = self.engine.docker("run", "--rm", "trainyard/worker-cuda", "--backend", "cuda", check=False)
        self.assertEqual(asked.returncode, 2, asked.stderr)
        self.assertIn("no NVIDIA driver is here", asked.stderr)
        self.assertRegex(asked.stderr, r"CUDA 13\.\d+, cuBLASLt 13\.\d+\.\d+, cuDNN 9\.\d+\.\d+")
        missing = self.shell("worker-cuda", "for f in /usr/lib/trainyard/*.so /usr/lib/trainyard/cuda/*; do "
                             "ldd $f | grep 'not found' | grep -v libcuda.so.1; done; true")
        self.assertEqual(missing, "")
        without = self.engine.docker("run", "--rm", "trainyard/worker-cuda", "--orphan-limit", "1",
                                     "--coordinator", "127.0.0.1:1", check=False)
        self.assertEqual(without.returncode, 6, without.stderr)
        self.assertEqual(without.stderr.count("trains on the CPU: no NVIDIA driver"), 1, without.stderr)

    def test_train_makes_models_of_a_repository_that_is_read_only(self):
        out = self.out(10001)
        done = self.train(self.repository(), out=out)
        self.assertIn("target met", done.stdout)
        self.assertEqual(sorted(os.listdir(out)), ["best.onnx", "best.safetensors"])
        self.assertEqual(os.stat(os.path.join(out, "best.onnx")).st_uid, 10001)

    def test_train_as_the_user_who_owns_the_folder(self):
        out = self.out(1234)
        self.train(self.repository(), out=out, options=("--user", "1234:1234"))
        self.assertEqual(os.stat(os.path.join(out, "best.onnx")).st_uid, 1234)

    def test_programs_find_python_and_the_packages_of_their_image(self):
        for name, packages in PACKAGES.items():
            said = self.engine.docker("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--entrypoint", "python",
                                      "trainyard/" + name, "-c", LOOK, *packages.split()).stdout.splitlines()
            # Of TensorFlow's, what only its builders need.
            lacks = [line for line in said if " lacks " in line and not line.endswith((" libclang", " wheel"))]
            self.assertEqual(lacks, [], name)
            self.assertEqual(said[-1], "user 10001 python True", name)

    def test_train_takes_a_keras_program_as_it_is(self):
        repository = os.path.join(self.folder.name, "keras")
        os.makedirs(repository)
        with open(os.path.join(repository, "train.py"), "w") as file:
            file.write(KERAS_PROGRAM)
        out = self.out(10001)
        done = self.train(repository, image="program-keras", out=out)
        self.assertIn("target met", done.stdout)
        self.assertIn("model.keras", os.listdir(out))

    def test_train_says_what_is_wrong_with_the_repository_or_the_folder(self):
        refused = self.train(self.repository(more="nonsense: 1\n"), out=self.out(10001), check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertRegex(refused.stderr, r"trainyard.yaml:\d+:\d+: .*nonsense")
        refused = self.train(self.repository(), out=self.out(0), check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("/out/best.onnx: cannot be written: Permission denied (by user 10001)", refused.stderr)
        below = self.train(self.repository(epochs=1, target="{metric: val_loss, at_most: 0.0000001}"),
                           out=self.out(10001), check=False)
        self.assertEqual(below.returncode, 3, below.stdout)

    def stop(self, name):
        """docker stop; the exit code and how long it took."""
        started = time.monotonic()
        self.engine.docker("stop", "--time", "60", name)
        took = time.monotonic() - started
        return self.engine.inspect(name)["State"]["ExitCode"], took

    def wait_for(self, condition, what):
        deadline = time.monotonic() + 120
        while not condition():
            self.assertLess(time.monotonic(), deadline, "waited in vain for " + what)
            time.sleep(0.1)

    def log(self, name):
        done = self.engine.docker("logs", name)
        return done.stdout + done.stderr

    def test_stop_means_sigterm_to_worker_and_train_alike(self):
        docker = self.engine.docker
        docker("run", "-d", "--name", "worker", "trainyard/worker-cpu", "--coordinator", "127.0.0.1:1")
        self.wait_for(lambda: "looks for its coordinator" in self.log("worker"), "the worker to be up")
        code, took = self.stop("worker")
        self.assertEqual(code, 143, self.log("worker"))
        self.assertLess(took, 30)
        target = "{metric: val_loss, at_most: 0.0000001}"
        docker("run", "-d", "--name", "train", "-v", self.repository(100000, target) + ":/repo:ro",
               "trainyard/worker-cpu", "train", "/repo")
        self.wait_for(lambda: " epoch  " in self.log("train"), "an epoch")
        code, took = self.stop("train")
        self.assertEqual(code, 143, self.log("train"))
        self.assertLess(took, 30)
        self.assertIn("stopped, nothing is kept", self.log("train"))

    def compose_up(self, *files, **environment):
        """Brings docker/compose.yaml up, with these files besides; the command, and the environment for it."""
        compose = shutil.which("docker-compose")
        if compose is None:
            self.skipTest("found no docker-compose")
        command = [compose, "--project-name", "yard"]
        for file in ("compose.yaml", *files):
            command += ["--file", os.path.join(ROOT, "docker", file)]
        environment = dict(os.environ, DOCKER_HOST="unix://" + self.engine.socket, **environment)
        self.addCleanup(run, *command, "down", "--volumes", env=environment, check=False)
        self.addCleanup(self.engine.remove_containers)
        run(*command, "up", "--detach", env=environment)
        return command, environment

    def compose_cli(self, *arguments, options=("-e", "TRAINYARD_ACCESS=/run/trainyard/access")):
        # Docker names the network; the older compose gives a service of a profile no other way in.
        return self.engine.docker("run", "--rm", "--network", "yard_default", "-v",
                                  "yard_admin-access:/run/trainyard/access:ro", "-e",
                                  "TRAINYARD_COORDINATOR=coordinator:7701", *options, "trainyard/cli", *arguments,
                                  check=False)

    def listed(self, what):
        """What `trainyard WHAT list` has for programs, once it is not nothing."""
        done = self.compose_cli(what, "list", "--output", "json")
        return done.returncode == 0 and json.loads(done.stdout).get(what + "s")

    def test_compose_brings_up_workers_that_are_let_in_by_token_over_tls(self):
        command, environment = self.compose_up()
        shown = run(*command, "--profile", "gpu", "--profile", "cli", "config", env=environment).stdout
        self.assertIn("driver: nvidia", shown)
        self.wait_for(lambda: self.listed("worker"), "a worker over TLS")
        refused = self.compose_cli("worker", "list", options=())
        self.assertNotEqual(refused.returncode, 0, "nobody is let in without a token")

    def test_compose_with_programs_starts_a_container_for_each(self):
        self.compose_up("compose.programs.yaml", DOCKER_SOCKET=self.engine.socket,
                        DOCKER_GROUP=str(os.stat(self.engine.socket).st_gid))
        self.wait_for(lambda: self.listed("pool"), "the pool")
        repository = os.path.join(self.folder.name, "numpy")
        os.makedirs(repository)
        with open(os.path.join(repository, "main.py"), "w") as file:
            file.write("import numpy\nprint('accuracy:', numpy.float64(1))\n")
        with open(os.path.join(repository, "trainyard.yaml"), "w") as file:
            file.write("program: {command: python3 main.py, framework: sklearn}\n")
        done = self.compose_cli("submit", "/repo", "--wait", options=(
            "-e", "TRAINYARD_ACCESS=/run/trainyard/access", "-v", repository + ":/repo:ro"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_coordinator_and_worker_find_each_other_and_are_healthy(self):
        docker = self.engine.docker
        docker("network", "create", "yard")
        self.addCleanup(docker, "network", "rm", "yard", check=False)
        self.addCleanup(self.engine.remove_containers)
        docker("run", "-d", "--name", "coordinator", "--network", "yard", "trainyard/coordinator",
               "--listen", "0.0.0.0:7700", "--insecure-listen-anywhere")
        docker("run", "-d", "--name", "worker", "--network", "yard", "--read-only", "--tmpfs", "/tmp",
               "-e", "TRAINYARD_COORDINATOR=coordinator:7700", "trainyard/worker-cpu", "--threads", "1")
        ask = ("run", "--rm", "--network", "yard", "-e", "TRAINYARD_COORDINATOR=coordinator:7700", "trainyard/cli")

        def workers():
            listed = docker(*ask, "worker", "list", "--output", "json", check=False)
            return listed.returncode == 0 and json.loads(listed.stdout).get("workers")
        self.wait_for(workers, "the worker to be listed")
        for name, program in (("coordinator", "coordinator"), ("worker", "worker")):
            docker("exec", name, "/usr/bin/trainyard-healthy", program)
        unwell = docker("run", "--rm", "--entrypoint", "/usr/bin/trainyard-healthy", "trainyard/coordinator",
                        "coordinator", check=False)
        self.assertEqual(unwell.returncode, 1)
        self.assertIn("does not answer", unwell.stdout)
        self.assertEqual(self.stop("coordinator")[0], 0)


if __name__ == "__main__":
    skip_where_there_can_be_none()
    unittest.main(verbosity=2)

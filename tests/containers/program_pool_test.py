"""Programs of users in containers of their own, on a real Docker Engine: a Keras program is killed and goes on by epoch
in another container; and whatever a program tries, it finds no token, no other job's files, no more room than it was
given and, on a network without a way out, nobody elsewhere."""

import json
import os
import re
import sys

from engine import EngineTest, run, skip_where_there_can_be_none

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ.setdefault("TRAINYARD_BIN", os.path.join(os.environ.get("TRAINYARD_BUILD", ""), "bin"))
sys.path.insert(0, os.path.join(HERE, "..", "faults"))
from yard import YardTest, free_port, main  # noqa: E402

# Unmodified Keras. Its first run stands still after three epochs, to be killed there.
KERAS = """
import os, time
import keras, numpy

rng = numpy.random.default_rng(1)
labels = rng.integers(0, 3, 600)
images = rng.normal(0, 0.3, (600, 8, 8, 1))
images[numpy.arange(600), labels * 2, :, 0] += 1
model = keras.Sequential([
    keras.Input((8, 8, 1)),
    keras.layers.Conv2D(4, 3, activation="relu"),
    keras.layers.Flatten(),
    keras.layers.Dense(3, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

class StandStill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3 and "TRAINYARD_RESUME_FROM" not in os.environ:
            time.sleep(3600)

model.fit(images[:500], labels[:500], epochs=5, validation_data=(images[500:], labels[500:]), verbose=2,
          callbacks=[StandStill()])
"""

# Reads all it can. The secret's beginning is put together so that this text itself is not found.
PRY = """
import os, signal, stat

secret = "_".join(["tyl", ""]).encode()
looked, found, opened = 0, [], []

def look(path):
    global looked
    try:
        if not path.startswith("/proc/") and not stat.S_ISREG(os.stat(path).st_mode):
            return
        with open(path, "rb") as file:
            text = file.read(1 << 22)
    except OSError:
        return
    looked += 1
    if secret in text:
        found.append(path)

for root in ("/run", "/var", "/tmp", "/dev/shm", "/etc", "/out", os.getcwd(), os.environ["HOME"]):
    for folder, _, names in os.walk(root):
        for name in names:
            look(os.path.join(folder, name))
child = os.fork()
if child == 0:
    signal.pause()
for pid in filter(str.isdigit, os.listdir("/proc")):
    look("/proc/%s/environ" % pid)
    look("/proc/%s/cmdline" % pid)
    try:
        with open("/proc/%s/comm" % pid) as file:
            name = file.read().strip()
        open("/proc/%s/mem" % pid, "rb").close()
        opened.append("child" if int(pid) == child else name)
    except OSError:
        pass
os.kill(child, 9)
print("access files:", sorted(os.listdir("/run/trainyard/access")), flush=True)
print("looked at %d, found %s" % (looked, found), flush=True)
print("memory of:", sorted(opened), flush=True)
print("accuracy: 1.0", flush=True)
"""

# `leave` writes a file to every folder that it can and stays; `look` looks for them.
VISIT = """
import os, sys, time

places = []
for folder, folders, names in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys")]
    if sys.argv[1] == "look":
        places += [os.path.join(folder, name) for name in names if name == "left-for-others"]
    elif os.access(folder, os.W_OK):
        try:
            with open(os.path.join(folder, "left-for-others"), "w") as file:
                file.write("hello")
            places.append(folder)
        except OSError:  # such as /dev/mqueue, which takes no ordinary files
            pass
print(sys.argv[1] + ":", len(places), "places", places, flush=True)
time.sleep(3600 if sys.argv[1] == "leave" else 0)
print("accuracy: 1.0", flush=True)
"""

CALL = """
import socket, sys

for address in sys.argv[1:]:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 5).close()
        print(address, "is reached", flush=True)
    except OSError as error:
        print(address, "is not reached:", error, flush=True)
print("accuracy: 1.0", flush=True)
"""

FILL = """
import threading, time

size, count = 0, 0
try:
    with open("fill", "wb") as file:
        while size < 1 << 30:
            size += file.write(bytes(1 << 20))
            file.flush()
except OSError as error:
    print("disk:", size >> 20, "MiB", error, flush=True)
open("fill", "wb").close()
try:
    while count < 5000:
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        count += 1
except RuntimeError as error:
    print("threads:", count, error, flush=True)
print("accuracy: 1.0", flush=True)
"""


class ProgramPool(EngineTest, YardTest):
    NEEDED = ("program-sklearn", "program-keras")
    WORKERS = 0
    FLAGS = ("--retry-pause-ms", "20")

    def setUp(self):
        YardTest.setUp(self)
        self.port = free_port()

    def tearDown(self):
        YardTest.tearDown(self)
        EngineTest.tearDown(self)

    def start(self, **pools):
        """A coordinator whose only workers are containers for programs; `pools` says what those of each pool get."""
        path = os.path.join(self.temporary.name, "pools.yaml")
        with open(path, "w") as file:
            file.write("pools:\n")
            for name, programs in (pools or {"box": "{}"}).items():
                file.write(f"""  {name}:
    docker:
      images: {{program-keras: trainyard/program-keras, program-sklearn: trainyard/program-sklearn}}
      programs: {programs}
      hosts: [{{name: here, url: "unix://{self.engine.socket}", cores: 1, cpu_slots: 2}}]
""")
        # Beyond this machine, so TLS and tokens.
        self.yard.start("--listen", "0.0.0.0:%d" % self.port, "--pools", path)

    def submit(self, program, *arguments, framework="sklearn", target="0.9", more=""):
        folder = os.path.join(self.temporary.name, "source-%d" % len(os.listdir(self.temporary.name)))
        os.makedirs(folder)
        with open(os.path.join(folder, "main.py"), "w") as file:
            file.write(program)
        command = ", ".join('"%s"' % word for word in ("python3", "main.py", *arguments))
        with open(os.path.join(folder, "trainyard.yaml"), "w") as file:
            file.write(f"program: {{command: [{command}], framework: {framework}, network: true}}\n"
                       f"tune: {{enabled: false}}\ntarget: {target}\n{more}")
        return int(self.yard.json("submit", folder)["job"])

    def output(self, job):
        return self.yard.cli("job", "logs", str(job)).stdout

    def run_program(self, *arguments, **more):
        """What a program printed that has run to its end."""
        job = self.submit(*arguments, **more)
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_SUCCEEDED", "%s\n%s" % (shown, self.output(job)))
        return self.output(job)

    def said(self, pattern, output):
        found = re.search(pattern, output)
        self.assertTrue(found, "expected %s in:\n%s" % (pattern, output))
        return found.group(1)

    def containers(self):
        return self.engine.docker("ps", "--quiet", "--no-trunc", "--filter", "label=trainyard.pool").stdout.split()

    # ---- Tests ----

    def test_a_killed_keras_program_goes_on_by_epoch_in_another_container(self):
        self.start()
        # A target that cannot be met, so that every epoch is run.
        job = self.submit(KERAS, framework="keras", target="{metric: val_loss, at_most: 0.00000001}")
        self.yard.wait_for_epoch(job, 2)
        first, = self.containers()
        self.engine.docker("kill", first)
        shown = self.yard.wait_for_end(job)
        self.assertIn("model", shown, "%s\n%s" % (shown, self.output(job)))
        trial = shown["trials"][0]
        self.assertEqual([int(epoch["epoch"]) for epoch in trial["epochs"]], [1, 2, 3, 4, 5])
        self.assertEqual(int(trial["restarts"]), 1)
        self.assertGreaterEqual(int(trial["attempts"][1]["from_step"]), 1, "not from the beginning")
        names = [file["name"] for file in shown["model"].get("files", [])]
        self.assertIn("model.keras", names)
        self.yard.wait_until(lambda: not self.engine.docker("ps", "--all", "--quiet").stdout, "no container to be left")

    def test_a_program_finds_no_token_wherever_it_looks(self):
        self.start()
        output = self.run_program(PRY)
        self.assertEqual(self.said(r"access files: (.*)", output), "['ca.pem']")
        looked, found = re.search(r"looked at (\d+), found (.*)", output).groups()
        self.assertGreater(int(looked), 50)
        self.assertEqual(found, "[]")
        opened = self.said(r"memory of: (.*)", output)
        self.assertIn("child", opened, "that it can look into a process of its own shows that it looks in the right way")
        self.assertNotIn("trainyard-worke", opened)

    def test_two_jobs_see_nothing_of_each_other(self):
        self.start()
        leaving = self.submit(VISIT, "leave")
        self.yard.wait_until(lambda: "leave: " in self.output(leaving), "the first program to have left its files")
        self.assertGreaterEqual(int(self.said(r"leave: (\d+) places", self.output(leaving))), 4)
        self.assertEqual(self.said(r"look: (.*)", self.run_program(VISIT, "look")), "0 places []", "at the same time")
        self.yard.cli("job", "cancel", str(leaving))
        self.yard.wait_until(lambda: not self.containers(), "the first program to be gone")
        self.assertEqual(self.said(r"look: (.*)", self.run_program(VISIT, "look")), "0 places []", "afterwards")

    def test_on_a_network_without_a_way_out_the_coordinator_is_reached_and_nobody_elsewhere(self):
        docker = self.engine.docker
        network = docker("network", "create", "--internal", "inner").stdout.strip()  # as docs/pools.md has it
        self.addCleanup(docker, "network", "rm", "inner", check=False)
        self.addCleanup(self.engine.remove_containers)
        # What a dockerd does for it that may make rules; this engine's may not.
        subnet = json.loads(docker("network", "inspect", "inner").stdout)[0]["IPAM"]["Config"][0]["Subnet"]
        bridge = "br-" + network[:12]
        for rule in (("!", "-d", subnet, "-i", bridge), ("!", "-s", subnet, "-o", bridge)):
            run("iptables", "-w", "-I", "FORWARD", *rule, "-j", "DROP")
            self.addCleanup(run, "iptables", "-w", "-D", "FORWARD", *rule, "-j", "DROP")
        self.start(inner="{network: inner}", outer="{}")
        elsewhere = docker("run", "--detach", "--entrypoint", "python", "trainyard/program-sklearn", "-u", "-m",
                           "http.server", "8000").stdout.strip()
        other = self.engine.inspect(elsewhere)["NetworkSettings"]["IPAddress"] + ":8000"
        self.yard.wait_until(lambda: "Serving" in docker("logs", elsewhere).stdout, "somebody to be elsewhere")
        coordinator = "host.docker.internal:%d" % self.port
        for pool, reached in (("outer", True), ("inner", False)):
            output = self.run_program(CALL, coordinator, other, more="resources: {pool: %s}\n" % pool)
            self.assertIn(coordinator + " is reached", output)
            self.assertEqual(other + " is reached" in output, reached, output)

    def test_a_program_gets_no_more_than_the_pools_file_says(self):
        self.start(box="{processes: 200, work_size: 64MiB}")
        output = self.run_program(FILL)
        written = int(self.said(r"disk: (\d+) MiB .*No space left", output))
        self.assertTrue(0 < written <= 64, written)
        threads = int(self.said(r"threads: (\d+) ", output))
        self.assertTrue(0 < threads < 200, threads)


if __name__ == "__main__":
    skip_where_there_can_be_none()
    main()

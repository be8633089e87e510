"""Jobs in containers, on a real Docker Engine: killed, short of memory, without image or GPU runtime, with the
daemon or the coordinator gone for a while. What comes out has the bytes of a run on this machine that nothing disturbs."""

import json
import os
import re
import subprocess
import sys
import time

from engine import EngineTest, skip_where_there_can_be_none

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ.setdefault("TRAINYARD_BIN", os.path.join(os.environ.get("TRAINYARD_BUILD", ""), "bin"))
sys.path.insert(0, os.path.join(HERE, "..", "faults"))
from yard import CLI, YardTest, free_port, main  # noqa: E402

DATASETS = "/usr/share/datasets"
EXAMPLE = os.path.join(HERE, "..", "..", "examples", "fashion-mnist", "trainyard.yaml")


class DockerPool(EngineTest, YardTest):
    NEEDED = ("worker-cpu",)
    WORKERS = 0
    FLAGS = ("--retry-pause-ms", "20", "--data-root", DATASETS)

    def setUp(self):
        YardTest.setUp(self)
        os.chmod(self.temporary.name, 0o755)  # containers read the data as another user
        self.listen = "%s:%d" % (self.engine.gateway, free_port())

    def tearDown(self):
        YardTest.tearDown(self)
        EngineTest.tearDown(self)

    # ---- A pool of this machine's engine ----

    def start(self, host="cores: 1, cpu_slots: 1", image="trainyard/worker-cpu"):
        """A coordinator whose only workers are containers; `host` is what the pools file says of the host."""
        path = os.path.join(self.temporary.name, "pools.yaml")
        with open(path, "w") as file:
            file.write(f"""pools:
  box:
    docker:
      images: {{native: {image}}}
      hosts: [{{name: here, url: "unix://{self.engine.socket}", {host}}}]
    data_roots: [{DATASETS}, {self.yard.data_dir}]
""")
        self.pool_flags = ("--listen", self.listen, "--pools", path)
        self.yard.start(*self.pool_flags)

    def containers(self):
        return self.engine.docker("ps", "--quiet", "--no-trunc", "--filter", "label=trainyard.pool=box").stdout.split()

    def the_container(self):
        self.yard.wait_until(lambda: len(self.containers()) == 1, "one container to run")
        return self.containers()[0]

    def wait_for_step(self, job, step):
        """Until the job's attempt is past that step, wherever that is in an epoch."""
        def reached():
            attempts = self.yard.job(job)["trials"][0]["attempts"]
            return attempts and int(attempts[-1]["step"]) >= step
        self.yard.wait_until(reached, "step %d" % step)

    def host(self):
        return self.yard.json("pool", "list")["pools"][0]["hosts"][0]

    def assert_finished_as(self, job, expected, restarts=None):
        shown = self.yard.wait_for_end(job)
        self.assertIn("model", shown, "%s\n%s" % (shown["reason"], self.yard.log()))
        if restarts is not None:
            self.assertEqual(int(shown["trials"][0]["restarts"]), restarts)
        self.assertEqual(self.yard.model_hashes(job), expected)
        return shown

    # ---- Tests ----

    def test_the_quick_starts_job_killed_in_mid_epoch_continues_bit_for_bit(self):
        with open(EXAMPLE) as file:
            spec = file.read() + "\ntune: {enabled: false}\n"
        expected = self.undisturbed(spec)
        self.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        self.wait_for_step(job, 500)  # of 430 an epoch
        killed = self.the_container()
        self.engine.docker("kill", killed)
        self.assert_finished_as(job, expected, restarts=1)
        events = self.assert_history_is_whole(job, 2)
        lost = [e["message"] for e in events if e["kind"] == "attempt_lost"]
        self.assertTrue(any("SIGKILL" in message for message in lost), lost)
        again = [e["message"] for e in events if e["kind"] == "attempt_restarted"]
        step = int(re.search(r"on here/\d+ from step (\d+)$", again[0])[1])
        self.assertTrue(step >= 450 and step % 50 == 0, again[0])  # in the middle of the second epoch
        # Each attempt's log is kept although its container is gone.
        logs = self.yard.cli("job", "logs", str(job)).stdout
        self.assertEqual(logs.count("looks for its coordinator"), 3, logs)  # the finishing attempt is the third
        self.yard.wait_until(lambda: not self.engine.docker("ps", "--all", "--quiet").stdout, "no container to be left")

    def test_a_container_is_let_in_by_a_file_that_nobody_else_sees(self):
        self.start()
        job = self.yard.submit(self.spec(epochs=1000))
        self.yard.wait_for_epoch(job, 1)
        container = self.engine.inspect(self.the_container())
        self.assertNotIn("tyl_", json.dumps(container))
        token = self.engine.docker("exec", container["Id"], "cat", "/run/trainyard/access/token").stdout
        self.assertTrue(token.startswith("tyl_"), token)
        self.assertEqual(container["Config"]["User"], "10001:10001")
        self.assertTrue(container["HostConfig"]["ReadonlyRootfs"])
        self.yard.cli("job", "cancel", str(job))
        self.yard.wait_until(lambda: not self.engine.docker("ps", "--all", "--quiet").stdout, "the container to go")

    def test_a_killed_coordinator_finds_its_container_again(self):
        spec = self.spec(epochs=30, filters=128)  # it still trains when the stray is gone
        expected = self.undisturbed(spec)
        self.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        container = self.the_container()
        self.yard.kill()
        # What runs under our name and is in no record is ended; other containers are not ours.
        label = self.engine.inspect(container)["Config"]["Labels"]["trainyard.coordinator"]
        run = ["run", "--detach", "--entrypoint", "sleep"]
        stray = self.engine.docker(*run, "--label", "trainyard.coordinator=" + label, "--label", "trainyard.pool=box",
                                   "--label", "trainyard.launch=999",
                                   "trainyard/worker-cpu", "600").stdout.strip()
        foreign = self.engine.docker(*run, "trainyard/worker-cpu", "600").stdout.strip()
        self.yard.start(*self.pool_flags)
        self.yard.wait_until(lambda: self.engine.docker("inspect", stray, check=False).returncode != 0, "the stray to go")
        self.assert_finished_as(job, expected, restarts=0)
        self.assertTrue(self.engine.inspect(foreign)["State"]["Running"])

    def test_a_daemon_that_stops_and_returns(self):
        spec = self.spec(epochs=8, filters=128)
        expected = self.undisturbed(spec)
        self.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        self.engine.stop()
        self.yard.wait_until(lambda: not self.host()["reachable"], "the host to be out of reach")
        self.assertIn("docker.sock", self.host()["trouble"])
        shown = self.yard.cli("pool", "list").stdout
        self.assertIn("unreachable", shown)
        self.engine.start()
        self.assert_finished_as(job, expected)
        self.assertTrue(self.host()["reachable"])
        notes = [e["message"] for e in self.all_events() if e["kind"] == "note"]
        self.assertTrue(any("cannot be reached" in note for note in notes), notes)
        self.assertTrue(any("can be reached again" in note for note in notes), notes)

    def all_events(self):
        """What happened so far, of no job too."""
        with subprocess.Popen([CLI, "watch", "--output", "json"], env=self.yard.environment, text=True,
                              stdout=subprocess.PIPE) as watch:
            events = []
            for line in watch.stdout:
                events.append(json.loads(line))
                if events[-1]["kind"] == "job_ended":
                    break
            watch.kill()
        return events

    def test_out_of_memory_is_told_and_not_tried_again(self):
        self.start(host="cores: 1, cpu_slots: 1, memory: 128MiB")
        spec = self.spec(epochs=1, filters=256).replace("batch_size: 16", "batch_size: 1024")
        shown = self.yard.wait_for_end(self.yard.submit(spec))
        self.assertEqual(shown["state"], "JOB_STATE_FAILED", shown["reason"])
        self.assertIn("out of memory", shown["trials"][0]["reason"])
        self.assertIn("128", shown["trials"][0]["reason"])
        # But where the engine lost what the kernel said (docs/operations.md).
        for attempt in shown["trials"][0]["attempts"][:-1]:
            self.assertIn("or for want of memory", attempt["cause"])

    def test_without_its_image_a_job_fails_with_what_to_do(self):
        self.start(image="trainyard/not-there:1.0")
        shown = self.yard.wait_for_end(self.yard.submit(self.spec()))
        self.assertEqual(shown["state"], "JOB_STATE_FAILED", shown["reason"])
        self.assertIn("trainyard/not-there:1.0", shown["reason"])
        self.assertIn("host here of pool box", shown["reason"])

    def test_a_gpu_without_nvidias_runtime_has_a_message_of_its_own(self):
        self.start(host="gpus: [0], gpu_memory: 1GiB")
        shown = self.yard.wait_for_end(self.yard.submit(self.spec(more="resources: {gpu: required}")))
        self.assertEqual(shown["state"], "JOB_STATE_FAILED", shown["reason"])
        self.assertIn("NVIDIA", shown["reason"])

    def test_what_no_slot_can_run_says_what_it_waits_for(self):
        self.start()
        job = self.yard.submit(self.spec(more="resources: {gpu: required, gpu_memory: 4GiB}"))
        shown = self.yard.job(job)
        self.assertEqual(shown["state"], "JOB_STATE_QUEUED")
        waits = shown["trials"][0]["attempts"][0]["waiting_for"]
        self.assertEqual(waits, "a GPU with 4.0 GiB, where %s/test-images.idx is: there is none that suits" % self.yard.data_dir)
        self.assertIn("4.0 GiB", self.yard.cli("job", "show", str(job)).stdout)

    def test_from_a_kill_to_the_next_step(self):
        """No limit is asserted: the figures are printed for docs/benchmarks.md."""
        self.start()
        job = self.yard.submit(self.spec(epochs=600, more="checkpoint: {every_steps: 10}"))
        self.yard.wait_for_epoch(job, 1)
        took = [self.yard.seconds_to_next_step(job, lambda: self.engine.docker("kill", self.the_container()))
                for _ in range(5)]
        start = time.monotonic()
        self.engine.docker("run", "--rm", "--network", "none", "--entrypoint", "true", "trainyard/worker-cpu")
        print("kill to the next attempt's first step, s: %s; `docker run true`: %.2f s" %
              (" ".join("%.2f" % t for t in sorted(took)), time.monotonic() - start))
        self.yard.cli("job", "cancel", str(job))


if __name__ == "__main__":
    skip_where_there_can_be_none()
    main()

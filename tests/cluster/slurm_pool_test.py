"""Jobs on a real Slurm of one node and two GPUs that are none: killed, preempted, cancelled, with its controller gone
for a while. What comes out has the bytes of a run on this machine that nothing disturbs."""

import os
import signal
import subprocess
import sys
import time

from yard import BIN, WORKER, YardTest, free_port, main

SKIPPED = 77


class Cluster:
    """slurmctld, slurmd and munged, in a folder of their own (tests/coordinator/launch/slurm_cluster.h)."""

    def __init__(self):
        self.process = subprocess.Popen([os.path.join(BIN, "slurm_cluster_main")], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.conf = self.process.stdout.readline().strip()
        if not self.conf:
            code = self.process.wait()
            if code == SKIPPED:
                sys.exit(SKIPPED)
            raise AssertionError("no Slurm came up: exit code %d" % code)
        self.environment = {"SLURM_CONF": self.conf, "PATH": "/usr/bin:/bin", "HOME": "/"}

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "done: " + line

    def run(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class ClusterTest(YardTest):
    WORKERS = 0

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)

    def tearDown(self):
        self.yard.stop_everything()  # or it would launch again
        self.cluster.run("scancel", "--me")
        self.yard.wait_until(lambda: not self.cluster.run("squeue", "--noheader", "--me"), "Slurm's jobs to end")
        super().tearDown()

    def start(self, partition="train"):
        """Workers dial a TLS address, with a token each."""
        port = free_port()
        path = os.path.join(self.temporary.name, "pools.yaml")
        with open(path, "w") as file:
            file.write(f"""pools:
  cluster:
    slurm:
      workers: 2
      partition: {partition}
      gres: gpu:1
      gpu_memory: 1GiB
      cores: 1
      memory: 400MiB
      folder: {self.temporary.name}/shared
      worker: {WORKER}
      environment: {{SLURM_CONF: {self.cluster.conf}, XDG_CACHE_HOME: "{self.temporary.name}/cache"}}
    coordinator: 127.0.0.1:{port}
    data_roots: [{self.yard.data_dir}]
""")
        self.yard.start("--listen", "0.0.0.0:%d" % port, "--pools", path)

    def worker_pid(self):
        """Of the one worker, wherever Slurm has put it."""
        def find():
            found = []
            for entry in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open("/proc/%s/cmdline" % entry) as file:
                        words = file.read().split("\0")
                    with open("/proc/%s/environ" % entry) as file:
                        ours = self.temporary.name in file.read()
                except OSError:
                    continue
                if ours and words[0] == WORKER:
                    found.append(int(entry))
            return found if len(found) == 1 else None
        return self.yard.wait_until(find, "one worker to run")[0]

    def attempts(self, job):
        return self.yard.job(job)["trials"][0]["attempts"]

    def assert_finished_as(self, job, expected):
        shown = self.yard.wait_for_end(job)
        self.assertIn("model", shown, "%s\n%s" % (shown["reason"], self.yard.log()))
        self.assertEqual(self.yard.model_hashes(job), expected)


class SlurmPool(ClusterTest):

    def test_a_killed_worker_continues_bit_for_bit_in_the_next_slurm_job(self):
        spec = self.spec(epochs=6, filters=128)  # any: Slurm gives it a GPU, which the worker here cannot use
        expected = self.undisturbed(spec)
        self.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        pid = self.worker_pid()
        with open("/proc/%d/environ" % pid) as file:
            environment = file.read()
        self.assertNotIn("tyl_", environment)
        self.assertRegex(environment, r"CUDA_VISIBLE_DEVICES=[01]\b")
        os.kill(pid, signal.SIGKILL)
        self.assert_finished_as(job, expected)
        lost = [e["message"] for e in self.yard.events(job) if e["kind"] == "attempt_lost"]
        self.assertTrue(any("SIGKILL" in message for message in lost), lost)
        self.assertIn("looks for its coordinator", self.yard.cli("job", "logs", str(job)).stdout)

    def test_a_preempted_worker_stores_a_checkpoint_and_spends_no_retry(self):
        spec = self.spec(epochs=60, filters=64)
        expected = self.undisturbed(spec)
        self.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        before = int(self.attempts(job)[-1]["step"])
        self.cluster.run("sbatch", "--partition=urgent", "--exclusive", "--mem=0", "--output=/dev/null", "--wrap=sleep 2")
        self.yard.wait_until(lambda: len(self.attempts(job)) > 1, "the attempt after the preemption")
        self.assertRegex(self.attempts(job)[0]["cause"], r"stopped at step \d+ \(SIGTERM\), with a checkpoint")
        self.assert_finished_as(job, expected)
        # Nothing was lost: it goes on from where it was told to stop.
        self.assertGreaterEqual(int(self.attempts(job)[1]["from_step"]), before)

    def test_a_cancelled_job_leaves_nothing_in_slurm(self):
        self.start()
        job = self.yard.submit(self.spec(epochs=200))
        self.yard.wait_for_epoch(job, 1)
        self.yard.cli("job", "cancel", str(job))
        self.yard.wait_until(lambda: not self.cluster.run("squeue", "--noheader", "--me"), "Slurm's queue to be empty")

    def test_what_the_cluster_does_not_have_is_said_in_its_words(self):
        self.start(partition="nowhere")
        shown = self.yard.wait_for_end(self.yard.submit(self.spec()))
        self.assertEqual(shown["state"], "JOB_STATE_FAILED", shown["reason"])
        self.assertIn("partition", shown["reason"])
        self.assertIn("pool cluster", shown["reason"])

    def test_from_a_kill_to_the_next_step(self):
        """No limit is asserted: the figures are printed for docs/benchmarks.md."""
        self.start()
        job = self.yard.submit(self.spec(epochs=600, more="checkpoint: {every_steps: 10}"))
        self.yard.wait_for_epoch(job, 1)
        took = [self.yard.seconds_to_next_step(job, lambda: os.kill(self.worker_pid(), signal.SIGKILL))
                for _ in range(3)]
        start = time.monotonic()
        self.cluster.run("sbatch", "--wait", "--output=/dev/null", "--wrap=true")
        print("kill to the next attempt's first step, s: %s; `sbatch --wait true`: %.2f s" %
              (" ".join("%.2f" % t for t in sorted(took)), time.monotonic() - start))
        self.yard.cli("job", "cancel", str(job))


class SlurmController(ClusterTest):
    """With a cluster of its own: one whose controller was away has forgotten what its node has."""

    def test_a_controller_that_is_down_for_a_while_costs_nothing(self):
        spec = self.spec(epochs=40)
        expected = self.undisturbed(spec)
        self.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        self.cluster.tell("stop controller")
        try:
            host = lambda: self.yard.json("pool", "list")["pools"][0]["hosts"][0]  # noqa: E731
            self.yard.wait_until(lambda: not host()["reachable"], "the controller to be missed")
            self.yard.wait_for_epoch(job, 40)  # what runs goes on
        finally:
            self.cluster.tell("start controller")
        self.assert_finished_as(job, expected)
        self.assertEqual(int(self.yard.job(job)["trials"][0]["restarts"]), 0)


if __name__ == "__main__":
    main()

"""A coordinator that is killed, alone or with its worker, interrupted, or started where it cannot be."""

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

from yard import COORDINATOR, YardTest, main


class CoordinatorFaults(YardTest):

    def test_an_outage_longer_than_a_lease_costs_no_restart_and_no_epoch(self):
        self.yard.start()
        job = self.yard.submit(self.spec(epochs=20, filters=128))
        self.yard.wait_for_epoch(job, 1)
        self.yard.kill()
        worker = self.yard.the_worker()
        time.sleep(6)  # the outage itself: more than a lease of 5 s
        self.yard.start()
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        self.assertEqual(int(shown["trials"][0]["restarts"]), 0)
        self.assertEqual(self.yard.the_worker(), worker, "the same worker serves on")
        events = self.assert_history_is_whole(job, 20)
        self.assertEqual(len([e for e in events if e["kind"] == "epoch"]), 20, "none was done twice")

    def test_coordinator_and_worker_killed_together_end_with_the_undisturbed_model(self):
        spec = self.spec(epochs=5, filters=128, more="checkpoint: {every_steps: 10}")
        expected = self.undisturbed(spec)
        self.yard.start()
        job = self.yard.submit(spec)
        for epoch in (1, 3):
            self.yard.wait_for_epoch(job, epoch)
            worker = self.yard.the_worker()
            self.yard.kill()
            os.kill(worker, signal.SIGKILL)
            self.yard.start()
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        self.assert_history_is_whole(job, 5)
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_a_coordinator_killed_at_any_moment_loses_nothing(self):
        spec = self.spec(epochs=6, filters=128)
        expected = self.undisturbed(spec)
        rng = random.Random(7)
        self.yard.start()
        job = self.yard.submit(spec)
        for _ in range(8):
            time.sleep(rng.random() * 0.5)  # the moment, drawn by seed
            self.yard.kill()
            self.yard.start()
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        self.assert_history_is_whole(job, 6)
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_ctrl_c_stores_a_checkpoint_and_the_next_start_goes_on(self):
        spec = self.spec(epochs=5, filters=128)
        expected = self.undisturbed(spec)
        self.yard.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 2)
        self.assertEqual(self.yard.kill(signal.SIGINT), 0)
        self.assertEqual(self.yard.worker_pids(), [], "workers have stopped")
        self.yard.start()
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        events = self.assert_history_is_whole(job, 5)
        self.assertEqual(len([e for e in events if e["kind"] == "epoch"]), 5, "none was done twice")
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_a_torn_checkpoint_is_set_aside_and_the_one_before_it_is_used(self):
        spec = self.spec(epochs=5, filters=128)
        expected = self.undisturbed(spec)
        self.yard.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 3)
        self.yard.wait_until(lambda: len(self.blobs_by_age()) >= 2, "two checkpoints")
        worker = self.yard.the_worker()
        self.yard.kill()
        os.kill(worker, signal.SIGKILL)
        newest = self.blob_to_continue_from()
        os.chmod(newest, 0o600)
        with open(newest, "r+b") as file:
            file.seek(os.path.getsize(newest) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        self.yard.start()
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        events = self.assert_history_is_whole(job, 5)
        self.assertTrue(any("set aside" in e["message"] for e in events), [e["message"] for e in events])
        self.assertEqual(self.yard.model_hashes(job), expected)

    def blob_to_continue_from(self):
        """The newest committed one; a later blob may be there that was uploaded but not reported."""
        with tempfile.TemporaryDirectory() as copy:  # reading the records themselves would tidy them
            for name in ("records.db", "records.db-wal"):
                path = os.path.join(self.yard.state_dir, name)
                if os.path.exists(path):
                    shutil.copy(path, copy)
            records = sqlite3.connect(os.path.join(copy, "records.db"))
            row = records.execute("SELECT sha256 FROM checkpoints WHERE state = 'sound' "
                                  "ORDER BY id DESC LIMIT 1").fetchone()
            records.close()
        return next(path for path in self.blobs_by_age() if os.path.basename(path) == row[0])

    def blobs_by_age(self):
        found = []
        for folder, _, names in os.walk(os.path.join(self.yard.state_dir, "blobs")):
            for name in names:
                path = os.path.join(folder, name)
                # Checkpoints are far larger than this job's source.
                if len(name) == 64 and "broken" not in folder and os.path.getsize(path) > 8192:
                    found.append(path)
        return sorted(found, key=lambda path: os.stat(path).st_mtime_ns)


class CoordinatorRefusals(YardTest):
    """What cannot work is said, with exit code 2, and harms nobody who runs already."""

    def refusal(self, *flags):
        done = subprocess.run([COORDINATOR, *flags], capture_output=True, text=True,
                              env=self.yard.environment, timeout=60)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def test_a_state_folder_in_use(self):
        running = self.yard.start()
        text = self.refusal("--listen", "127.0.0.1:0", "--state-dir", self.yard.state_dir)
        self.assertIn(self.yard.state_dir, text)
        self.assertIn(str(running.pid), text)
        self.yard.cli("job", "list")  # the first one serves on

    def test_a_port_in_use(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            address = "127.0.0.1:%d" % other.getsockname()[1]
            text = self.refusal("--listen", address, "--state-dir", self.yard.state_dir)
            self.assertIn(address, text)
            self.assertIn("in use", text)

    def test_a_state_folder_that_is_a_file(self):
        path = os.path.join(self.yard.folder, "file")
        open(path, "w").close()
        self.assertIn(path, self.refusal("--listen", "127.0.0.1:0", "--state-dir", path))

    def test_a_pool_whose_workers_could_not_reach_it(self):
        path = os.path.join(self.yard.folder, "reach.yaml")
        with open(path, "w") as file:
            file.write("pools: {far: {docker: {hosts: [{name: here}]}}}")
        text = self.refusal("--listen", "127.0.0.1:0", "--state-dir", self.yard.state_dir, "--pools", path)
        self.assertIn("workers of pool far could not reach", text)
        self.assertIn("--listen 0.0.0.0:7701", text)

    def test_a_worker_program_that_is_missing(self):
        text = self.refusal("--listen", "127.0.0.1:0", "--state-dir", self.yard.state_dir,
                            "--workers", "1", "--worker-binary", "/no/such/worker")
        self.assertIn("/no/such/worker", text)

    def test_a_pools_file_with_errors(self):
        path = os.path.join(self.yard.folder, "pools.yaml")
        with open(path, "w") as pools:
            pools.write("pools:\n"
                        "  a: {slurm: {workers: 0, folder: /shared}}\n"
                        "  b: {docker: {hosts: [{name: h, url: 'tcp://gpu1:2375'}]}}\n")
        text = self.refusal("--listen", "127.0.0.1:0", "--state-dir", self.yard.state_dir,
                            "--pools", path)
        self.assertIn(path + ":2:24: pools.a.slurm.workers: found 0, expected", text)
        self.assertIn(path + ":3:39: pools.b.docker.hosts[0].url: found \"tcp://gpu1:2375\" "
                      "without tls", text)
        os.remove(path)
        text = self.refusal("--listen", "127.0.0.1:0", "--state-dir", self.yard.state_dir,
                            "--pools", path)
        self.assertIn(path + ": found nothing that can be read", text)

    def test_unknown_flags(self):
        self.assertIn("--no-such-flag", self.refusal("--no-such-flag"))


if __name__ == "__main__":
    main()

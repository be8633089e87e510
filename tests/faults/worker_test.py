"""Workers that are killed, or stopped for longer than their lease: what they learned is kept, and the final
model has the very bytes of a run that nothing disturbed."""

import os
import signal

from yard import YardTest, main, start_ticks


class WorkerFaults(YardTest):

    def test_a_worker_killed_again_and_again_ends_with_the_undisturbed_model(self):
        spec = self.spec(epochs=5, more="checkpoint: {every_steps: 10}")
        expected = self.undisturbed(spec)
        self.yard.start()
        job = self.yard.submit(spec)
        for epoch in (1, 2, 4):
            self.yard.wait_for_epoch(job, epoch)
            self.yard.kill_worker()
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        self.assertGreaterEqual(int(shown["trials"][0]["restarts"]), 1)
        events = self.assert_history_is_whole(job, 5)
        lost = [e["message"] for e in events if e["kind"] == "attempt_lost"]
        self.assertTrue(any("SIGKILL" in message for message in lost), lost)
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_a_worker_stopped_beyond_its_lease_changes_nothing_when_it_comes_back(self):
        self.yard.workers = 2
        spec = self.spec(epochs=5)
        expected = self.undisturbed(spec)
        self.yard.start("--lease-ms", "500")
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        frozen = self.yard.the_worker()
        ticks = start_ticks(frozen)
        os.kill(frozen, signal.SIGSTOP)
        self.yard.wait_until(lambda: len(self.yard.job(job)["trials"][0]["attempts"]) >= 2,
                             "a second attempt")
        if start_ticks(frozen) == ticks:
            os.kill(frozen, signal.SIGCONT)
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        self.assert_history_is_whole(job, 5)
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_a_crash_loop_ends_the_job_with_its_cause(self):
        self.yard.start("--worker-binary", "/bin/false")
        job = self.yard.submit(self.spec(epochs=1))
        self.yard.wait_until(
            lambda: "exit code 1" in self.yard.log() and "launched" in self.yard.log(),
            "the failing worker to be noticed")
        self.assertNotIn(self.yard.job(job)["state"], ("JOB_STATE_SUCCEEDED",))
        self.yard.cli("job", "cancel", str(job))
        self.assertEqual(self.yard.wait_for_end(job)["state"], "JOB_STATE_CANCELLED")

    def test_out_of_work_the_pool_lets_its_workers_go_on_request(self):
        self.yard.start()
        job = self.yard.submit(self.spec(epochs=1))
        self.yard.wait_for_end(job)
        workers = self.yard.json("worker", "list")["workers"]
        self.assertEqual(len(workers), 1)
        self.yard.cli("worker", "drain", workers[0]["id"])
        self.yard.wait_until(lambda: not self.yard.worker_pids(), "the drained worker to leave")


if __name__ == "__main__":
    main()

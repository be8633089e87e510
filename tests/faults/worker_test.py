"""Workers that are killed, or stopped for longer than their lease: what they learned is kept, and the final
model has the very bytes of a run that nothing disturbed."""

import os
import signal

from yard import YardTest, main


class WorkerFaults(YardTest):

    def test_a_worker_killed_again_and_again_ends_with_the_undisturbed_model(self):
        spec = self.spec(epochs=5, filters=128, more="checkpoint: {every_steps: 10}")
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

    def test_a_worker_of_the_pool_stopped_beyond_its_lease_is_replaced(self):
        self.yard.workers = 2
        spec = self.spec(epochs=5, filters=128)
        expected = self.undisturbed(spec)
        self.yard.start("--lease-ms", "500")
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        self.yard.kill_worker(signal.SIGSTOP)
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        self.assertGreaterEqual(int(shown["trials"][0]["restarts"]), 1)
        self.assert_history_is_whole(job, 5)
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_a_worker_back_from_the_dead_changes_nothing(self):
        # Workers that the coordinator did not start, and so cannot end either.
        self.yard.workers = 0
        spec = self.spec(epochs=12, filters=128)
        expected = self.undisturbed(spec)
        self.yard.start("--lease-ms", "1000")
        job = self.yard.submit(spec)
        first = self.yard.start_worker("first")
        self.yard.wait_for_epoch(job, 1)
        first.send_signal(signal.SIGSTOP)
        self.yard.start_worker("second")
        self.yard.wait_until(lambda: len(self.yard.job(job)["trials"][0]["attempts"]) >= 2,
                             "a second attempt")
        first.send_signal(signal.SIGCONT)
        self.yard.wait_until(lambda: "uperseded" in self.yard.worker_log("first") or
                             "given away" in self.yard.worker_log("first") or
                             "dropped" in self.yard.worker_log("first"), "the first worker to hear of it")
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        self.assertEqual(len(shown["trials"][0]["attempts"]), 3, "two of the training, one to finish")
        events = self.assert_history_is_whole(job, 12)
        # From the second attempt's start on, nothing carries the first one's number.
        second = next(i for i, e in enumerate(events)
                      if e["kind"] in ("attempt_started", "attempt_restarted") and int(e["attempt"]) == 2)
        late = [e for e in events[second:] if int(e["attempt"]) == 1 and e["kind"] in ("epoch", "checkpoint")]
        self.assertEqual(late, [])
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_an_attempt_that_always_kills_its_worker_is_given_up_with_its_cause(self):
        self.yard.start()
        job = self.yard.submit(self.spec(epochs=1, filters=128))
        killed = set()

        def kill_whoever_holds_it():
            shown = self.yard.job(job)
            for worker in self.yard.json("worker", "list")["workers"]:
                if worker["state"] == "BUSY" and worker["pid"] not in killed:
                    os.kill(worker["pid"], signal.SIGKILL)
                    killed.add(worker["pid"])
            return shown["state"] == "JOB_STATE_FAILED"
        self.yard.wait_until(kill_whoever_holds_it, "the job to be given up")
        self.assertLessEqual(len(killed), 10)
        self.assertIn("SIGKILL", self.yard.job(job)["reason"] + self.yard.job(job)["trials"][0]["reason"])

    def test_a_worker_program_that_only_fails_is_not_started_without_end(self):
        self.yard.start("--worker-binary", "/bin/false")
        job = self.yard.submit(self.spec(epochs=1))
        launches = lambda: self.yard.log().count("launched worker")
        self.yard.wait_until(lambda: launches() >= 3 and "exit code 1" in self.yard.log(),
                             "the failing worker to be noticed")
        self.assertLess(launches(), 50, "with growing pauses")
        self.yard.cli("job", "cancel", str(job))
        self.assertEqual(self.yard.wait_for_end(job)["state"], "JOB_STATE_CANCELLED")

    def test_a_drained_worker_leaves(self):
        self.yard.start()
        job = self.yard.submit(self.spec(epochs=1))
        self.yard.wait_for_end(job)
        workers = self.yard.json("worker", "list")["workers"]
        self.assertEqual(len(workers), 1)
        self.yard.cli("worker", "drain", workers[0]["id"])
        self.yard.wait_until(lambda: not self.yard.worker_pids(), "the drained worker to leave")


if __name__ == "__main__":
    main()

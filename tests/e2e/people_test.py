"""What people do with jobs: submit, decide between trials, pause, cancel, read logs, get models; and what they
are told when it cannot be."""

import gzip
import os

from yard import YardTest, main


class People(YardTest):

    def setUp(self):
        super().setUp()
        self.yard.start()

    def test_the_same_folder_submitted_twice_is_one_job_and_again_makes_another(self):
        spec = self.spec(epochs=1)
        first = self.yard.submit(spec)
        self.assertEqual(self.yard.submit(spec), first)
        self.assertNotEqual(self.yard.submit(spec, "--again"), first)
        self.assertNotEqual(self.yard.submit(spec, "--set", "train.lr=0.01"), first)

    def test_a_person_decides_between_the_trials_of_a_manual_job(self):
        job = self.yard.submit(self.spec(epochs=1, tune=True), "--manual")
        self.yard.wait_until(lambda: self.yard.job(job)["state"] == "JOB_STATE_WAITING", "the job to wait")
        shown = self.yard.job(job)
        self.assertTrue(shown["proposal"]["changes"], "there is something to accept")
        before = shown["trials"][0]["configuration"]["training"]
        self.yard.cli("tweak", str(job), "--set", "train.lr=0.005", "--set", "train.epochs=2")
        self.yard.wait_until(lambda: len(self.yard.job(job)["trials"]) == 2 and
                             self.yard.job(job)["state"] == "JOB_STATE_WAITING", "the second trial")
        second = self.yard.job(job)["trials"][1]
        self.assertEqual(second["configuration"]["training"]["optimizer"]["learning_rate"], 0.005)
        self.assertEqual(second["configuration"]["training"]["epochs"], 2)
        self.assertEqual(second["configuration"]["training"]["batch_size"], before["batch_size"])
        self.assertEqual([e["epoch"] for e in second["epochs"]], [1, 2])
        self.yard.cli("tweak", str(job), "--set", "data.format=cifar", expect=2)
        self.yard.cli("tweak", str(job), "--set", "train.lr=fast", expect=2)
        self.yard.cli("tweak", str(job))  # as proposed
        self.yard.wait_until(lambda: len(self.yard.job(job)["trials"]) == 3, "the third trial")
        self.yard.cli("job", "cancel", str(job))
        self.assertEqual(self.yard.wait_for_end(job)["state"], "JOB_STATE_CANCELLED")

    def test_a_paused_job_stands_still_and_goes_on_where_it_was(self):
        spec = self.spec(epochs=16, filters=128)
        expected = self.undisturbed(spec)
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        self.yard.cli("job", "pause", str(job))
        self.yard.wait_until(
            lambda: self.yard.job(job)["state"] == "JOB_STATE_PAUSED" and not any(
                w["state"] == "BUSY" for w in self.yard.json("worker", "list")["workers"]),
            "the worker to be free")
        epochs = len(self.yard.job(job)["trials"][0]["epochs"])
        self.assertLess(epochs, 16)
        self.yard.cli("job", "resume", str(job))
        self.yard.wait_for_end(job)
        self.assert_history_is_whole(job, 16)
        self.assertEqual(self.yard.model_hashes(job), expected)

    def test_a_cancelled_job_frees_its_worker_for_the_next_one(self):
        job = self.yard.submit(self.spec(epochs=1000))
        self.yard.wait_for_epoch(job, 1)
        self.yard.cli("job", "cancel", str(job))
        self.assertEqual(self.yard.wait_for_end(job)["state"], "JOB_STATE_CANCELLED")
        after = self.yard.submit(self.spec(epochs=1))
        self.yard.wait_for_end(after)
        self.yard.cli("job", "cancel", str(job), expect=None)

    def test_logs_hold_the_lines_of_the_jobs_own_attempts(self):
        first = self.yard.submit(self.spec(epochs=1))
        self.yard.wait_for_end(first)
        second = self.yard.submit(self.spec(epochs=2))
        self.yard.wait_for_end(second)
        log = self.yard.cli("job", "logs", str(second)).stdout
        self.assertIn("epoch 2", log)
        self.assertIn("job %d" % second, log)
        self.assertNotIn("job %d," % first, log)

    def test_wrong_data_are_told_at_submit_with_their_place(self):
        def refusal(spec):
            folder = os.path.join(self.yard.folder, "wrong")
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "trainyard.yaml"), "w") as file:
                file.write(spec)
            return self.yard.cli("submit", folder, expect=2).stderr
        good = self.spec()
        self.assertIn("no-such", refusal(good.replace("train-images.idx", "no-such.idx")))
        self.assertIn("data root", refusal(good.replace(self.yard.data_dir + "/train-images.idx",
                                                        "/etc/hostname")))
        with open(os.path.join(self.yard.data_dir, "train-images.idx"), "rb") as file:
            whole = file.read()
        with gzip.open(os.path.join(self.yard.data_dir, "short.idx"), "wb") as file:
            file.write(whole[:-1000])
        self.assertIn("short.idx", refusal(good.replace("train-images.idx", "short.idx")))
        self.assertIn("trainyard.yaml:", refusal(good.replace("dense: 4", "dense: 3")))

    def test_what_is_not_there_is_said(self):
        self.assertIn("4711", self.yard.cli("job", "show", "4711", expect=2).stderr)
        self.yard.cli("model", "get", "4711", "-o", os.path.join(self.yard.folder, "x.onnx"), expect=2)
        self.yard.cli("project", "remove", "nobody", expect=2)


if __name__ == "__main__":
    main()

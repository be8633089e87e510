"""A trial that is changed while it runs, whatever dies then: what is settled stays where it is, and what is trained
again comes out as it did."""

from yard import YardTest, main


class AdjustFaults(YardTest):

    def trial(self, job):
        return self.yard.job(job)["trials"][0]

    def settled(self, job, count):
        def bound():
            changes = self.trial(job)["adjustments"]
            return len(changes) == count and changes[-1]["settled"]
        self.yard.wait_until(bound, "change %d to be settled" % count)
        return [int(change["step"]) for change in self.trial(job)["adjustments"]]

    def test_changes_outlast_coordinator_and_worker_and_every_epoch_is_reproduced(self):
        spec = self.spec(epochs=2000, filters=64, more="checkpoint: {every_steps: 10}")
        self.yard.start()
        job = self.yard.submit(spec)
        self.yard.wait_for_epoch(job, 1)
        # The coordinator dies with the change committed, perhaps before any worker heard of it.
        self.yard.cli("tweak", str(job), "--set", "train.lr=0.004")
        self.yard.kill()
        self.yard.start()
        first = self.settled(job, 1)
        # The worker dies with the change under way, perhaps before it took it.
        self.yard.cli("tweak", str(job), "--set", "network.layers[6].dropout=0.4", "--set", "train.momentum=0.5")
        self.yard.kill_worker()
        both = self.settled(job, 2)
        self.assertEqual(both[:1], first, "what is settled does not move")
        self.yard.wait_until(lambda: any(int(epoch["step"]) > both[1] for epoch in self.trial(job)["epochs"]),
                             "an epoch with both")
        self.yard.kill_worker()
        epochs = len(self.trial(job)["epochs"]) + 10
        self.yard.cli("tweak", str(job), "--set", "train.epochs=%d" % epochs)
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        trial = shown["trials"][0]
        self.assertEqual(len(shown["trials"]), 1)
        trained = [attempt for attempt in trial["attempts"] if not attempt["finishing"]]
        self.assertGreaterEqual(len(trained), 3)
        self.assertGreater(int(trained[-1]["from_step"]), 0, "continued with the list that its checkpoint was made with")
        self.assertEqual([int(change["step"]) for change in trial["adjustments"]][:2], both)
        self.assert_history_is_whole(job, len(trial["epochs"]))
        # Of the rows that count, each has its evidence.
        for epoch in trial["epochs"]:
            self.assertGreater(epoch["gradient_norm"], 0)
            self.assertGreater(epoch["update_ratio"], 0)


if __name__ == "__main__":
    main()

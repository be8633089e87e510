"""Until the target is met: changes of a trial while it runs, searches of a space by several workers, networks that grow
and keep what they learned, jobs that a person decides about, and what is said where the target is not met."""

import os
import subprocess

from yard import CLI, YardTest, main

TINY = """
    - conv: {filters: 1, kernel: 5, stride: 4}
    - relu
    - flatten
    - dense: 4"""
SMALL = """
    - conv: {filters: 2, kernel: 3, padding: same}
    - relu
    - max_pool: 4
    - flatten
    - dense: 4"""


class Tune(YardTest):

    def tuned(self, tune, **more):
        return self.spec(tune=False, **more).replace("tune: {enabled: false}", "tune: " + tune)

    def trial(self, job, number=1):
        return self.yard.job(job)["trials"][number - 1]

    def settled(self, job, count):
        """The trial once a worker is bound to that many changes."""
        def bound():
            changes = self.trial(job)["adjustments"]
            return len(changes) == count and changes[-1]["settled"]
        self.yard.wait_until(bound, "change %d to be settled" % count)
        return self.trial(job)


class InFlight(Tune):

    def long(self):
        spec = self.spec(epochs=1000)
        return spec.replace("  lr: 0.02", "  lr: 0.02\n  schedule: constant")

    def test_a_running_trial_is_changed_without_a_restart_and_a_restart_repeats_it(self):
        self.yard.start()
        job = self.yard.submit(self.long())
        self.yard.wait_for_epoch(job, 2)
        told = self.yard.json("tweak", str(job), "--set", "train.lr=0.004")
        self.assertRegex(told["effect"], r"^trial 1 changes from step \d+ on$")
        self.assertEqual([change["to"] for change in told["tweak"]["changes"]], ["0.004"])
        changed = self.settled(job, 1)
        self.assertEqual(changed["attempts"][-1]["number"], 1, "no restart")
        step = int(changed["adjustments"][0]["step"])
        self.yard.wait_until(lambda: int(self.trial(job)["epochs"][-1]["step"]) > step, "an epoch with the new rate")
        # The number of epochs changes at the end of one.
        epochs = len(self.trial(job)["epochs"]) + 40  # more than are over before the worker is killed
        told = self.yard.json("tweak", str(job), "--set", "train.epochs=%d" % epochs)
        self.assertRegex(told["effect"], "at the end of an epoch")
        self.settled(job, 2)
        self.yard.kill_worker()
        shown = self.yard.wait_for_end(job)
        trial = shown["trials"][0]
        self.assertEqual(len(shown["trials"]), 1)
        self.assertEqual(int(trial["restarts"]), 1)
        self.assertEqual([int(a["step"]) for a in trial["adjustments"]][0], step, "what is settled does not move")
        for epoch in trial["epochs"]:
            rate = 0.02 if int(epoch["step"]) <= step else 0.004
            self.assertAlmostEqual(epoch["learning_rate"], rate, msg="epoch %s" % epoch["epoch"])
        events = self.assert_history_is_whole(job, epochs)
        self.assertEqual([e["kind"] for e in events].count("adjustment"), 2)
        # People see it too.
        self.assertRegex(self.yard.cli("job", "show", str(job)).stdout,
                         r"changed +trial 1 from step %d on: train\.\S+ 0\.02 -> 0\.004" % step)
        refused = self.yard.cli("tweak", str(job), "--set", "train.lr=0.1", expect=2)
        self.assertIn("below_target", refused.stderr)

    def test_what_cannot_be_changed_is_refused_and_nothing_is_half_applied(self):
        self.yard.start()
        job = self.yard.submit(self.long())
        self.yard.wait_for_epoch(job, 1)
        tweak = ("tweak", str(job))
        for flags, text in ((("--set", "train.learning=1"), "train.learning"),
                            (("--set", "train.lr=-1"), "train.lr"),
                            (("--set", "train.lr=0.3", "--set", "train.lr=fast"), "fast"),
                            (("--set", "train.epochs=1"), "train.epochs"),
                            (("--set", "network.layers[1].conv.filters=0"), "filters"),
                            (("--set", "network.layers[8].dense=3"), "one per class"),
                            (("--set", "data.format=cifar"), "network or train"),
                            (("--set", "train.lr=0.02"), "nothing would change"),
                            (("--trial", "2", "--set", "train.lr=0.1"), "no trial 2"),
                            (("--trial", "1"), "--set"),
                            ((), "no proposal"),
                            (("--dry-run", "--set", "train.lr=-1"), "train.lr")):
            refused = self.yard.cli(*tweak, *flags, expect=2)
            self.assertIn(text, refused.stderr, flags)
        # A dry run says when, and does nothing.
        self.assertIn("trial 1 is stopped, trial 2 follows",
                      self.yard.cli(*tweak, "--dry-run", "--set", "train.batch_size=32").stdout)
        self.assertIn("tuning is off", self.yard.cli(*tweak, "--dry-run").stdout)
        self.assertEqual(self.yard.cli("tweak", "4711", "--set", "train.lr=0.1", expect=2).stdout, "")
        shown = self.yard.job(job)
        self.assertEqual((len(shown["trials"]), shown["trials"][0]["adjustments"]), (1, []))
        # What makes another trial stops this one.
        told = self.yard.json(*tweak, "--set", "train.batch_size=32", "--set", "train.epochs=2")
        self.assertEqual(told["effect"], "trial 1 is stopped, trial 2 follows")
        shown = self.yard.wait_for_end(job)
        self.assertEqual([len(t["epochs"]) > 0 for t in shown["trials"]], [True, True])
        self.assertEqual(shown["trials"][1]["tweak"]["finding"], "manual")

    def test_of_changes_at_the_same_time_none_undoes_another(self):
        self.yard.start()
        job = self.yard.submit(self.long())
        self.yard.wait_for_epoch(job, 1)
        wanted = ("train.momentum=0.5", "train.weight_decay=0.001", "train.label_smoothing=0.1", "train.clip_norm=1")
        calls = [subprocess.Popen([CLI, "tweak", str(job), "--set", what], env=self.yard.environment, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) for what in wanted]
        accepted = 0
        for call in calls:
            _, problem = call.communicate()
            accepted += call.returncode == 0
            if call.returncode != 0:
                self.assertIn("on its way", problem)
        self.assertGreater(accepted, 0)
        changed = self.settled(job, accepted)
        self.assertEqual([len(a["tweak"]["changes"]) for a in changed["adjustments"]], [1] * accepted)
        self.yard.cli("job", "cancel", str(job))


class Search(Tune):

    WORKERS = 0  # launched; those of start() are there before the job is
    IMAGES = 600

    def start(self):
        self.yard.start()
        for name in ("one", "two"):
            self.yard.start_worker(name)
        self.yard.wait_until(lambda: [w["state"] for w in self.yard.json("worker", "list")["workers"]] == ["IDLE"] * 2,
                             "two workers to be idle")

    def space(self, algorithm, max_trials):
        return ("{algorithm: %s, parallel: 2, max_trials: %d, seed: 7, eta: 2, min_epochs: 1, "
                "space: {train.lr: {min: 0.001, max: 0.1, log: true}, network.width: [1, 2]}}" %
                (algorithm, max_trials))

    def test_a_search_runs_trials_in_parallel_and_lets_the_best_go_on(self):
        self.start()
        job = self.yard.submit(self.tuned(self.space("asha", 5), epochs=4, filters=4))
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_BELOW_TARGET", shown["reason"])
        trials = shown["trials"]
        self.assertEqual(len(trials), 5)
        self.assertEqual(len({t["attempts"][0]["worker"] for t in trials[:2]}), 2, "a worker for each of them")
        epochs = sorted(len(t["epochs"]) for t in trials)
        self.assertEqual([int(t["restarts"]) for t in trials], [0] * 5, "to go on from a rung is none")
        self.assertLess(epochs[0], epochs[-1], "few go on to the last epoch: %s" % epochs)
        self.assertEqual(len({(t["configuration"]["training"]["optimizer"]["learning_rate"]) for t in trials[1:]}), 4)
        # The same again, from the same seed, and other workers' luck: the same trials.
        again = self.yard.wait_for_end(self.yard.submit(
            self.tuned(self.space("asha", 5), epochs=4, filters=4), "--again"))
        self.assertEqual([t["configuration"] for t in again["trials"]], [t["configuration"] for t in trials])
        self.assertEqual([len(t["epochs"]) for t in again["trials"]], [len(t["epochs"]) for t in trials])

    def running(self, job):
        return [t for t in self.yard.job(job)["trials"] if t["state"] == "TRIAL_STATE_RUNNING"]

    def test_with_several_running_the_one_to_change_has_to_be_named(self):
        self.start()
        job = self.yard.submit(self.tuned(self.space("random", 2), epochs=5000, filters=4))
        self.yard.wait_until(lambda: len(self.running(job)) == 2, "two trials to run at once")
        refused = self.yard.cli("tweak", str(job), "--set", "train.lr=0.003", expect=2)
        self.assertIn("trials 1, 2 are running", refused.stderr)
        self.yard.cli("tweak", str(job), "--trial", "2", "--set", "train.lr=0.003")
        self.yard.wait_until(lambda: self.trial(job, 2)["adjustments"], "trial 2 to be changed")
        self.assertEqual(self.trial(job, 1)["adjustments"], [])
        self.yard.cli("job", "cancel", str(job))

    def test_a_space_that_cannot_be_searched_is_refused(self):
        self.start()
        good = self.space("random", 2)
        for bad, text in ((good.replace("min: 0.001", "min: 1"), "train.lr"),
                          (good.replace("[1, 2]", "[]"), "network.width"),
                          (good.replace("train.lr", "train.speed"), "train.speed"),
                          (good.replace("random", "psychic"), "psychic"),
                          ("{algorithm: tpe, space: {}}", "space")):
            refused = self.refuse(self.tuned(bad))
            self.assertIn(text, refused.stderr, bad)
        self.assertIn("target", self.refuse(self.spec(target="1.2")).stderr)

    def refuse(self, spec):
        source = os.path.join(self.yard.folder, "source")
        os.makedirs(source, exist_ok=True)
        with open(os.path.join(source, "trainyard.yaml"), "w") as file:
            file.write(spec)
        return self.yard.cli("submit", source, expect=2)


class Grow(Tune):

    IMAGES = 3000
    NOISE = 60

    def test_a_network_that_is_too_small_grows_keeps_its_weights_and_meets_the_target(self):
        self.yard.start()
        job = self.yard.submit(self.tuned("{enabled: true}", epochs=4, target="0.9", layers=SMALL))
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_SUCCEEDED", shown["reason"])
        grown = [t for t in shown["trials"] if int(t["inherited_from"]) > 0 and
                 any(change["path"].startswith("network.") for change in t["tweak"]["changes"])]
        self.assertTrue(grown, "no network grew from another one's weights")
        child = grown[0]
        parent = shown["trials"][int(child["inherited_from"]) - 1]
        self.assertGreater(int(child["parameters"]), int(parent["parameters"]))
        self.assertGreater(child["epochs"][0]["val_accuracy"], parent["epochs"][0]["val_accuracy"],
                           "it starts where its parent was, not from chance")
        for trial in shown["trials"][1:]:
            self.assertTrue(trial["tweak"]["diagnosis"])
            self.assertTrue(trial["tweak"]["evidence"])
            self.assertTrue(trial["tweak"]["move"])
            self.assertIsNotNone(trial["gained"])
        self.assertIn("with its weights", self.yard.cli("job", "show", str(job)).stdout)

    def test_below_the_target_the_code_says_so_and_the_text_what_would_be_tried_next(self):
        self.yard.start()
        job = self.yard.submit(self.tuned("{max_trials: 1}", epochs=2, target="0.99", layers=TINY))
        waited = self.yard.cli("wait", str(job), expect=3)
        reason = self.yard.job(job)["reason"]
        self.assertRegex(reason, r"best val_accuracy 0\.\d+ misses val_accuracy >= 0.99 by 0\.\d+")
        self.assertRegex(reason, "next it would try: .")
        self.assertIn("next it would try", " ".join(waited.stdout.split()))


class Manual(Tune):

    def test_a_person_looks_changes_accepts_and_stops(self):
        self.yard.start()
        job = self.yard.submit(self.tuned("{enabled: true}", epochs=2, target="0.999", layers=TINY), "--manual")
        self.yard.wait_until(lambda: self.yard.job(job)["state"] == "JOB_STATE_WAITING", "the job to wait")
        proposal = self.yard.job(job)["proposal"]
        dry = self.yard.json("tweak", str(job), "--dry-run")
        self.assertEqual(dry["tweak"]["changes"], proposal["changes"])
        self.assertEqual(dry["effect"], "trial 2 starts")
        self.assertEqual(len(self.yard.job(job)["trials"]), 1, "nothing happened")
        self.yard.cli("tweak", str(job), "--set", "train.lr=0.0123")
        self.yard.wait_until(lambda: self.waits_after(job, 2), "trial 2 to end")
        self.assertEqual(self.trial(job, 2)["configuration"]["training"]["optimizer"]["learning_rate"], 0.0123)
        self.yard.cli("tweak", str(job))
        self.yard.wait_until(lambda: self.waits_after(job, 3), "trial 3 to end")
        self.assertNotEqual(self.trial(job, 3)["tweak"]["finding"], "manual")
        refused = self.yard.cli("tweak", str(job), "--trial", "3", "--set", "train.lr=0.1", expect=2)
        self.assertIn("trial 3 is not running", refused.stderr)
        self.yard.cli("job", "finish", str(job))
        self.yard.cli("wait", str(job), expect=3)

    def waits_after(self, job, trial):
        shown = self.yard.job(job)
        return shown["state"] == "JOB_STATE_WAITING" and len(shown["trials"]) == trial


if __name__ == "__main__":
    main()

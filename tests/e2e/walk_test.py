"""The walk: a push becomes a job, a trial below the target is followed by a tweaked one, the target is met and
the best model is published. And what happens to pushes that cannot be taken up."""

import os
import subprocess

from yard import YardTest, main


class Walk(YardTest):

    IMAGES = 3000
    NOISE = 60

    def git(self, *arguments, folder):
        done = subprocess.run(["git", "-c", "user.name=You", "-c", "user.email=you@example.com", *arguments],
                              cwd=folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def make_repository(self):
        self.bare = os.path.join(self.yard.folder, "shoes.git")
        self.checkout = os.path.join(self.yard.folder, "checkout")
        os.makedirs(self.checkout)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", self.bare, folder=self.yard.folder)
        self.git("init", "--quiet", "--initial-branch=main", ".", folder=self.checkout)
        self.git("remote", "add", "origin", self.bare, folder=self.checkout)

    def push(self, spec, name="trainyard.yaml", force=False):
        with open(os.path.join(self.checkout, name), "w") as file:
            file.write(spec)
        self.git("add", "--all", folder=self.checkout)
        self.git("commit", "--quiet", "--message", "A change", folder=self.checkout)
        self.git("push", "--quiet", *(["--force"] if force else []), "origin", "main", folder=self.checkout)
        return self.git("rev-parse", "HEAD", folder=self.checkout)

    def jobs(self):
        return self.yard.json("job", "list")["jobs"]

    def wait_for_job_of(self, commit):
        def found():
            return [job for job in self.jobs() if job["commit"] == commit]
        return int(self.yard.wait_until(found, "a job of commit %s" % commit)[0]["id"])

    def project(self):
        return self.yard.json("project", "list")["projects"][0]

    def small(self, epochs=1, target="0.9", **more):
        """A network that is too small for the target."""
        layers = """
    - conv: {filters: 1, kernel: 5, stride: 4}
    - relu
    - flatten
    - dense: 4"""
        return self.spec(epochs=epochs, target=target, layers=layers, **more)

    def test_a_push_becomes_a_model_that_meets_its_target(self):
        self.make_repository()
        self.yard.start()
        self.yard.cli("project", "add", self.bare, "--name", "shoes", "--branch", "main")
        commit = self.push(self.small(epochs=2, target="0.6", tune=True))
        job = self.wait_for_job_of(commit)
        shown = self.yard.wait_for_end(job)
        self.assertEqual(shown["state"], "JOB_STATE_SUCCEEDED", shown["reason"])
        self.assertEqual(shown["project"], "shoes")
        trials = shown["trials"]
        self.assertGreaterEqual(len(trials), 2, "the first trial is too small")
        self.assertLess(trials[0]["best_metric"], 0.6)
        for trial in trials[1:]:
            self.assertTrue(trial["tweak"]["reason"])
            self.assertTrue(trial["tweak"]["changes"])
        self.assertGreaterEqual(trials[-1]["best_metric"], 0.6)
        model = shown["model"]
        self.assertTrue(model["target_met"])
        self.assertEqual(int(model["test_count"]), 300)
        self.assertGreater(model["test_accuracy"], 0.4)
        self.yard.model_hashes(job)
        kinds = [event["kind"] for event in self.yard.events(job)]
        for earlier, later in (("job_created", "trial_started"), ("trial_started", "epoch"),
                               ("trial_ended", "tweak"), ("target_met", "model_published"),
                               ("model_published", "job_ended")):
            self.assertLess(kinds.index(earlier), kinds.index(later), kinds)

    def test_each_commit_makes_one_job_and_a_force_push_is_just_another(self):
        self.make_repository()
        self.yard.start()
        first = self.push(self.small(tune=False))
        self.yard.cli("project", "add", self.bare, "--name", "shoes", "--branch", "main")
        self.wait_for_job_of(first)
        self.yard.cli("project", "remove", "shoes")
        self.yard.cli("project", "add", self.bare, "--name", "shoes", "--branch", "main")
        self.git("commit", "--quiet", "--amend", "--message", "Another past", folder=self.checkout)
        second = self.push(self.small(epochs=2), force=True)
        self.assertNotEqual(first, second)
        self.wait_for_job_of(second)
        self.assertEqual(len([job for job in self.jobs() if job["commit"] == second]), 1)

    def test_a_push_that_cannot_be_taken_up_says_why_and_the_next_one_is_taken(self):
        self.make_repository()
        self.yard.start()
        self.yard.cli("project", "add", self.bare, "--name", "shoes", "--branch", "main")
        # Nothing was pushed yet: that is said too.
        self.yard.wait_until(lambda: self.project()["last_error"], "an empty repository to be noticed")
        self.push("no spec here", name="README")
        self.yard.wait_until(lambda: "trainyard.yaml" in self.project()["last_error"], "the missing spec")
        self.push(self.small().replace("epochs: 1", "epochs: many"))
        self.yard.wait_until(lambda: "trainyard.yaml:" in self.project()["last_error"] and
                             "many" in self.project()["last_error"], "the place of the mistake")
        self.assertEqual(self.jobs(), [])
        commit = self.push(self.small())
        self.wait_for_job_of(commit)
        self.yard.wait_until(lambda: not self.project()["last_error"], "the error to be gone")

    def test_a_repository_that_is_not_there_is_an_error_of_the_project_only(self):
        self.make_repository()
        self.yard.start()
        gone = os.path.join(self.yard.folder, "gone.git")
        self.yard.cli("project", "add", gone, "--name", "gone", "--branch", "main")
        self.yard.wait_until(lambda: "gone.git" in self.project()["last_error"], "the error to be shown")
        self.yard.cli("project", "remove", "gone")
        self.yard.cli("project", "add", self.bare, "--name", "shoes", "--branch", "main")
        self.wait_for_job_of(self.push(self.small()))


if __name__ == "__main__":
    main()

"""ci/Jenkinsfile, played with real `sh` against a real coordinator: each way a build may end."""

import os
import unittest

from jenkins import ABORTED, FAILURE, JENKINSFILE, SUCCESS, UNSTABLE, JenkinsTest, PipelineBuild
from yard import main


class Pipeline(JenkinsTest):

    def setUp(self):
        super().setUp()
        self.workspace = os.path.join(self.yard.folder, "agent", "workspace", "shoes")
        self.builds = 0

    def start(self, credentials=None, **parameters):
        self.builds += 1
        build = PipelineBuild(JENKINSFILE, os.path.join(self.yard.folder, "builds", str(self.builds)), self.workspace,
                              self.repository, dict({"COORDINATOR": self.secure}, **parameters),
                              self.credentials if credentials is None else credentials)
        self.addCleanup(lambda: build.process.poll() is None and build.cut_off())
        return build

    def run_build(self, expected, **how):
        build = self.start(**how)
        self.assertEqual(build.wait(), expected, build.log)
        self.assertNotIn(self.token, build.log)
        return build

    def assert_nothing_is_kept_in_mind(self):
        self.assertFalse(os.path.exists(os.path.join(self.workspace, "trainyard-job")))

    def test_a_push_is_tweaked_to_its_target_and_the_model_kept(self):
        commit = self.push(self.small(epochs=2, target="0.6", tune=True))
        build = self.run_build(SUCCESS)
        job = self.jobs()[0]
        self.assertEqual((job["state"], job["commit"], job["manual"]), ("JOB_STATE_SUCCEEDED", commit, True))
        trials = self.yard.job(job["id"])["trials"]
        self.assertGreaterEqual(len(trials), 2, "the first one is too small")
        kept = build.kept["artifacts"]
        for name in ("model/best.onnx", "model/best.safetensors", "curves.csv", "job.json", "job.txt", "report.xml"):
            self.assertRegex(kept["trainyard-out/" + name], "^[0-9a-f]{32}$", "a fingerprint")
        curves = build.artifact("trainyard-out/curves.csv").splitlines()
        self.assertEqual(len(curves), 1 + sum(len(t["epochs"]) for t in trials))
        self.assertEqual(build.kept["tests"], {"tests": len(trials) + 1, "failures": 0, "errors": 0, "skipped": 0})
        self.assertEqual(build.kept["description"], "Trainyard job %s" % job["id"])
        self.assert_nothing_is_kept_in_mind()

    def test_under_the_target_tweaks_are_tried_up_to_the_bound(self):
        self.push(self.small(tune=True))
        build = self.run_build(UNSTABLE, MAX_TWEAKS="2", BUDGET="epochs=100")
        job = self.yard.job(self.jobs()[0]["id"])
        self.assertEqual(job["state"], "JOB_STATE_BELOW_TARGET")
        self.assertEqual(len(job["trials"]), 3)
        self.assertEqual(job["spec"]["budget"]["epochs"], "100")
        self.assertEqual(build.kept["tests"]["failures"], 1, "the target's case")
        self.assertIn("trainyard-out/model/best.onnx", build.kept["artifacts"], "the best so far is announced")
        self.assert_nothing_is_kept_in_mind()
        build = self.run_build(FAILURE, COORDINATOR="127.0.0.1:1")
        self.assertEqual(build.kept["artifacts"], {}, "what another build has left is not this one's")

    def test_a_failed_job_fails_the_build_and_is_reported(self):
        self.push(self.diverging())
        build = self.run_build(FAILURE, TARGET="0.9")
        self.assertEqual(self.jobs()[0]["state"], "JOB_STATE_FAILED")
        self.assertEqual(build.kept["tests"]["errors"], 1)
        self.assertIn("exit code 4", build.log)
        self.assertNotIn("trainyard-out/model/best.onnx", build.kept["artifacts"])
        self.assert_nothing_is_kept_in_mind()

    def test_an_abort_cancels_the_job(self):
        self.push(self.small(epochs=10000))
        build = self.start()
        job = self.wait_for_job()
        self.yard.wait_for_epoch(job, 1)
        build.abort()
        self.assertEqual(build.wait(), ABORTED, build.log)
        self.assertEqual(self.yard.wait_for_end(job)["state"], "JOB_STATE_CANCELLED")
        self.assertIn("trainyard-out/report.xml", build.kept["artifacts"], build.log)
        self.assert_nothing_is_kept_in_mind()

    def test_a_job_that_somebody_else_cancels_aborts_the_build(self):
        self.push(self.small(epochs=10000))
        build = self.start()
        job = self.wait_for_job()
        self.yard.cli("job", "cancel", str(job))
        self.assertEqual(build.wait(), ABORTED, build.log)
        self.assertEqual(len(self.jobs()), 1)

    def test_a_run_that_was_cut_off_is_gone_on_with(self):
        self.push(self.spec(epochs=12, filters=128))
        cut = self.start(MAX_TWEAKS="0")
        job = self.wait_for_job()
        self.yard.wait_for_epoch(job, 1)
        self.yard.wait_until(lambda: os.path.exists(os.path.join(self.workspace, "trainyard-job", "number")),
                             "the job to be kept in mind")
        cut.cut_off()
        self.yard.kill_worker()  # a restart, to be shown
        build = self.run_build(UNSTABLE, MAX_TWEAKS="0")
        self.assertEqual([j["id"] for j in self.jobs()], [str(job)], "no second job")
        self.assertIn("Goes on with job %d" % job, build.log)
        self.assertRegex(build.artifact("trainyard-out/job.txt"),
                         r"restarts +trial 1, attempt 1 at step \d+: killed by SIGKILL")
        self.assert_nothing_is_kept_in_mind()

    def test_after_a_run_that_was_cut_off_a_newer_commit_replaces_its_job(self):
        self.push(self.small(epochs=10000))
        cut = self.start()
        job = self.wait_for_job()
        self.yard.wait_until(lambda: os.path.exists(os.path.join(self.workspace, "trainyard-job", "number")),
                             "the job to be kept in mind")
        cut.cut_off()
        commit = self.push(self.spec(epochs=2))
        self.run_build(SUCCESS, TARGET="0.3")
        first, second = self.jobs()
        self.assertEqual((first["id"], first["state"]), (str(job), "JOB_STATE_CANCELLED"))
        self.assertEqual((second["commit"], second["state"]), (commit, "JOB_STATE_SUCCEEDED"))

    def test_what_cannot_begin_fails_with_the_reason(self):
        self.push(self.small())
        build = self.run_build(FAILURE, COORDINATOR="127.0.0.1:1")
        self.assertIn("no coordinator answers at", build.log)
        self.assertIn("127.0.0.1:1", build.log)
        build = self.run_build(FAILURE, MAX_TWEAKS="$(touch hacked)")
        self.assertIn("MAX_TWEAKS: found '$(touch hacked)', expected a number", build.log)
        self.assertFalse(os.path.exists(os.path.join(self.workspace, "hacked")))
        build = self.run_build(FAILURE, TARGET="much")
        self.assertIn("much", build.log)
        wrong = dict(self.credentials, **{"trainyard-token": {"text": "ty_wrong"}})
        self.assertIn("exit code 8", self.run_build(FAILURE, credentials=wrong).log)
        self.assertIn("trainyard-token", self.run_build(FAILURE, credentials={}).log)
        self.assertEqual(self.jobs(), [])


if __name__ == "__main__":
    main()

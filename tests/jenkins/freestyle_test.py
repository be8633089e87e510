"""ci/jenkins/*.xml, the same chain as six freestyle jobs: strictly parsed, each triggers the next, and their shell
steps do their work with real `sh` against a real coordinator."""

import glob
import os
import re
import subprocess
import tempfile
import unittest

from freestyle import FreestyleChain, FreestyleJob, NoFreestyleJob, in_background
from jenkins import ABORTED, CHAIN, FAILURE, SUCCESS, UNSTABLE, JenkinsTest
from yard import main

NAMES = ["trainyard-1-pull", "trainyard-2-detect-and-launch", "trainyard-3-train-and-report", "trainyard-4-tweak",
         "trainyard-5-announce", "trainyard-6-monitor"]


class Files(unittest.TestCase):

    def setUp(self):
        self.chain = FreestyleChain(CHAIN, "/nowhere", "", {})

    def test_there_are_six_and_each_triggers_the_next(self):
        self.assertEqual(sorted(self.chain.jobs), NAMES)
        for name, following in zip(NAMES, NAMES[1:] + [None]):
            self.assertEqual(self.chain.jobs[name].next, [following] if following else [])

    def test_one_build_of_the_chain_runs_at_a_time_in_one_workspace(self):
        for job in self.chain.jobs.values():
            self.assertEqual(job.text("blockBuildWhenDownstreamBuilding"), "true")
            self.assertEqual(job.text("concurrentBuild"), "false")
            self.assertEqual(job.text("customWorkspace"), "workspace/trainyard")
            self.assertEqual((job.text("assignedNode"), job.text("canRoam")), ("trainyard", "false"))

    def test_shell_steps_use_only_the_shell_and_the_command_line(self):
        usual = set("trainyard cat cp mkdir rm tail xargs".split())
        shell = set("[ case do done echo else esac exit export fi if in printf set then trap true while break".split())
        for job in self.chain.jobs.values():
            command = job.text("builders/hudson.tasks.Shell/command")
            done = subprocess.run(["/bin/sh", "-n"], input=command, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            words = re.findall(r"(?:^|[;&|(]|\b(?:then|do|else|if|while)\b|\|\|)\s*([a-z][a-z_-]*)(?= )", command, re.M)
            self.assertEqual(set(words) - usual - shell, set(), job.name)

    def test_what_jenkins_would_not_read_is_refused(self):
        with open(os.path.join(CHAIN, "3-train-and-report.xml")) as file:
            good = file.read()
        wrong = [
            (good.replace("<builders>", "<builder>").replace("</builders>", "</builder>"), "project: found <builder>"),
            (good.replace("<command>", "<command><b/>"), "project/builders/hudson.tasks.Shell/command: found <b>"),
            (good.replace("hudson.tasks.Shell>", "hudson.tasks.Shel>"), "project/builders: found <hudson.tasks.Shel>"),
            (good.replace("<canRoam>false</canRoam>", ""), "found <canRoam> 0 times"),
            (good.replace("<disabled>", "<disabled/><disabled>"), "found <disabled> 2 times"),
            (good.replace('class="hudson.scm.NullSCM"', 'class="hudson.scm.CVS"'), "project/scm: found"),
            (good.replace("<publishers>", "<publishers>text"), "project/publishers: found the text"),
            (good.replace("project>", "flow-definition>"), "expected <project>"),
            (good[:-20], ""),
        ]
        with tempfile.TemporaryDirectory(prefix="trainyard-jenkins-") as folder:
            path = os.path.join(folder, "1-x.xml")
            for text, why in wrong:
                with open(path, "w") as file:
                    file.write(text)
                with self.assertRaises(NoFreestyleJob, msg=why) as raised:
                    FreestyleJob(path)
                self.assertIn(why, str(raised.exception))


class Chain(JenkinsTest):

    def setUp(self):
        super().setUp()
        self.chain = FreestyleChain(CHAIN, os.path.join(self.yard.folder, "agent"), self.repository, self.credentials)

    def run_chain(self, expected, **parameters):
        results = self.chain.run(NAMES[0], COORDINATOR=self.secure, **parameters)
        self.assertEqual([result for _, result in results], expected, self.chain.log())
        self.assertEqual([name for name, _ in results], NAMES[:len(expected)])
        self.assertNotIn(self.token, self.chain.log())

    def test_a_push_goes_through_all_six_to_its_model(self):
        commit = self.push(self.small(epochs=2, target="0.6", tune=True))
        self.run_chain([SUCCESS] * 6)
        job = self.yard.job(self.jobs()[0]["id"])
        self.assertEqual((job["state"], job["commit"]), ("JOB_STATE_SUCCEEDED", commit))
        self.assertGreaterEqual(len(job["trials"]), 2)
        for name in ("model/best.onnx", "curves.csv", "report.xml"):
            self.assertIn("trainyard-out/" + name, self.chain.builds[NAMES[4]].kept)
        self.assertIn("Restarts of each trial: 0", self.chain.builds[NAMES[5]].log)

    def test_under_the_target_the_announcement_is_unstable(self):
        self.push(self.small(tune=True))
        self.run_chain([SUCCESS] * 4 + [UNSTABLE, SUCCESS], MAX_TWEAKS="1", BUDGET="epochs=50")
        job = self.yard.job(self.jobs()[0]["id"])
        self.assertEqual((job["state"], len(job["trials"])), ("JOB_STATE_BELOW_TARGET", 2))
        self.assertIn("trainyard-out/model/best.onnx", self.chain.builds[NAMES[4]].kept)

    def test_a_failed_job_fails_the_announcement_and_is_reported(self):
        self.push(self.diverging())
        self.run_chain([SUCCESS] * 4 + [FAILURE, SUCCESS], TARGET="0.9")
        self.assertEqual(self.jobs()[0]["state"], "JOB_STATE_FAILED")
        self.assertIn("trainyard-out/report.xml", self.chain.builds[NAMES[4]].kept)

    def test_an_abort_cancels_the_job_and_the_next_chain_begins_anew(self):
        self.push(self.small(epochs=10000))
        for name, parameters in ((NAMES[0], {"COORDINATOR": self.secure}), (NAMES[1], {})):
            self.assertEqual(self.chain.start(name, parameters).run()[0], SUCCESS, self.chain.log())
        job = int(self.jobs()[0]["id"])
        build = self.chain.start(NAMES[2])
        running = in_background(build)
        self.yard.wait_for_epoch(job, 1)
        # Before that, its shell has not said yet what to do at an abort.
        self.yard.wait_until(lambda: build.runs("trainyard wait"), "the build to wait for the job")
        build.abort()
        running.join()
        self.assertEqual(build.result, ABORTED, build.log)
        self.assertEqual(self.yard.wait_for_end(job)["state"], "JOB_STATE_CANCELLED")
        self.push(self.small(epochs=1))
        self.run_chain([SUCCESS] * 4 + [UNSTABLE, SUCCESS], MAX_TWEAKS="0")

    def test_a_chain_that_was_cut_off_is_gone_on_with(self):
        self.push(self.spec(epochs=2))
        self.chain.start(NAMES[0], {"COORDINATOR": self.secure}).run()
        self.chain.start(NAMES[1]).run()
        job = self.jobs()[0]["id"]
        self.run_chain([SUCCESS] * 4 + [UNSTABLE, SUCCESS], MAX_TWEAKS="0")  # from the start again
        self.assertEqual([j["id"] for j in self.jobs()], [job])
        self.assertIn("Goes on with job %s" % job, self.chain.builds[NAMES[1]].log)

    def test_what_cannot_begin_fails_with_the_reason(self):
        self.push(self.small())
        self.run_chain([FAILURE], MAX_TWEAKS="many")
        self.assertIn("MAX_TWEAKS: found 'many', expected a number", self.chain.builds[NAMES[0]].log)
        build = self.chain.start(NAMES[0], {"COORDINATOR": "127.0.0.1:1"})
        self.assertEqual(build.run()[0], SUCCESS, build.log)
        build = self.chain.start(NAMES[1])
        self.assertEqual(build.run(), (FAILURE, []), build.log)
        self.assertIn("no coordinator answers at", build.log)


if __name__ == "__main__":
    main()

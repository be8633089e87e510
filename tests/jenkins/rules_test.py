"""The harness refuses what Jenkins would: sections and steps that do not exist or stand in the wrong place, also
where no run comes by. And it plays post conditions and results as Jenkins does."""

import os
import tempfile
import unittest

from jenkins import ABORTED, FAILURE, HERE, SUCCESS, UNSTABLE, PipelineBuild, groovy

MINIMAL = """pipeline {
  agent any
  stages {
    stage('One') { steps { sh 'true' } }
  }
}
"""


class Rules(unittest.TestCase):

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="trainyard-jenkins-")
        self.addCleanup(self.temporary.cleanup)
        self.builds = 0

    def start(self, text, **how):
        self.builds += 1
        folder = os.path.join(self.temporary.name, str(self.builds))
        os.makedirs(folder)
        path = os.path.join(folder, "Jenkinsfile")
        with open(path, "w") as file:
            file.write(text)
        return PipelineBuild(path, os.path.join(folder, "build"), os.path.join(folder, "workspace"), **how)

    def play(self, text, **how):
        build = self.start(text, **how)
        return build, build.wait()

    def test_what_is_no_declarative_pipeline_is_refused_with_its_line(self):
        step = "stage('One') { steps { %s } }"
        one = "stage('One') { steps { sh 'true' } }"
        wrong = [
            ("node { sh 'true' }\n", "found 0 pipeline blocks"),
            (MINIMAL + MINIMAL, "found 2 pipeline blocks"),
            (MINIMAL.replace("agent any", ""), "expected a section agent"),
            (MINIMAL.replace("agent any", "agent some"), "agent: expected any, none"),
            (MINIMAL.replace("agent any", "agent any\n  agents { }"), "pipeline: found agents, expected agent"),
            (MINIMAL.replace("agent any", "agent any\n  agent none"), "agent is there twice"),
            (MINIMAL.replace("agent any", "agent any\n  def x = 1"), "pipeline: found"),
            (MINIMAL.replace("agent any", "agent any\n  options { speed() }"), "options: found speed"),
            (MINIMAL.replace("agent any", "agent any\n  environment { echo 'x' }"), "expected NAME = VALUE"),
            (MINIMAL.replace("agent any", "agent any\n  environment { A = secret('x') }"), "found secret()"),
            (MINIMAL.replace("agent any", "agent any\n  parameters { number(name: 'x') }"), "parameters: found number"),
            (MINIMAL.replace("agent any", "agent any\n  triggers { push() }"), "triggers: found push"),
            (MINIMAL.replace("agent any", "agent any\n  post { later { echo 'x' } }"), "post: found later"),
            (MINIMAL.replace("agent any", "agent any\n  post { always { } }"), "always: expected at least one step"),
            (MINIMAL.replace(one, ""), "stages: expected at least one stage"),
            (MINIMAL.replace(one, "sh 'true'"), "stages: found sh, expected stage"),
            (MINIMAL.replace(one, one + "\n" + one), "stage 'One' is there twice"),
            (MINIMAL.replace(one, "stage('One') { sh 'true' }"), "stage: found sh"),
            (MINIMAL.replace(one, "stage('One') { post { always { echo 'x' } } }"), "expected a section steps"),
            (MINIMAL.replace(one, step % "bat 'dir'"), "steps: found bat, expected a step"),
            (MINIMAL.replace(one, step % "if (true) { sh 'true' }"), "steps: found"),
            (MINIMAL.replace(one, step % "def x = 1"), "steps: found"),
            (MINIMAL.replace(one, step % "script { if (false) { bat 'dir' } }"), "found bat()"),
            (MINIMAL.replace(one, "stage('One') { when { expression { nothing() } }\nsteps { sh 'true' } }"),
             "found nothing()"),
            (MINIMAL.replace(one, "stage('One') { when { weather 'fine' }\nsteps { sh 'true' } }"),
             "when: found weather"),
            (MINIMAL + "def help() { bat 'dir' }\n", "found bat()"),
            (MINIMAL.replace("stages {", "stages {{"), "Jenkinsfile"),
        ]
        # One start of the JVM costs more than all of them: they go through the compiler together.
        folder = os.path.join(self.temporary.name, "wrong")
        os.makedirs(folder)
        paths = []
        for number, (text, _) in enumerate(wrong):
            paths.append(os.path.join(folder, "%02d.Jenkinsfile" % number))
            with open(paths[-1], "w") as file:
                file.write(text)
        out = groovy(os.path.join(HERE, "CheckJenkinsfiles.groovy"), *paths).communicate()[0]
        answers = out.split("==== ")[1:]
        self.assertEqual(len(answers), len(wrong), out)
        for (text, why), answer in zip(wrong, answers):
            with self.subTest(why):
                self.assertIn(why, answer, text)
                self.assertRegex(answer, r"line \d+|pipeline blocks")

    def test_a_file_that_is_refused_runs_no_step(self):
        build, result = self.play(MINIMAL.replace("sh 'true'", "sh 'echo I ran'\nbat 'dir'"))
        self.assertIsNone(result)
        self.assertEqual(build.process.returncode, 4)
        self.assertNotIn("I ran", build.log.replace("sh 'echo I ran'", ""))

    def test_results_and_post_conditions_are_those_of_jenkins(self):
        post = "post { %s }" % "\n".join(
            "%s { echo 'post %s' }" % (condition, condition) for condition in
            ("cleanup", "unsuccessful", "always", "aborted", "failure", "success", "unstable"))
        two = MINIMAL.replace("stage('One')", "stage('Zero') { steps { script { %s } } }\nstage('One')").replace(
            "sh 'true'", "echo 'one runs'").replace("agent any", "agent any\n" + post)
        for code, result, conditions, goes_on in (
                ("sh 'true'", SUCCESS, ["always", "success", "cleanup"], True),
                ("unstable('so so')", UNSTABLE, ["always", "unstable", "unsuccessful", "cleanup"], True),
                ("sh 'exit 3'", FAILURE, ["always", "failure", "unsuccessful", "cleanup"], False),
                ("currentBuild.result = 'ABORTED'; error('enough')", ABORTED,
                 ["always", "aborted", "unsuccessful", "cleanup"], False)):
            with self.subTest(code):
                build, found = self.play(two % code)
                self.assertEqual(found, result, build.log)
                self.assertEqual([line[5:] for line in build.log.splitlines() if line.startswith("post ")], conditions)
                self.assertEqual("one runs" in build.log.splitlines(), goes_on)

    def test_an_abort_reaches_what_runs_and_ends_the_build(self):
        running = """sh(returnStatus: true, script: '''
          trap 'echo the shell was told' TERM
          sh -c 'trap "echo its child was told; exit 143" TERM; echo it runs; while :; do sleep 0.1; done' || true
        '''); echo('it goes on')"""
        post = "agent any\npost { aborted { sh 'echo cleaning up' }\nsuccess { echo 'post success' } }"
        build = self.start(MINIMAL.replace("sh 'true'", "script { %s }" % running).replace("agent any", post))
        lines = []
        for line in build.process.stdout:
            lines.append(line.strip())
            if lines[-1] == "it runs":
                build.abort()
        self.assertEqual(build.wait(), ABORTED, lines)
        for line in ("its child was told", "the shell was told", "cleaning up", "Finished: ABORTED"):
            self.assertIn(line, lines)
        self.assertNotIn("it goes on", lines)
        self.assertNotIn("post success", lines)

    def test_secrets_are_hidden_and_may_not_stand_in_a_script(self):
        text = MINIMAL.replace("agent any", "agent any\n  environment { KEY = credentials('key') }")
        credentials = {"key": {"text": "hush-hush"}}
        build, result = self.play(text.replace("sh 'true'", "sh 'echo $KEY'"), credentials=credentials)
        self.assertEqual(result, SUCCESS, build.log)
        self.assertIn("****", build.log)
        self.assertNotIn("hush", build.log)
        build, result = self.play(text.replace("sh 'true'", 'sh "echo ${env.KEY}"'), credentials=credentials)
        self.assertEqual(result, FAILURE, build.log)
        self.assertIn("has a secret in it", build.log)


if __name__ == "__main__":
    unittest.main(verbosity=2)

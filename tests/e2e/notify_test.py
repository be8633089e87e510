"""People are told how jobs end: a real job through the coordinator, with a webhook, a mail server and commit
statuses that really listen. And what was not told yet when the coordinator died is told after its next start."""

import glob
import json
import os
import signal
import subprocess

from receivers import PASSWORD, USER, HttpReceiver, MailReceiver, decoded
from yard import COORDINATOR, YardTest, free_port, main

REPOSITORY = "vision/shoes"
SECRETS = {"url": "hook-url-Jb8z", "hmac": "hmac-Kq2x", "token": "ghp_Zr7w", "password": PASSWORD}


class Notify(YardTest):

    def setUp(self):
        super().setUp()
        self.bare = os.path.join(self.yard.folder, "shoes.git")
        self.receivers = []
        self.http = self.keep(HttpReceiver(self.subfolder("http")))
        self.mail = self.keep(MailReceiver(self.subfolder("mail")))

    def tearDown(self):
        super().tearDown()
        for receiver in self.receivers:
            receiver.stop()

    def keep(self, receiver):
        self.receivers.append(receiver)
        return receiver

    def subfolder(self, name):
        folder = os.path.join(self.yard.folder, name)
        os.makedirs(folder, exist_ok=True)
        return folder

    def secret(self, name, text):
        with open(os.open(os.path.join(self.yard.folder, name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text + "\n")

    def notify_file(self, hook_port, more=""):
        self.secret("url", "http://127.0.0.1:%d/hook/%s" % (hook_port, SECRETS["url"]))
        self.secret("hmac", SECRETS["hmac"])
        self.secret("password", PASSWORD)
        self.yard.environment["STATUS_TOKEN"] = SECRETS["token"]
        path = os.path.join(self.yard.folder, "notify.yaml")
        with open(path, "w") as file:
            file.write(f"""
job_url: https://ci.example/jobs/{{job}}
webhooks:
  - {{name: team, url_file: url, secret_file: hmac, plain_http: true, private_addresses: true}}
{more}
mail:
  - name: post
    server: localhost
    port: {self.mail.port}
    user: {USER}
    password_file: password
    from: trainyard@example.com
    to: [vision@example.com]
    private_addresses: true
    ca: mail/certificate.pem
commit_statuses:
  - name: forge
    api: http://127.0.0.1:{self.http.port}/api
    plain_http: true
    private_addresses: true
    token_env: STATUS_TOKEN
    repositories: {{{self.bare}: {REPOSITORY}}}
""")
        return path

    # ---- What has come in ----

    def hooks(self, receiver=None):
        return [json.loads(one["body"])["trainyard"] for one in (receiver or self.http).received.all()
                if one["path"].startswith("/hook/")]

    def statuses(self, commit):
        path = "/api/repos/%s/statuses/%s" % (REPOSITORY, commit)
        return [json.loads(one["body"]) for one in self.http.received.all() if one["path"] == path]

    def mails(self):
        return [decoded(one["message"]) for one in self.mail.received.all()]

    def push(self, spec):
        checkout = self.subfolder("checkout")

        def git(*arguments):
            done = subprocess.run(["git", "-c", "user.name=You", "-c", "user.email=you@example.com", *arguments],
                                  cwd=checkout, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout.strip()
        if not os.path.exists(self.bare):
            git("init", "--quiet", "--bare", "--initial-branch=main", self.bare)
            git("init", "--quiet", "--initial-branch=main", ".")
            git("remote", "add", "origin", self.bare)
        with open(os.path.join(checkout, "trainyard.yaml"), "w") as file:
            file.write(spec)
        git("add", "--all")
        git("commit", "--quiet", "--message", "A change")
        git("push", "--quiet", "origin", "main")
        return git("rev-parse", "HEAD")

    def told(self, commit, count):
        """The job of this commit, once it has been told of everywhere as the count-th."""
        self.yard.wait_until(lambda: len(self.hooks()) >= count and len(self.mails()) >= count and
                             any(s["state"] != "pending" for s in self.statuses(commit)),
                             "notice %d on each channel" % count)
        self.assertEqual((len(self.hooks()), len(self.mails())), (count, count))
        hook = self.hooks()[-1]
        self.assertEqual((hook["commit"], hook["project"]), (commit, "shoes"))
        self.assertEqual(self.mails()[-1]["headers"]["Message-ID"], "<%s@example.com>" % hook["delivery"])
        states = [status["state"] for status in self.statuses(commit)]
        self.assertEqual(states[-1], {"target_met": "success", "target_missed": "failure",
                                      "failed": "error"}[hook["event"]])
        self.assertEqual(set(states[:-1]), {"pending"}, "first of all, the commit waits")
        return hook

    def assert_no_secret_is_anywhere(self):
        with open("/proc/%d/cmdline" % self.yard.coordinator.pid, "rb") as file:
            texts = {"command line": file.read()}
        for path in [self.yard.log_path, *glob.glob(self.yard.state_dir + "/**", recursive=True)]:
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    texts[path] = file.read()
        for name, secret in SECRETS.items():
            for place, text in texts.items():
                self.assertNotIn(secret.encode(), text, "the %s is in %s" % (name, place))

    # ---- Tests ----

    def test_each_end_of_a_job_is_told_on_each_channel(self):
        stuck = """  - {name: stuck, url: "http://127.0.0.1:%d/hang", plain_http: true, private_addresses: true}
  - {name: wrong, url: "http://127.0.0.1:%d/answer/404", plain_http: true, private_addresses: true}
""" % (self.http.port, self.http.port)
        self.yard.start("--notify", self.notify_file(self.http.port, stuck))
        met = self.push(self.spec(epochs=4, target="0.3"))
        self.yard.cli("project", "add", self.bare, "--name", "shoes", "--branch", "main")

        hook = self.told(met, 1)
        job = self.yard.job(hook["job"])
        self.assertEqual((hook["event"], hook["state"]), ("target_met", "succeeded"))
        self.assertEqual((hook["metric"], hook["target"]), ("val_accuracy", 0.3))
        self.assertAlmostEqual(hook["best"], job["best_metric"])
        self.assertAlmostEqual(hook["test_accuracy"], job["model"]["test_accuracy"])
        self.assertEqual(hook["links"]["job"], "https://ci.example/jobs/%s" % hook["job"])
        self.assertIn("target met", self.mails()[0]["headers"]["Subject"])
        self.assertIn("%.4f" % hook["best"], self.mails()[0]["text"])
        status = self.statuses(met)[-1]
        self.assertIn("%.4f" % hook["best"], status["description"])
        self.assertEqual(status["target_url"], hook["links"]["job"])

        missed = self.push(self.spec(epochs=1))
        hook = self.told(missed, 2)
        self.assertEqual((hook["event"], hook["state"], hook["metric"]), ("target_missed", "below_target", "val_loss"))

        # Nothing but products of large numbers: it diverges before there is anything to publish.
        layers = "".join("\n    - " + layer for layer in ("conv: {filters: 8, kernel: 3}", "conv: {filters: 8, kernel: 3}",
                                                         "flatten", "dense: 4"))
        failed = self.push(self.spec(epochs=1, target="0.9", layers=layers).replace("lr: 0.02", "lr: 100"))
        hook = self.told(failed, 3)
        self.assertEqual(hook["event"], "failed")
        self.yard.wait_until(lambda: "notify wrong: job" in self.yard.log(), "the final error")
        self.assert_no_secret_is_anywhere()

    def test_what_was_not_told_yet_is_told_after_the_next_start_with_the_same_key(self):
        port = free_port()
        wrong = '  - {name: wrong, url: "http://127.0.0.1:%d/answer/404", plain_http: true, private_addresses: true}'
        notify = self.notify_file(port, wrong % self.http.port)
        self.yard.start("--notify", notify)
        commit = self.push(self.spec(epochs=1, target="0.1"))
        self.yard.cli("project", "add", self.bare, "--name", "shoes", "--branch", "main")
        self.yard.wait_until(lambda: self.mails() and "notify team: job" in self.yard.log() and
                             any(s["state"] == "success" for s in self.statuses(commit)), "all but the webhook")
        self.yard.kill(signal.SIGKILL)
        team = self.keep(HttpReceiver(self.subfolder("team"), port=port))
        self.yard.start("--notify", notify)
        self.yard.wait_until(lambda: self.hooks(team) and len(self.mails()) >= 2, "everything again")
        keys = {mail["headers"]["Message-ID"] for mail in self.mails()}
        self.assertEqual(keys, {"<%s@example.com>" % self.hooks(team)[0]["delivery"]})
        self.assertEqual(self.statuses(commit)[-1]["state"], "success")
        # Who could not be told stands in the job's history.
        job = self.hooks(team)[0]["job"]
        self.yard.wait_until(lambda: any(event["kind"] == "note" and "wrong: the server answers with HTTP status 404" in
                                         event["message"] for event in self.yard.events(job)), "the note")
        # Told once, it is not told again.
        self.yard.wait_until(lambda: len(self.statuses(commit)) >= 3, "the status again")
        self.yard.kill(signal.SIGTERM)
        self.yard.start("--notify", notify)
        self.yard.cli("job", "list")
        self.assertEqual((len(self.hooks(team)), len(self.mails())), (1, 2))
        self.assert_no_secret_is_anywhere()

    def test_a_wrong_notify_file_keeps_the_coordinator_from_starting(self):
        path = self.notify_file(self.http.port)
        os.remove(os.path.join(self.yard.folder, "password"))
        done = subprocess.run([COORDINATOR, "--listen", self.yard.address, "--state-dir", self.yard.state_dir,
                               "--workers", "0", "--notify", path], env=self.yard.environment,
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn("notify.yaml:11:20: mail[0].password_file: found no file that can be read",
                      done.stderr)


if __name__ == "__main__":
    main()

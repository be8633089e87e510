"""Pushes that are announced: a hook starts the job at once however seldom is polled, a lost one is made up for by
polling, and secrets are nowhere to be seen."""

import glob
import hashlib
import hmac
import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request

from yard import YardTest, free_port, main

SECRET = "the secret of the shoes"
TOKEN = "a token for every project"
HOUR_MS = 3_600_000
USAGE = 2


class Hooks(YardTest):
    WORKERS = 0  # that a job is there is enough

    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.repository = os.path.join(self.temporary.name, "shoes.git")
        os.makedirs(self.repository)
        self.git("init", "-q", "-b", "main")
        self.write("shoes.secret", SECRET + "\n")
        self.write("all.token", TOKEN + "\n")
        self.hooks = self.write("hooks.yaml", "hooks:\n  - {project: shoes, secret_file: shoes.secret}\n"
                                              "  - token_file: all.token\n")

    def write(self, name, text):
        path = os.path.join(self.temporary.name, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        return path

    def git(self, *arguments):
        environment = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
        for role in ("AUTHOR", "COMMITTER"):
            environment["GIT_%s_NAME" % role] = environment["GIT_%s_EMAIL" % role] = "a@b"
        return subprocess.run(["git", "-C", self.repository, *arguments], env=environment, check=True,
                              capture_output=True, text=True).stdout.strip()

    def push(self, epochs):
        """A new commit on main; each is a spec of its own."""
        with open(os.path.join(self.repository, "trainyard.yaml"), "w") as file:
            file.write(self.spec(epochs=epochs))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "push")
        return self.git("rev-parse", "HEAD")

    def start(self, **how):
        self.yard.start("--http", "127.0.0.1:%d" % self.port, "--hooks", self.hooks, **how)

    def send(self, path, body=b"", scheme="http", context=None, **headers):
        """Status and text of the answer to a POST."""
        request = urllib.request.Request("%s://127.0.0.1:%d%s" % (scheme, self.port, path), body,
                                         {name.replace("_", "-"): value for name, value in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def send_github(self, commit, secret=SECRET):
        body = json.dumps({"ref": "refs/heads/main", "after": commit, "deleted": False,
                           "repository": {"full_name": "acme/shoes", "clone_url": self.repository,
                                          "default_branch": "main"}}).encode()
        signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return self.send("/hooks/github", body, Content_Type="application/json", X_GitHub_Event="push",
                         X_GitHub_Delivery=commit, X_Hub_Signature_256=signature)

    def project(self):
        return self.yard.json("project", "list")["projects"][0]

    def wait_for_commit(self, commit):
        self.yard.wait_until(lambda: self.project().get("last_commit") == commit and any(
            job.get("commit") == commit for job in self.yard.json("job", "list").get("jobs", [])),
            "the job of " + commit)

    def add_project(self):
        first = self.push(1)
        self.yard.cli("project", "add", self.repository, "--name", "shoes", "--branch", "main")
        self.wait_for_commit(first)

    # ---- Tests ----

    def test_a_hook_starts_the_job_at_once_however_seldom_is_polled(self):
        self.start(poll_ms=HOUR_MS)
        self.add_project()
        second = self.push(2)
        self.assertEqual(self.send_github(second, secret="another secret, not ours")[0], 401)
        self.assertEqual(self.send_github(second), (200, "looking at shoes\n"))
        self.wait_for_commit(second)
        self.assertEqual(self.project()["last_seen_by"], "hook github")
        self.assertIn("ago, hook github", self.yard.cli("project", "list").stdout)
        third = self.push(3)
        status, text = self.send("/git/notifyCommit?url=file://%s&branches=main&token=%s" %
                                 (self.repository, TOKEN.replace(" ", "%20")))
        self.assertEqual((status, text), (200, "Scheduled polling of shoes\n"))
        self.wait_for_commit(third)
        fourth = self.push(4)
        self.assertEqual(self.send("/hooks/push", b"repository=shoes", Authorization="Bearer " + TOKEN)[0], 200)
        self.wait_for_commit(fourth)
        self.assertEqual(self.project()["last_seen_by"], "hook push")
        self.assertIn("http://127.0.0.1:%d" % self.port, self.yard.cli("version").stdout)
        self.assert_secrets_are_nowhere()

    def assert_secrets_are_nowhere(self):
        seen = [self.yard.log_path, "/proc/%d/cmdline" % self.yard.coordinator.pid]
        seen += glob.glob(self.yard.state_dir + "/**/*.db*", recursive=True)
        for path in seen:
            with open(path, "rb") as file:
                content = file.read()
            for secret in (SECRET, TOKEN, TOKEN.replace(" ", "%20")):
                self.assertNotIn(secret.encode(), content, path)

    def test_a_lost_delivery_is_made_up_for_by_polling(self):
        self.start()
        self.add_project()
        lost = self.push(2)
        self.wait_for_commit(lost)
        self.assertEqual(self.project()["last_seen_by"], "poll")
        # It arrives after all, and changes nothing.
        jobs = len(self.yard.json("job", "list")["jobs"])
        self.assertEqual(self.send_github(lost)[0], 200)
        self.assertEqual(self.send_github(lost)[0], 200)
        last = self.push(3)
        self.wait_for_commit(last)
        self.assertEqual(len(self.yard.json("job", "list")["jobs"]), jobs + 1)

    def test_beyond_this_machine_it_is_tls_and_believes_nobody_without_a_secret(self):
        process = self.yard.start("--http", "0.0.0.0:%d" % self.port, expect_ready=False)
        self.assertEqual(process.wait(60), USAGE)
        process.stdout.close()
        self.assertIn("is beyond this machine, where nobody is believed without a secret", self.yard.log())
        self.yard.start("--http", "0.0.0.0:%d" % self.port, "--hooks", self.hooks)
        # gRPC stays on this machine, and asks nobody for a token.
        self.yard.cli("job", "list")
        authority = os.path.join(self.yard.state_dir, "access", "tls", "ca.pem")
        context = ssl.create_default_context(cafile=authority)
        self.assertEqual(self.send("/hooks/push", b"repository=shoes", "https", context)[0], 401)
        status, text = self.send("/hooks/push", b"repository=shoes", "https", context, X_Trainyard_Token=TOKEN)
        self.assertEqual(status, 200)
        self.assertIn("nothing to do", text)

    def test_what_is_wrong_with_flags_and_hooks_is_said_at_the_start(self):
        wrong = self.write("wrong.yaml", "hooks:\n  - {project: shoes, secret_env: NO_SUCH_VARIABLE}\n")
        for flags, expected in ((("--hooks", wrong), "wrong.yaml:2:34: hooks[0].secret_env: "),
                                (("--hooks", wrong + ".none"), "expected a file of hooks"),
                                (("--http", "everywhere"), "expected host:port"),
                                (("--http", self.yard.address), "cannot listen on " + self.yard.address)):
            process = self.yard.start(*flags, expect_ready=False)
            self.assertEqual(process.wait(60), USAGE, flags)
            process.stdout.close()
            self.assertIn(expected, self.yard.log())


if __name__ == "__main__":
    main()

"""Who is let in, with the real programs: TLS beside a plain loopback address, mutual TLS for workers, roles,
tokens that die, and secrets that nobody else gets to see."""

import glob
import json
import os
import shutil
import signal
import subprocess

from yard import CLI, WORKER, YardTest, free_port, main

USAGE = 2
BELOW_TARGET = 3
UNREACHABLE = 6
REFUSED = 8


class Access(YardTest):
    WORKERS = 0

    def setUp(self):
        super().setUp()
        # Every address of this machine counts as one beyond it, so this one is TLS.
        self.port = free_port()
        self.secure = "127.0.0.1:%d" % self.port
        self.listen = ("--listen", "0.0.0.0:%d" % self.port)
        self.access = os.path.join(self.yard.state_dir, "access")

    # ---- Who calls, and how ----

    def tls(self, *arguments, access="admin", expect=0, **environment):
        """The command line over TLS, with an access folder of the coordinator's or a path."""
        folder = [] if access is None else ["--access", os.path.join(self.access, access)]
        return self.run_cli(*arguments, *folder, expect=expect, **environment)

    def run_cli(self, *arguments, expect=0, **environment):
        command = [CLI, *arguments, "--coordinator", self.secure]
        done = subprocess.run(command, env=dict(self.yard.environment, **environment), capture_output=True,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, expect,
                         "%s\n%s%s\n%s" % (command, done.stdout, done.stderr, self.yard.log()))
        return done

    def folder_with(self, token, name):
        folder = os.path.join(self.temporary.name, name)
        os.makedirs(folder, mode=0o700)
        shutil.copy(os.path.join(self.access, "admin", "ca.pem"), folder)
        with open(os.open(os.path.join(folder, "token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(token)
        return folder

    def create(self, name, role, *flags):
        """An access folder with a new token."""
        secret = self.tls("token", "create", name, "--role", role, *flags).stdout.strip()
        self.assertRegex(secret, r"^ty_[A-Za-z0-9_-]{43}$")
        return self.folder_with(secret, name)

    def start_worker(self, name, access, *flags):
        environment = dict(self.yard.environment, TRAINYARD_COORDINATOR=self.secure)
        with open(os.path.join(self.yard.folder, name + ".log"), "ab") as log:
            self.yard.external[name] = subprocess.Popen(
                [WORKER, "--threads", "1", "--access", access, *flags], env=environment, stdout=log, stderr=log)
        return self.yard.external[name]

    def source(self, **how):
        folder = os.path.join(self.temporary.name, "source")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "trainyard.yaml"), "w") as file:
            file.write(self.spec(**how))
        return folder

    def secrets(self):
        """All secrets that there are: tokens of people and launches, private keys."""
        found = []
        for path in glob.glob(self.temporary.name + "/**/token", recursive=True):
            with open(path) as file:
                found.append(file.read().strip())
        for path in glob.glob(self.temporary.name + "/**/*key.pem", recursive=True):
            with open(path) as file:
                found.append(file.read().splitlines()[1])
        return found

    def assert_nowhere_to_be_seen(self, pids):
        secrets = self.secrets()
        self.assertGreaterEqual(len(secrets), 3)
        seen = glob.glob(self.temporary.name + "/**/*.log", recursive=True)
        seen += glob.glob(self.yard.state_dir + "/**/*.db*", recursive=True)
        for pid in pids:
            seen += ["/proc/%d/environ" % pid, "/proc/%d/cmdline" % pid]
        for path in seen:
            with open(path, "rb") as file:
                content = file.read()
            for secret in secrets:
                self.assertNotIn(secret.encode(), content, path)

    # ---- Tests ----

    def test_a_worker_elsewhere_trains_over_mutual_tls(self):
        self.yard.start(*self.listen, "--require-client-certs")
        worker = self.start_worker("far", os.path.join(self.access, "worker"))
        shown = self.tls("submit", self.source(epochs=2), "--wait", expect=BELOW_TARGET)
        self.assertIn("epoch", self.yard.worker_log("far"))
        self.assertIn("test accuracy", shown.stdout)
        model = os.path.join(self.temporary.name, "best.onnx")
        self.tls("model", "get", "1", "-o", model)
        self.assertGreater(os.path.getsize(model), 0)
        self.assert_nowhere_to_be_seen([self.yard.coordinator.pid, worker.pid])
        # Without a certificate nobody is a worker, whatever the token.
        bare = os.path.join(self.temporary.name, "bare")
        os.makedirs(bare, mode=0o700)
        for name in ("token", "ca.pem"):
            shutil.copy(os.path.join(self.access, "worker", name), bare)
        self.assertEqual(self.start_worker("bare", bare).wait(60), REFUSED)
        self.assertIn("asks workers for a certificate", self.yard.worker_log("bare"))

    def test_launched_workers_are_let_in_where_tls_is_all_there_is(self):
        self.yard.address = "0.0.0.0:%d" % self.port
        self.yard.workers = 1
        self.yard.start("--require-client-certs")
        self.tls("submit", self.source(epochs=500))
        self.yard.wait_until(lambda: self.yard.worker_pids(), "a launched worker")
        self.yard.wait_until(lambda: "epoch" in self.yard.log(), "an epoch")
        pid = self.yard.the_worker()
        folders = glob.glob(self.yard.state_dir + "/workers/*.access")
        self.assertEqual(len(folders), 1)
        self.assertEqual(os.stat(folders[0]).st_mode & 0o777, 0o700)
        self.assertEqual(sorted(os.listdir(folders[0])), ["ca.pem", "cert.pem", "key.pem", "token"])
        for name in os.listdir(folders[0]):
            self.assertEqual(os.stat(os.path.join(folders[0], name)).st_mode & 0o077, 0)
        self.assert_nowhere_to_be_seen([self.yard.coordinator.pid, pid])
        # What the launch's token opens is the gateway, for that launch: no call of people's.
        with open(os.path.join(folders[0], "token")) as file:
            stolen = self.folder_with(file.read(), "stolen")
        refused = self.run_cli("job", "list", "--access", stolen, expect=REFUSED)
        self.assertIn("launched worker", refused.stderr)
        # A restarted coordinator knows its workers by the same tokens.
        self.yard.kill()
        self.yard.start("--require-client-certs")
        self.yard.wait_until(lambda: "session ended" in self.yard.log() or "out of reach" in self.yard.log(),
                             "the worker to notice")
        before = int(self.epochs(1))
        self.yard.wait_until(lambda: self.epochs(1) > before, "epochs after the restart")
        self.assertEqual(self.yard.the_worker(), pid)
        self.tls("job", "cancel", "1")
        self.yard.kill(signal.SIGTERM)
        self.yard.wait_until(lambda: not self.yard.worker_pids(), "the worker to leave")

    def epochs(self, job):
        shown = json.loads(self.tls("job", "show", str(job), "--output", "json").stdout)
        return len(shown["trials"][0]["epochs"]) if shown["trials"] else 0

    def test_roles_say_who_may_do_what(self):
        self.yard.start(*self.listen)
        viewer = self.create("look", "viewer")
        submitter = self.create("ci", "submitter", "--expires", "1h")
        source = self.source(epochs=1)
        self.run_cli("job", "list", "--access", viewer)
        refused = self.run_cli("submit", source, "--access", viewer, expect=REFUSED)
        self.assertIn("'look' is of role viewer, expected role submitter", refused.stderr)
        self.run_cli("submit", source, "--access", submitter)
        self.run_cli("token", "list", "--access", submitter, expect=REFUSED)
        self.run_cli("token", "create", "more", "--role", "admin", "--access", submitter, expect=REFUSED)
        self.run_cli("job", "cancel", "1", "--access", viewer, expect=REFUSED)
        self.run_cli("job", "cancel", "1", "--access", submitter)
        self.run_cli("job", "list", "--access", os.path.join(self.access, "worker"), expect=REFUSED)
        self.assertEqual(self.start_worker("person", submitter).wait(60), REFUSED)
        self.assertIn("workers take a token of role join", self.yard.worker_log("person"))
        # Here, on this machine's own address, nobody is asked.
        self.yard.cli("token", "list")

    def test_nobody_comes_in_without_a_token_or_by_a_wrong_door(self):
        self.yard.start(*self.listen)
        ca = os.path.join(self.access, "admin", "ca.pem")
        told = self.run_cli("job", "list", "--ca", ca, expect=REFUSED)
        self.assertIn("brought none", told.stderr)
        told = self.run_cli("job", "list", "--ca", ca, expect=REFUSED, TRAINYARD_TOKEN="ty_" + "x" * 43)
        self.assertIn("does not know the token", told.stderr)
        told = self.run_cli("job", "list", "--ca", ca, expect=REFUSED, TRAINYARD_TOKEN="tyl_1_" + "x" * 43)
        self.assertIn("no such launch token", told.stderr)
        for bad in ("two words", "x" * 300, "bell\a"):
            told = self.run_cli("job", "list", "--ca", ca, expect=USAGE, TRAINYARD_TOKEN=bad)
            self.assertNotIn(bad, told.stderr)
        told = self.run_cli("job", "list", expect=UNREACHABLE)
        self.assertIn("access folder", told.stderr)
        other = os.path.join(self.temporary.name, "other.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", os.devnull, "-out", other, "-subj", "/CN=other"], check=True, capture_output=True)
        told = self.run_cli("job", "list", "--access", os.path.join(self.access, "admin"), "--ca", other,
                            expect=UNREACHABLE)
        self.assertIn("not one that ca.pem vouches for", told.stderr)

    def test_a_revoked_token_stops_working_at_once_and_ends_what_is_open(self):
        self.yard.start(*self.listen)
        viewer = self.create("look", "viewer")
        watching = subprocess.Popen([CLI, "watch", "--coordinator", self.secure, "--access", viewer],
                                    env=self.yard.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    text=True)
        worker = self.start_worker("idle", os.path.join(self.access, "worker"))
        self.yard.wait_until(lambda: "registered" in self.yard.worker_log("idle"), "the worker to register")
        self.tls("token", "revoke", "look")
        self.tls("token", "revoke", "worker")
        self.tls("token", "revoke", "look")  # again: nothing happens
        self.run_cli("job", "list", "--access", viewer, expect=REFUSED)
        self.assertEqual(watching.wait(60), REFUSED)
        self.assertIn("'look' was revoked", watching.stdout.read())
        watching.stdout.close()
        self.assertEqual(worker.wait(60), REFUSED)
        self.assertIn("does not let this worker in: the token 'worker' was revoked", self.yard.worker_log("idle"))
        self.create("look-again", "viewer")
        self.tls("token", "revoke", "nobody", expect=USAGE)

    def test_a_worker_whose_token_is_revoked_trains_on_to_the_orphan_limit(self):
        self.yard.start(*self.listen)
        worker = self.start_worker("busy", os.path.join(self.access, "worker"))
        self.tls("submit", self.source(epochs=100_000))
        self.yard.wait_until(lambda: "epoch 1" in self.yard.worker_log("busy"), "the first epoch")
        self.tls("token", "revoke", "worker")
        self.yard.wait_until(lambda: "was revoked" in self.yard.worker_log("busy"), "the worker to be put out")
        before = self.yard.worker_log("busy").count(": epoch ")
        self.yard.wait_until(lambda: self.yard.worker_log("busy").count(": epoch ") > before + 1 or worker.poll(),
                             "further epochs")
        self.assertIsNone(worker.poll(), "it does not drop what it has in hand")

    def test_tokens_are_asked_for_on_plain_addresses_where_that_is_wanted(self):
        self.yard.workers = 1
        self.yard.start("--require-token")
        self.assertIn("brought none", self.yard.cli("job", "list", expect=REFUSED).stderr)
        self.secure = self.yard.address
        self.assertEqual(os.listdir(os.path.join(self.access, "admin")), ["token"])
        self.tls("submit", self.source(epochs=1), "--wait", expect=BELOW_TARGET)

    def test_certificates_of_ones_own_are_shown_and_checked_at_the_start(self):
        def make(name, *more):
            paths = [os.path.join(self.temporary.name, name + end) for end in (".pem", ".key")]
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-out", paths[0], "-keyout", paths[1], "-subj", "/CN=" + name, *more],
                           check=True, capture_output=True)
            return paths
        cert, key = make("own", "-addext", "subjectAltName=IP:127.0.0.1")
        other_cert, other_key = make("other")
        for flags, expected in ((("--tls-cert", cert), "expected both"),
                                (("--tls-cert", cert, "--tls-key", other_key), "is not that of the certificate"),
                                (("--tls-cert", cert, "--tls-key", key, "--tls-ca", other_cert), "vouches for"),
                                (("--tls-cert", key, "--tls-key", key), "found no certificate"),
                                (("--tls-cert", "/none", "--tls-key", key), "--tls-cert: "),
                                (("--tls-client-ca", cert), "--require-client-certs"),
                                (("--tls-name", "a,DNS:b"), "'a,DNS:b' is no name")):
            process = self.yard.start(*self.listen, *flags, expect_ready=False)
            self.assertEqual(process.wait(60), USAGE, flags)
            process.stdout.close()
            self.assertIn(expected, self.yard.log())
        self.yard.start(*self.listen, "--tls-cert", cert, "--tls-key", key)
        self.tls("job", "list")
        with open(cert) as mine, open(os.path.join(self.access, "admin", "ca.pem")) as given:
            self.assertEqual(mine.read(), given.read())


if __name__ == "__main__":
    main()

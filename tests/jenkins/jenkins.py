"""What a test needs to play Jenkins: a yard that asks for tokens, a repository to pull, and a Jenkinsfile or a chain
of freestyle jobs that runs in workspaces of its own."""

import json
import os
import signal
import subprocess

from yard import BIN, PATIENCE_S, YardTest, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
JENKINSFILE = os.environ.get("TRAINYARD_JENKINSFILE", "")
CHAIN = os.environ.get("TRAINYARD_CHAIN", "")

SUCCESS, UNSTABLE, FAILURE, ABORTED = "SUCCESS", "UNSTABLE", "FAILURE", "ABORTED"


def java_home():
    """Groovy's start script wants it said."""
    java = os.path.realpath("/usr/bin/java")
    return os.environ.get("JAVA_HOME") or os.path.dirname(os.path.dirname(java))


def agent_environment(**more):
    """Of an agent that has the command line installed, and nothing else of Trainyard."""
    return dict({"PATH": BIN + ":/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}, **more)


def groovy(*arguments, **how):
    environment = {"PATH": "/usr/bin:/bin", "JAVA_HOME": java_home(), "HOME": "/nonexistent", "LANG": "C.UTF-8",
                   "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -Xshare:auto"}
    return subprocess.Popen(["/usr/bin/groovy", "-cp", HERE, *arguments], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **how)


class PipelineBuild:
    """One build of a Jenkinsfile, under way or over."""

    def __init__(self, jenkinsfile, folder, workspace, source="", parameters=None, credentials=None):
        self.record = os.path.join(folder, "record")
        os.makedirs(self.record)
        given = os.path.join(folder, "build.json")
        with open(os.open(given, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump({"jenkinsfile": jenkinsfile, "workspace": workspace, "source": source, "record": self.record,
                       "parameters": parameters or {}, "credentials": credentials or {},
                       "environment": agent_environment()}, file)
        self.process = groovy(os.path.join(HERE, "PipelineRun.groovy"), given)
        self.log = ""

    def wait(self):
        """Its result; the log is there then."""
        self.log = self.process.communicate(timeout=PATIENCE_S)[0]
        path = os.path.join(self.record, "build.json")
        if not os.path.exists(path):
            return None  # it was no Jenkinsfile
        with open(path) as file:
            self.kept = json.load(file)
        return self.kept["result"]

    def abort(self):
        self.process.send_signal(signal.SIGTERM)

    def cut_off(self):
        """Controller and agent are gone from one moment to the next."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def artifact(self, name):
        with open(os.path.join(self.record, "archive", name), errors="replace") as file:
            return file.read()


class JenkinsTest(YardTest):
    """A yard that others reach by TLS and with a token only, as from a Jenkins agent, and a repository."""

    IMAGES = 3000
    NOISE = 60

    def setUp(self):
        super().setUp()
        port = free_port()
        self.secure = "127.0.0.1:%d" % port
        self.yard.start("--listen", "0.0.0.0:%d" % port)
        self.token = self.yard.cli("token", "create", "jenkins", "--role", "submitter").stdout.strip()
        self.credentials = {
            "trainyard-token": {"text": self.token},
            "trainyard-ca": {"file": os.path.join(self.yard.state_dir, "access", "admin", "ca.pem")}}
        self.repository = os.path.join(self.yard.folder, "repository")
        os.makedirs(self.repository)
        self.git("init", "--quiet", "--initial-branch=main", ".")

    def git(self, *arguments):
        done = subprocess.run(["git", "-c", "user.name=You", "-c", "user.email=you@example.com", *arguments],
                              cwd=self.repository, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def push(self, spec):
        with open(os.path.join(self.repository, "trainyard.yaml"), "w") as file:
            file.write(spec)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A change")
        return self.git("rev-parse", "HEAD")

    def small(self, epochs=1, **more):
        """Too small for most targets, and quick."""
        layers = """
    - conv: {filters: 1, kernel: 5, stride: 4}
    - relu
    - flatten
    - dense: 4"""
        return self.spec(epochs=epochs, layers=layers, **more)

    def diverging(self):
        """Whose loss is not a number from the first epoch on, so that nothing of it can be published."""
        layers = "\n    - flatten\n    - dense: 64\n    - dense: 64\n    - dense: 4"
        return self.spec(epochs=1, layers=layers).replace("lr: 0.02", "lr: 100")

    def jobs(self):
        """Of the coordinator, the oldest first."""
        return self.yard.json("job", "list")["jobs"][::-1]

    def wait_for_job(self):
        return int(self.yard.wait_until(self.jobs, "a job")[-1]["id"])

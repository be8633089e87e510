"""A Docker Engine of a test's own, with Trainyard's images: a dockerd in a private folder, on a bridge and subnet
of its own, beside whatever other daemons the machine runs. Needs root and Debian's docker.io, debootstrap and iptables.

What takes long is kept between runs in a cache folder: the base image, and the daemon's data with the images' layers.
"""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TRAINYARD_BUILD", os.path.join(ROOT, "build", "release"))
CACHE = os.environ.get("TRAINYARD_ENGINE_CACHE", os.path.join(ROOT, "build", "engine"))

IMAGES = ("worker-cpu", "worker-cuda", "coordinator", "cli", "program-sklearn", "program-keras", "program-torch")
BASE = "trainyard-test/base"
SUITE = "bookworm"

SKIPPED = 77  # what ctest is told to take for "skipped"
PATIENCE_S = 120
BUILD_PATIENCE_S = 1500


def run(*command, check=True, timeout=PATIENCE_S, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **more)
    if check and done.returncode != 0:
        raise AssertionError("%s: exit code %d\n%s%s" % (" ".join(command), done.returncode, done.stdout, done.stderr))
    return done


def find_client():
    """A docker command that can build with BuildKit: since version 23 that takes the plugin buildx."""
    for folder in os.get_exec_path():
        client = os.path.join(folder, "docker")
        if not os.access(client, os.X_OK):
            continue
        version = run(client, "--version", check=False).stdout.split()
        if len(version) > 2 and version[2].split(".")[0].isdigit() and int(version[2].split(".")[0]) < 23:
            return client
        if run(client, "buildx", "version", check=False).returncode == 0:
            return client
    return None


def why_not():
    """Why no engine can run here; None if one can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [p for p in ("dockerd", "debootstrap", "iptables", "ip", "setpriv", "tar") if not shutil.which(p)]
    if missing:
        return "found no %s" % ", ".join(missing)
    if find_client() is None:
        return "found no docker command that builds with BuildKit: one before version 23, or one with buildx"
    return None


def skip_where_there_can_be_none():
    """For a test file's start: ends it, loudly, as skipped."""
    reason = why_not()
    if reason:
        print("SKIPPED: no Docker Engine can be started here: %s" % reason, flush=True)
        sys.exit(SKIPPED)


class Network:
    """A bridge and a subnet that no other daemon here has. The rules that let its containers out are made here,
    since a dockerd that makes rules of its own first removes those of the others."""

    SLOTS = 32

    def __init__(self):
        self.lock, self.slot = self._take_slot()
        self.bridge = "trainyard%d" % self.slot
        self.gateway = "172.29.%d.1" % self.slot
        self.subnet = "172.29.%d.0/24" % self.slot
        self.pool = "172.29.%d.128/25" % self.slot  # for networks that `docker network create` makes
        self.rules = (
            ("nat", "POSTROUTING", "-s", self.subnet, "!", "-d", self.subnet, "-j", "MASQUERADE"),
            ("filter", "FORWARD", "-s", self.subnet, "-j", "ACCEPT"),
            ("filter", "FORWARD", "-d", self.subnet, "-j", "ACCEPT"),
        )
        self._remove()  # what a killed test has left
        try:
            # With an address of its own, as docker0 has one. A bridge without takes the lowest of its ports', and when
            # the container that it had it from goes, others do not reach this machine for longer than a lease.
            run("ip", "link", "add", "name", self.bridge, "address", "02:54:59:00:00:%02x" % self.slot, "type", "bridge")
            run("ip", "address", "add", self.gateway + "/25", "dev", self.bridge)
            run("ip", "link", "set", self.bridge, "up")
            with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
                file.write("1")
            for table, chain, *rule in self.rules:
                run("iptables", "-w", "-t", table, "-I", chain, *rule)
        except BaseException:
            self.close()
            raise

    def _take_slot(self):
        for slot in range(self.SLOTS):
            lock = open("/run/trainyard-test-network-%d.lock" % slot, "w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock, slot
            except BlockingIOError:
                lock.close()
        raise AssertionError("all %d networks for tests are in use" % self.SLOTS)

    def _remove(self):
        for table, chain, *rule in self.rules:
            while run("iptables", "-w", "-t", table, "-D", chain, *rule, check=False).returncode == 0:
                pass
        run("ip", "link", "delete", self.bridge, check=False)

    def close(self):
        self._remove()
        self.lock.close()


class Engine:
    """One dockerd. `with Engine() as engine:`, or start() and close()."""

    def __init__(self):
        os.makedirs(CACHE, exist_ok=True)
        self.client = find_client()
        self.folder = None  # of the socket and what lives as long as the daemon
        self.network = None
        self.daemon = None
        self.lock = open(os.path.join(CACHE, "lock"), "w")  # one daemon on the data at a time
        self.log_path = os.path.join(CACHE, "dockerd.log")

    # ---- The daemon ----

    @property
    def socket(self):
        return os.path.join(self.folder, "docker.sock")

    @property
    def gateway(self):
        """This machine's address, as containers on the default bridge reach it."""
        return self.network.gateway

    def open(self):
        """Takes the cache and a network; waits for another test that has the cache."""
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.folder = tempfile.mkdtemp(prefix="trainyard-engine-")
        self.network = Network()
        # What the data hold of networks is the last run's, which may have had other addresses.
        shutil.rmtree(os.path.join(CACHE, "data", "network"), ignore_errors=True)
        return self

    def start(self):
        """Starts the daemon, and waits until it answers."""
        if self.network is None:
            self.open()
        command = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", "unix://" + self.socket,
                   "--data-root", os.path.join(CACHE, "data"), "--exec-root", os.path.join(self.folder, "exec"),
                   "--pidfile", os.path.join(self.folder, "pid"), "--bridge", self.network.bridge,
                   "--default-address-pool", "base=%s,size=28" % self.network.pool,
                   "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--shutdown-timeout", "5"]
        with open(self.log_path, "ab") as log:
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while self.docker("version", check=False).returncode != 0:
            if self.daemon.poll() is not None:
                raise AssertionError("dockerd ended with %d\n%s" % (self.daemon.returncode, self.log()))
            if time.monotonic() > deadline:
                raise AssertionError("dockerd does not answer\n%s" % self.log())
            time.sleep(0.1)
        return self

    def stop(self, kill=False):
        """Ends the daemon and so its containers; `kill`: as a crash does."""
        if self.daemon is None:
            return
        self.daemon.kill() if kill else self.daemon.terminate()
        self.daemon.wait(PATIENCE_S)
        self.daemon = None
        # Its containerd dies with it, but not at once; a dockerd that found it dying would wait for it.
        pid_file = os.path.join(self.folder, "exec", "containerd", "containerd.pid")
        with contextlib.suppress(FileNotFoundError, ValueError):
            with open(pid_file) as file:
                pid = int(file.read())
            deadline = time.monotonic() + PATIENCE_S
            while os.path.exists("/proc/%d" % pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            os.remove(pid_file)

    def restart(self, kill=False):
        self.stop(kill)
        self.start()

    def close(self):
        """Ends everything; what the next run can use again stays in the cache."""
        if self.network is not None:
            with contextlib.suppress(AssertionError):
                if self.daemon is None or self.daemon.poll() is not None:
                    self.start()  # containers outlive a daemon that was killed
                self.remove_containers()
            self.stop()
            self.network.close()
            self.network = None
            shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return "".join(file.readlines()[-40:])

    # ---- The client ----

    def docker(self, *arguments, check=True, timeout=PATIENCE_S, **more):
        environment = dict(os.environ, DOCKER_HOST="unix://" + self.socket, DOCKER_BUILDKIT="1",
                           DOCKER_CONFIG=os.path.join(self.folder, "config"), BUILDKIT_PROGRESS="plain")
        return run(self.client, *arguments, check=check, timeout=timeout, env=environment, **more)

    def inspect(self, name):
        return json.loads(self.docker("inspect", name).stdout)[0]

    def remove_containers(self):
        """Also those that an earlier run has left: nobody else uses this daemon."""
        # One that its coordinator is removing just now cannot be removed, and is gone in a moment.
        for _ in range(100):
            containers = self.docker("ps", "--all", "--quiet").stdout.split()
            if not containers:
                break
            self.docker("rm", "--force", "--volumes", *containers, check=False)
            time.sleep(0.1)
        self.docker("volume", "prune", "--force")

    # ---- The images ----

    def import_base(self):
        """Debian without a registry."""
        if self.docker("image", "inspect", BASE, check=False).returncode == 0:
            return
        archive = os.path.join(CACHE, "base-%s.tar" % SUITE)
        if not os.path.exists(archive):
            with tempfile.TemporaryDirectory(prefix="rootfs-", dir=CACHE) as rootfs:
                run("debootstrap", "--variant=minbase", SUITE, rootfs, timeout=BUILD_PATIENCE_S)
                for lists in glob.glob(rootfs + "/var/lib/apt/lists/*") + glob.glob(rootfs + "/var/cache/apt/*"):
                    shutil.rmtree(lists) if os.path.isdir(lists) else os.remove(lists)
                run("tar", "-C", rootfs, "-cf", archive + ".new", ".", timeout=BUILD_PATIENCE_S)
            os.rename(archive + ".new", archive)
        self.docker("import", archive, BASE, timeout=BUILD_PATIENCE_S)

    def build_images(self, *names):
        """Builds trainyard/NAME, all by default, with what the build folder has compiled already."""
        self.import_base()
        packages = os.path.join(ROOT, "build", "packages")
        shutil.rmtree(packages, ignore_errors=True)
        run("cpack", "-G", "DEB", "-B", packages, cwd=BUILD, timeout=BUILD_PATIENCE_S)
        shutil.rmtree(os.path.join(packages, "_CPack_Packages"), ignore_errors=True)
        secrets = []
        if os.environ.get("PIP_CERT"):  # this machine's network wants it, so what is built here does
            secrets = ["--secret", "id=ca,src=" + os.environ["PIP_CERT"]]
        for name in names or IMAGES:
            started = time.monotonic()
            self.docker("build", "--file", os.path.join(ROOT, "docker", "Dockerfile"), "--target", name,
                        "--tag", "trainyard/" + name, "--build-arg", "BASE=" + BASE, "--build-arg", "PACKAGES=ready",
                        *secrets, ROOT, timeout=BUILD_PATIENCE_S)
            self.docker("image", "prune", "--force")  # those that had the name before
            print("trainyard/%s built in %.0f s" % (name, time.monotonic() - started), flush=True)

    def size(self, image):
        return self.inspect(image)["Size"]


class EngineTest(unittest.TestCase):
    """A test file with one engine for all its tests."""

    NEEDED = ()  # images

    @classmethod
    def setUpClass(cls):
        cls.engine = Engine()
        cls.addClassCleanup(cls.engine.close)
        cls.engine.start()
        cls.engine.remove_containers()
        cls.engine.build_images(*cls.NEEDED)

    def tearDown(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.engine.remove_containers()

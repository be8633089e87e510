"""Plays freestyle jobs (`config.xml` files) as a Jenkins with one agent would: the SCM, the shell step with `sh -xe` in
the job's workspace, the publishers, and what they trigger. Strict: an element that it does not know is an error, as is
one that is missing, for Jenkins would silently leave out what it cannot read."""

import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import xml.etree.ElementTree as ElementTree

from jenkins import ABORTED, FAILURE, SUCCESS, UNSTABLE, agent_environment

TEXT = {}  # an element without elements

SECRETS = {"org.jenkinsci.plugins.credentialsbinding.impl.SecretBuildWrapper": {"bindings": {
    "org.jenkinsci.plugins.credentialsbinding.impl.StringBinding": {"credentialsId": TEXT, "variable": TEXT},
    "org.jenkinsci.plugins.credentialsbinding.impl.FileBinding": {"credentialsId": TEXT, "variable": TEXT}}}}
PUBLISHERS = {
    "hudson.tasks.junit.JUnitResultArchiver": {
        "testResults": TEXT, "keepLongStdio": TEXT, "healthScaleFactor": TEXT, "allowEmptyResults": TEXT},
    "hudson.tasks.ArtifactArchiver": {
        "artifacts": TEXT, "allowEmptyArchive": TEXT, "onlyIfSuccessful": TEXT, "fingerprint": TEXT,
        "defaultExcludes": TEXT, "caseSensitive": TEXT},
    "hudson.tasks.BuildTrigger": {
        "childProjects": TEXT, "threshold": {"name": TEXT, "ordinal": TEXT, "color": TEXT, "completeBuild": TEXT}}}
PROPERTIES = {
    "jenkins.model.BuildDiscarderProperty": {"strategy": {
        "daysToKeep": TEXT, "numToKeep": TEXT, "artifactDaysToKeep": TEXT, "artifactNumToKeep": TEXT}},
    "hudson.model.ParametersDefinitionProperty": {"parameterDefinitions": {"hudson.model.StringParameterDefinition": {
        "name": TEXT, "description": TEXT, "defaultValue": TEXT, "trim": TEXT}}}}
PROJECT = {
    "description": TEXT, "keepDependencies": TEXT, "properties": PROPERTIES,
    "scm": {"configVersion": TEXT,
            "userRemoteConfigs": {"hudson.plugins.git.UserRemoteConfig": {"url": TEXT}},
            "branches": {"hudson.plugins.git.BranchSpec": {"name": TEXT}},
            "doGenerateSubmoduleConfigurations": TEXT, "submoduleCfg": TEXT, "extensions": TEXT},
    "assignedNode": TEXT, "canRoam": TEXT, "disabled": TEXT, "blockBuildWhenDownstreamBuilding": TEXT,
    "blockBuildWhenUpstreamBuilding": TEXT,
    "triggers": {"hudson.triggers.SCMTrigger": {"spec": TEXT, "ignorePostCommitHooks": TEXT}},
    "concurrentBuild": TEXT, "customWorkspace": TEXT,
    "builders": {"hudson.tasks.Shell": {"command": TEXT, "configuredLocalRules": TEXT, "unstableReturn": TEXT}},
    "publishers": PUBLISHERS, "buildWrappers": SECRETS}
# Lists, of which each entry may be missing or come again; of all else each element is there once.
LISTS = (PROPERTIES, PUBLISHERS, SECRETS, PROJECT["triggers"], PROJECT["builders"],
         PROPERTIES["hudson.model.ParametersDefinitionProperty"]["parameterDefinitions"],
         SECRETS["org.jenkinsci.plugins.credentialsbinding.impl.SecretBuildWrapper"]["bindings"])
CLASSES = {"scm": ("hudson.plugins.git.GitSCM", "hudson.scm.NullSCM"), "strategy": ("hudson.tasks.LogRotator",),
           "submoduleCfg": ("empty-list",)}

RESULTS = [SUCCESS, UNSTABLE, FAILURE, ABORTED]


class NoFreestyleJob(Exception):
    """With the place: project/builders/..."""


def check(element, schema, place):
    classes = CLASSES.get(element.tag, (None,))
    if element.get("class") not in classes or set(element.attrib) - {"class"}:
        expected = " or ".join(map(str, classes))
        raise NoFreestyleJob("%s: found %s, expected class=%s" % (place, element.attrib, expected))
    if element.get("class") == "hudson.scm.NullSCM":
        schema = TEXT
    if schema and (element.text or "").strip():
        raise NoFreestyleJob("%s: found the text %r" % (place, element.text.strip()))
    tags = [child.tag for child in element]
    for child in element:
        if child.tag not in schema:
            raise NoFreestyleJob("%s: found <%s>, expected %s" % (place, child.tag, ", ".join(schema) or "text"))
        check(child, schema[child.tag], place + "/" + child.tag)
    if not any(schema is known for known in LISTS):
        for tag in schema:
            if tags.count(tag) != 1:
                raise NoFreestyleJob("%s: found <%s> %d times, expected once" % (place, tag, tags.count(tag)))


class FreestyleJob:

    def __init__(self, path):
        self.name = "trainyard-" + os.path.basename(path)[:-len(".xml")]
        with open(path, "rb") as file:
            # Jenkins writes XML 1.1, which this parser does not read; the difference is in control characters only.
            text = file.read().replace(b"version='1.1'", b"version='1.0'", 1)
        try:
            self.project = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise NoFreestyleJob("%s: %s" % (path, error))
        if self.project.tag != "project":
            raise NoFreestyleJob("%s: found <%s>, expected <project>" % (path, self.project.tag))
        check(self.project, PROJECT, "project")

    def text(self, path):
        return self.project.findtext(path) or ""

    def publisher(self, name):
        return self.project.find("publishers/hudson.tasks." + name)

    @property
    def next(self):
        """The jobs that it triggers."""
        trigger = self.publisher("BuildTrigger")
        return [] if trigger is None else re.split(r"\s*,\s*", trigger.findtext("childProjects"))

    def parameters(self, given):
        values = {}
        for definition in self.project.iter("hudson.model.StringParameterDefinition"):
            values[definition.findtext("name")] = given.get(
                definition.findtext("name"), definition.findtext("defaultValue") or "")
        assert set(given) <= set(values), "%s has no parameters %s" % (self.name, set(given) - set(values))
        return values


class FreestyleBuild:
    """One build of one job on an agent whose root folder is `node`."""

    def __init__(self, job, node, source, credentials, parameters=None):
        self.job = job
        self.log, self.result, self.kept = "", SUCCESS, {}
        self.workspace = os.path.join(node, job.text("customWorkspace") or os.path.join("workspace", job.name))
        os.makedirs(self.workspace, exist_ok=True)
        self.source = source
        self.credentials = credentials
        self.environment = agent_environment(
            WORKSPACE=self.workspace, JOB_NAME=job.name, **job.parameters(parameters or {}))
        self.process = None
        self.aborted = False

    def run(self):
        """The result, and the jobs that are to follow."""
        with tempfile.TemporaryDirectory(prefix="trainyard-secrets-") as secrets:
            self.bind_secrets(secrets)
            if self.job.project.find("scm").get("class") == "hudson.plugins.git.GitSCM":
                self.check_out()
            for shell in self.job.project.iter("hudson.tasks.Shell"):
                if self.result in (SUCCESS, UNSTABLE):
                    self.run_shell(shell.findtext("command"), int(shell.findtext("unstableReturn")))
        self.publish_tests()
        self.archive()
        trigger = self.job.publisher("BuildTrigger")
        if trigger is None or RESULTS.index(self.result) > int(trigger.findtext("threshold/ordinal")):
            return self.result, []
        return self.result, self.job.next

    def worsen(self, result):
        self.result = max(self.result, result, key=RESULTS.index)

    def bind_secrets(self, folder):
        bindings = self.job.project.find("buildWrappers//bindings")
        for binding in [] if bindings is None else bindings:
            name = binding.findtext("credentialsId")
            kind = "text" if binding.tag.endswith("StringBinding") else "file"
            value = self.credentials[name][kind]
            if kind == "file":
                value = shutil.copy(value, os.path.join(folder, name))
            self.environment[binding.findtext("variable")] = value

    def check_out(self):
        def git(*arguments):
            done = subprocess.run(["git", *arguments], cwd=self.workspace, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()
        git("init", "--quiet")
        git("fetch", "--quiet", "--force", self.source, "main")
        git("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
        self.environment["GIT_COMMIT"] = git("rev-parse", "HEAD")

    def run_shell(self, command, unstable_code):
        with tempfile.NamedTemporaryFile("w", prefix="jenkins", suffix=".sh") as script:
            script.write(command)
            script.flush()
            self.process = subprocess.Popen(
                ["/bin/sh", "-xe", script.name], cwd=self.workspace, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
            self.log += self.process.communicate()[0]
        code = self.process.returncode
        if self.aborted:
            self.worsen(ABORTED)
        elif code != 0:
            self.worsen(UNSTABLE if code == unstable_code else FAILURE)

    def runs(self, command):
        """Whether its shell runs a program with this in its command line now."""
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                if self.process and os.getpgid(int(path.split("/")[2])) == self.process.pid:
                    with open(path) as file:
                        if command in file.read().replace("\0", " "):
                            return True
            except (ProcessLookupError, FileNotFoundError):
                continue  # it has ended
        return False

    def abort(self):
        """The shell and all that it has started get SIGTERM."""
        self.aborted = True
        os.killpg(self.process.pid, signal.SIGTERM)

    def find(self, pattern):
        paths = glob.glob(os.path.join(self.workspace, pattern), recursive=True)
        return [path for path in paths if os.path.isfile(path)]

    def publish_tests(self):
        publisher = self.job.publisher("junit.JUnitResultArchiver")
        if publisher is None:
            return
        reports = self.find(publisher.findtext("testResults"))
        if not reports:
            self.log += "No test report files were found. Configuration error?\n"
            self.worsen(FAILURE)
        for report in reports:
            suite = ElementTree.parse(report).getroot()
            if int(suite.get("failures")) + int(suite.get("errors")) > 0:
                self.worsen(UNSTABLE)

    def archive(self):
        archiver = self.job.publisher("ArtifactArchiver")
        for path in [] if archiver is None else self.find(archiver.findtext("artifacts")):
            with open(path, "rb") as file:
                self.kept[os.path.relpath(path, self.workspace)] = hashlib.md5(file.read()).hexdigest()


class FreestyleChain:
    """All jobs of a folder, as somebody has created them by these files."""

    def __init__(self, folder, node, source, credentials):
        paths = sorted(glob.glob(os.path.join(folder, "*.xml")))
        self.jobs = {job.name: job for job in map(FreestyleJob, paths)}
        self.node, self.source, self.credentials = node, source, credentials
        self.builds = {}  # the latest of each job

    def start(self, name, parameters=None):
        build = FreestyleBuild(self.jobs[name], self.node, self.source, self.credentials, parameters)
        self.builds[name] = build
        return build

    def run(self, first, **parameters):
        """The first job and all that follow from it: [(name, result), ...]."""
        results, queue = [], [(first, parameters)]
        while queue:
            name, given = queue.pop(0)
            result, following = self.start(name, given).run()
            results.append((name, result))
            queue += [(follower, {}) for follower in following]
        return results

    def log(self):
        return "\n".join("==== %s\n%s" % (name, build.log) for name, build in self.builds.items())


def in_background(build):
    thread = threading.Thread(target=build.run)
    thread.start()
    return thread

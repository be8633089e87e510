import groovy.json.JsonOutput
import java.nio.file.Files
import java.nio.file.StandardCopyOption

/** One build: what it was given, what it has come to, and what Jenkins keeps of it. */
class Build {
  static final RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']  // each worse than the one before

  final String jenkinsfile, source
  final File workspace, record
  final Map<String, Object> given
  final Map<String, String> env, parameters = [:]
  final CurrentBuild currentBuild = new CurrentBuild(build: this)
  final long started_ms = System.currentTimeMillis()
  String result = 'SUCCESS'
  Map<String, String> artifacts = [:]
  Map<String, Integer> tests = [:]
  volatile boolean aborted
  volatile Process running
  private final Map credentials
  private final Set<String> secrets = []

  Build(Map input) {
    jenkinsfile = input.jenkinsfile
    source = input.source
    workspace = new File(input.workspace as String).canonicalFile
    record = new File(input.record as String)
    given = input.parameters ?: [:]
    credentials = input.credentials ?: [:]
    env = [WORKSPACE: workspace.path] + (input.environment ?: [:])
    workspace.mkdirs()
  }

  void worsen(String other) {
    if (RESULTS.indexOf(other) > RESULTS.indexOf(result)) result = other
  }

  synchronized void log(String text) {
    secrets.each { text = text.replace(it, '****') }
    println text
    System.out.flush()
  }

  /** A text as it is; a file as a copy that lies beside the workspace. */
  String credential(String id) {
    Map found = credentials[id] as Map
    if (found == null) throw new StepFailed("Could not find credentials entry with ID '$id'")
    if (found.text) {
      secrets << found.text
      return found.text
    }
    File copy = new File(workspace.path + '@tmp', "secretFiles/$id")
    copy.parentFile.mkdirs()
    Files.copy(new File(found.file as String).toPath(), copy.toPath(), StandardCopyOption.REPLACE_EXISTING)
    copy.path
  }

  /** Everything that the running step has started gets SIGTERM. */
  void abort() {
    aborted = true
    Process process = running
    if (process == null) return
    def shell = process.toHandle()  // Process.destroy would close its output too
    def others = shell.descendants().toArray()
    shell.destroy()  // first, lest it ends with its child, untold
    others.each { it.destroy() }
  }

  void checkAborted() {
    if (!aborted) return
    aborted = false  // post conditions run on
    throw new BuildAborted()
  }

  boolean holdsSecret(String text) { secrets.any { text.contains(it) } }

  void save() {
    record.mkdirs()
    new File(record, 'build.json').text = JsonOutput.toJson(
        [result: result, artifacts: artifacts, tests: tests, description: currentBuild.description])
  }
}

class CurrentBuild {
  Build build
  String description
  void setResult(String result) { build.worsen(result) }
  String getResult() { build.result }
  String getCurrentResult() { build.result }
}

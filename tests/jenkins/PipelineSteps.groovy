import java.nio.file.FileSystems
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.security.MessageDigest

/** The steps: what a Jenkinsfile's code calls. */
abstract class PipelineSteps extends Script {
  private Build getBuild() { binding.getVariable('build') as Build }

  void pipeline(Closure body) { binding.setVariable('pipelineBody', body) }

  def script(Closure body) { body.call() }
  void echo(String message) { build.log(message) }
  void error(String message) { throw new StepFailed(message) }
  void unstable(String message) {
    build.log("WARNING: $message")
    build.worsen('UNSTABLE')
  }

  def sh(String script) { sh(script: script) }

  def sh(Map step) {
    String script = step.script
    if (build.holdsSecret(script)) throw new StepFailed('sh: the script has a secret in it, for all to see')
    build.checkAborted()
    File file = File.createTempFile('script', '.sh', new File(build.workspace.path + '@tmp').with { mkdirs(); it })
    file.text = script
    def builder = new ProcessBuilder('/bin/sh', '-xe', file.path).directory(build.workspace)
    builder.environment().clear()
    builder.environment().putAll(build.env.collectEntries { name, value -> [name, value as String] })
    builder.redirectInput(ProcessBuilder.Redirect.from(new File('/dev/null')))
    Process process = builder.start()
    build.running = process
    if (build.aborted) build.abort()
    def errors = Thread.start { process.errorStream.eachLine { build.log(it) } }
    String output = ''
    process.inputStream.eachLine { step.returnStdout ? (output += it + '\n') : build.log(it) }
    int code = process.waitFor()
    errors.join()
    build.running = null
    file.delete()
    build.checkAborted()
    if (step.returnStatus) return code
    if (code != 0) throw new StepFailed("script returned exit code $code")
    step.returnStdout ? output : null
  }

  String readFile(String name) {
    File file = new File(build.workspace, name)
    if (!file.isFile()) throw new StepFailed("java.nio.file.NoSuchFileException: $file")
    file.text
  }

  /** As the Git plugin does it: what is not tracked stays, and what was changed does not. */
  Map checkout(scm) {
    def git = { String... arguments ->
      def process = new ProcessBuilder(['git', *arguments]).directory(build.workspace).redirectErrorStream(true).start()
      String output = process.text
      if (process.waitFor() != 0) throw new StepFailed("git ${arguments.join(' ')}: $output")
      output.trim()
    }
    build.log("Fetching changes from ${build.source}")
    git('init', '--quiet')
    git('fetch', '--quiet', '--force', build.source, 'main')
    git('checkout', '--quiet', '--force', '--detach', 'FETCH_HEAD')
    [GIT_COMMIT: git('rev-parse', 'HEAD'), GIT_BRANCH: 'origin/main', GIT_URL: build.source]
  }

  void archiveArtifacts(Map step) {
    List<String> files = find(step.artifacts)
    if (!files && !step.allowEmptyArchive) throw new StepFailed("No artifacts found that match ${step.artifacts}")
    files.each { name ->
      File from = new File(build.workspace, name), to = new File(build.record, "archive/$name")
      to.parentFile.mkdirs()
      Files.copy(from.toPath(), to.toPath(), StandardCopyOption.REPLACE_EXISTING)
      def md5 = MessageDigest.getInstance('MD5').digest(from.bytes).encodeHex() as String
      build.artifacts[name] = step.fingerprint ? md5 : ''
    }
    build.log("Archiving artifacts: ${files.join(', ')}")
  }

  void junit(Map step) {
    List<String> files = find(step.testResults)
    if (!files) {
      if (step.allowEmptyResults) {
        build.log('None of the test reports contained any result')
        return
      }
      throw new StepFailed('No test report files were found. Configuration error?')
    }
    build.tests = [tests: 0, failures: 0, errors: 0, skipped: 0]
    files.each { name ->
      File file = new File(build.workspace, name)
      if (file.lastModified() < build.started_ms - 3_000) {
        throw new StepFailed("Test reports were found but none of them are new. Did the tests run? $name")
      }
      def suite = new XmlSlurper().parse(file)
      build.tests.keySet().each { build.tests[it] += suite.@"$it".text().toInteger() }
    }
    build.log("Recording test results: ${build.tests}")
    if (build.tests.failures + build.tests.errors > 0) build.worsen('UNSTABLE')
  }

  private List<String> find(pattern) {
    def matcher = FileSystems.default.getPathMatcher("glob:$pattern")
    def root = build.workspace.toPath()
    List<String> found = []
    build.workspace.eachFileRecurse(groovy.io.FileType.FILES) {
      def path = root.relativize(it.toPath())
      if (matcher.matches(path)) found << (path as String)
    }
    found.sort()
  }
}

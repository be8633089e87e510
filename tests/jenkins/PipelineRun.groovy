import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.MultipleCompilationErrorsException

/**
 * Plays a declarative Jenkinsfile on this machine, as a Jenkins with one agent would: real `sh`, a real Git checkout,
 * credentials, post conditions in Jenkins' order, artifacts and JUnit reports kept. SIGTERM is the abort button.
 *
 * usage: groovy -cp FOLDER PipelineRun.groovy BUILD.json
 *   {"jenkinsfile": .., "workspace": .., "source": URL, "record": folder for what Jenkins keeps,
 *    "parameters": {..}, "credentials": {ID: {"text": ..} or {"file": ..}}, "environment": {of the agent}}
 * The exit code is 0 SUCCESS, 1 FAILURE, 2 UNSTABLE, 3 ABORTED, 4 not a Jenkinsfile.
 */
class Pipeline {
  static final EXIT_CODES = [SUCCESS: 0, FAILURE: 1, UNSTABLE: 2, ABORTED: 3]

  final Build build
  final Map<String, List> sections

  Pipeline(Build build, Closure body) {
    this.build = build
    sections = read(body)
  }

  /** The calls in a block, with their arguments. */
  static Map<String, List> read(Closure block) {
    def reader = new BlockReader()
    block.delegate = reader
    block.resolveStrategy = Closure.DELEGATE_FIRST
    block.call()
    reader.calls
  }

  void run() {
    setParameters()
    try {
      setEnvironment()
      read(sections.stages[0][0]).stage.each { name, body -> runStage(name, body) }
    } catch (Exception e) {
      fail(e)
    }
    runPost(sections.post, build.result)
    build.log("Finished: ${build.result}")
  }

  private void setParameters() {
    def declared = sections.parameters ? read(sections.parameters[0][0]).values().sum()*.first() : []
    def unknown = build.given.keySet() - declared*.name
    if (unknown) throw new IllegalArgumentException("the Jenkinsfile has no parameter ${unknown.join(', ')}")
    declared.each {
      def usual = it.choices ? it.choices[0] : it.defaultValue
      build.parameters[it.name] = build.given.containsKey(it.name) ? build.given[it.name] : usual
    }
    build.env.putAll(build.parameters)
  }

  private void setEnvironment() {
    if (!sections.environment) return
    Closure assignments = sections.environment[0][0]
    assignments.delegate = new EnvironmentReader(build)
    assignments.resolveStrategy = Closure.DELEGATE_FIRST
    assignments.call()
  }

  private void runStage(String name, Closure body) {
    Map<String, List> stage = read(body)
    build.log("[Pipeline] { ($name)")
    String result = 'SUCCESS', before = build.result
    try {
      if (stage.when && !read(stage.when[0][0]).expression.every { it[0].call() }) {
        build.log("Stage \"$name\" skipped due to when conditional")
        return
      }
      stage.steps[0][0].call()
    } catch (Exception e) {
      result = fail(e)
      throw new AlreadyTold()
    } finally {
      if (stage.post) runPost(stage.post, result == 'SUCCESS' && build.result != before ? build.result : result)
    }
  }

  /** In the order in which Jenkins runs them; one that fails does not keep the others from running. */
  private void runPost(List post, String result) {
    if (!post) return
    Map<String, List> conditions = read(post[0][0])
    def met = [always: true, aborted: result == 'ABORTED', failure: result == 'FAILURE', success: result == 'SUCCESS',
               unstable: result == 'UNSTABLE', unsuccessful: result != 'SUCCESS', cleanup: true]
    met.each { name, holds ->
      if (!holds || !conditions[name]) return
      try {
        conditions[name][0][0].call()
      } catch (Exception e) {
        build.log("Error when executing $name post condition:")
        fail(e)
      }
    }
  }

  /** Tells it once; the result that it means. */
  private String fail(Exception e) {
    String result = e instanceof BuildAborted || build.result == 'ABORTED' ? 'ABORTED' : 'FAILURE'
    build.worsen(result)
    if (!(e instanceof AlreadyTold)) build.log(e instanceof StepFailed ? "ERROR: $e.message" : "ERROR: $e")
    result
  }
}

/** A stage has failed, and that was told. */
class AlreadyTold extends RuntimeException { }

class BlockReader {
  Map<String, List> calls = [:]

  def invokeMethod(String name, Object arguments) {
    calls.get(name, []) << (arguments as List)
    arguments ? arguments[0] : null
  }
}

class EnvironmentReader {
  private final Build build
  EnvironmentReader(Build build) { this.build = build }
  void setProperty(String name, Object value) { build.env[name] = value as String }
  def credentials(String id) { build.credential(id) }
}

build = new Build(new JsonSlurper().parse(new File(args[0])) as Map)
sun.misc.Signal.handle(new sun.misc.Signal('TERM')) { build.abort() }
def configuration = new CompilerConfiguration(scriptBaseClass: PipelineSteps.name)
configuration.addCompilationCustomizers(new JenkinsfileRules())
def binding = new Binding(env: build.env, params: build.parameters, currentBuild: build.currentBuild, scm: 'scm',
                          any: 'any', none: 'none', build: build)
try {
  new GroovyShell(this.class.classLoader, binding, configuration).evaluate(new File(build.jenkinsfile))
} catch (MultipleCompilationErrorsException e) {
  println e.message
  System.exit(4)
}
new Pipeline(build, binding.getVariable('pipelineBody')).run()
build.save()
System.exit(Pipeline.EXIT_CODES[build.result])

import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.MultipleCompilationErrorsException

// Says of each file whether JenkinsfileRules take it: "==== accepted" or "==== " and what is wrong. Nothing is run.
args.each { name ->
  def configuration = new CompilerConfiguration(scriptBaseClass: PipelineSteps.name)
  configuration.addCompilationCustomizers(new JenkinsfileRules())
  try {
    new GroovyShell(this.class.classLoader, new Binding(), configuration).parse(new File(name))
    println '==== accepted'
  } catch (MultipleCompilationErrorsException e) {
    println "==== ${e.message}"
  }
}

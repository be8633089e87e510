import org.codehaus.groovy.ast.*
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.ast.stmt.*
import org.codehaus.groovy.classgen.GeneratorContext
import org.codehaus.groovy.control.*
import org.codehaus.groovy.control.customizers.CompilationCustomizer
import org.codehaus.groovy.syntax.SyntaxException

/**
 * Holds a Jenkinsfile to the shape of Declarative Pipeline before anything of it runs, also where no run comes
 * by: known sections and steps only, each where it may stand, once, with what it cannot do without. Added to the
 * compiler's configuration; what it finds are compile errors with line and column.
 */
class JenkinsfileRules extends CompilationCustomizer {
  static final PIPELINE = ['agent', 'environment', 'options', 'parameters', 'post', 'stages', 'triggers']
  static final STAGE = ['post', 'steps', 'when']
  static final POST = ['aborted', 'always', 'cleanup', 'failure', 'success', 'unstable', 'unsuccessful']
  static final OPTIONS = ['buildDiscarder', 'disableConcurrentBuilds', 'skipDefaultCheckout', 'timeout']
  static final PARAMETERS = ['booleanParam', 'choice', 'string']
  static final TRIGGERS = ['cron', 'pollSCM']
  static final STEPS = ['archiveArtifacts', 'checkout', 'echo', 'error', 'junit', 'readFile', 'script', 'sh',
                        'unstable']
  static final CREDENTIALS = ['credentials']

  private SourceUnit source
  private Set<String> ownMethods

  JenkinsfileRules() { super(CompilePhase.CONVERSION) }

  @Override
  void call(SourceUnit source, GeneratorContext context, ClassNode script) {
    this.source = source
    ownMethods = source.AST.methods*.name as Set
    List<Statement> statements = source.AST.statementBlock.statements
    List<MethodCallExpression> pipelines = statements.findResults { callOf(it) }
        .findAll { it.methodAsString == 'pipeline' }
    if (pipelines.size() == 1) checkPipeline(pipelines[0])
    else refuse(source.AST.statementBlock, "found ${pipelines.size()} pipeline blocks, expected one")
    source.AST.methods.each { checkGroovy(it.code) }
  }

  private void checkPipeline(MethodCallExpression pipeline) {
    Map<String, MethodCallExpression> sections = sectionsOf(pipeline, PIPELINE, ['agent', 'stages'])
    checkAgent(sections.agent)
    if (sections.options) sectionsOf(sections.options, OPTIONS, [])
    if (sections.environment) checkEnvironment(sections.environment)
    checkPost(sections.post)
    if (sections.parameters) sectionsOf(sections.parameters, PARAMETERS, [], true)
    if (sections.triggers) sectionsOf(sections.triggers, TRIGGERS, [])
    checkStages(sections.stages)
  }

  private void checkPost(MethodCallExpression post) {
    if (post) sectionsOf(post, POST, []).each { name, call -> checkSteps(call) }
  }

  private void checkAgent(MethodCallExpression agent) {
    if (agent == null) return
    def argument = argumentsOf(agent)[0]
    if (argument instanceof VariableExpression && argument.name in ['any', 'none']) return
    if (argument instanceof ClosureExpression) sectionsOf(agent, ['label'], ['label'])
    else refuse(agent, "agent: expected any, none or { label '...' }")
  }

  private void checkEnvironment(MethodCallExpression environment) {
    for (Statement statement in statementsOf(environment)) {
      def expression = statement instanceof ExpressionStatement ? statement.expression : null
      boolean assigns = expression instanceof BinaryExpression && expression.operation.text == '=' &&
          expression.leftExpression instanceof VariableExpression
      if (!assigns) refuse(statement, "environment: expected NAME = VALUE")
      else checkCalls(expression.rightExpression, CREDENTIALS)
    }
  }

  private void checkStages(MethodCallExpression stages) {
    if (stages == null) return
    Set<String> names = []
    if (statementsOf(stages).empty) refuse(stages, 'stages: expected at least one stage')
    for (Statement statement in statementsOf(stages)) {
      MethodCallExpression stage = callOf(statement)
      if (stage?.methodAsString != 'stage') {
        refuse(statement, "stages: found ${nameOf(statement)}, expected stage")
        continue
      }
      def name = argumentsOf(stage)[0]
      if (!(name instanceof ConstantExpression && name.value)) refuse(stage, 'stage: expected a name')
      else if (!names.add(name.value as String)) refuse(stage, "stage '${name.value}' is there twice")
      Map<String, MethodCallExpression> sections = sectionsOf(stage, STAGE, ['steps'])
      checkPost(sections.post)
      if (sections.steps) checkSteps(sections.steps)
      if (sections.when) {
        sectionsOf(sections.when, ['expression'], []).each { unused, call -> checkGroovy(bodyOf(call)) }
      }
    }
  }

  /** Steps only; Groovy is for script blocks. */
  private void checkSteps(MethodCallExpression section) {
    if (statementsOf(section).empty) refuse(section, "${section.methodAsString}: expected at least one step")
    for (Statement statement in statementsOf(section)) {
      MethodCallExpression step = callOf(statement)
      if (!(step?.methodAsString in STEPS)) {
        refuse(statement, "${section.methodAsString}: found ${nameOf(statement)}, expected a step: ${STEPS.join(', ')}")
      } else if (step.methodAsString == 'script') {
        checkGroovy(bodyOf(step))
      } else {
        checkCalls(step.arguments, STEPS)
      }
    }
  }

  /** Free Groovy: calls without an object before them are steps, or methods of the file. */
  private void checkGroovy(ASTNode code) {
    if (code != null) checkCalls(code, STEPS + ownMethods)
  }

  private void checkCalls(ASTNode code, Collection<String> allowed) {
    code.visit(new CodeVisitorSupport() {
      @Override
      void visitMethodCallExpression(MethodCallExpression call) {
        if (call.implicitThis && !(call.methodAsString in allowed)) {
          refuse(call, "found ${call.methodAsString}(), which is neither a step nor a method of this file")
        }
        super.visitMethodCallExpression(call)
      }
    })
  }

  /** The calls in a block by name, after checking that they are allowed there, and once unless `repeatable`. */
  private Map<String, MethodCallExpression> sectionsOf(MethodCallExpression block, List<String> allowed,
                                                       List<String> required, boolean repeatable = false) {
    Map<String, MethodCallExpression> sections = [:]
    String where = block.methodAsString
    for (Statement statement in statementsOf(block)) {
      MethodCallExpression call = callOf(statement)
      if (!(call?.methodAsString in allowed)) {
        refuse(statement, "$where: found ${nameOf(statement)}, expected ${allowed.join(', ')}")
      } else if (sections.put(call.methodAsString, call) && !repeatable) {
        refuse(statement, "$where: ${call.methodAsString} is there twice")
      }
    }
    (required - sections.keySet()).each { refuse(block, "$where: expected a section $it") }
    sections
  }

  private Statement bodyOf(MethodCallExpression call) {
    def last = argumentsOf(call) ? argumentsOf(call)[-1] : null
    if (last instanceof ClosureExpression) return last.code
    refuse(call, "${call.methodAsString}: expected { ... } behind it")
    null
  }

  private List<Statement> statementsOf(MethodCallExpression block) {
    def body = bodyOf(block)
    body instanceof BlockStatement ? body.statements.findAll { !(it instanceof EmptyStatement) } : []
  }

  private static List<Expression> argumentsOf(MethodCallExpression call) {
    call.arguments instanceof TupleExpression ? (call.arguments as TupleExpression).expressions : [call.arguments]
  }

  /** The call that a statement is, if it is one without an object before it. */
  private static MethodCallExpression callOf(Statement statement) {
    def expression = statement instanceof ExpressionStatement ? statement.expression : null
    if (statement instanceof ReturnStatement) expression = statement.expression
    expression instanceof MethodCallExpression && expression.implicitThis ? expression : null
  }

  private static String nameOf(Statement statement) { callOf(statement)?.methodAsString ?: statement.text }

  private void refuse(ASTNode node, String message) {
    source.addError(new SyntaxException(message, node.lineNumber, node.columnNumber))
  }
}

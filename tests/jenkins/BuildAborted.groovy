/** Somebody has pressed the abort button. */
class BuildAborted extends RuntimeException {
  BuildAborted() { super('Aborted by somebody') }
}

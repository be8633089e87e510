/** A step has failed, and with it its stage. */
class StepFailed extends RuntimeException {
  StepFailed(String message) { super(message) }
}

"""What Trainyard adds to unmodified Keras programs: metrics, checkpoints, continuation, changes,
data sets.

`hook` waits for Keras to be imported, `keras_hooks` then wraps Model.compile, fit and evaluate;
`run` knows how far the program has come. docs/programs.md says what users see of it.
"""

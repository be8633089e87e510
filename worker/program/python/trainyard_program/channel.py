"""The metrics file: one JSON object a line, appended whole."""

import json
import os
import sys
import time

EXIT_REFUSED = (
    70  # a change that does not fit the model, a checkpoint that does not fit the program
)

_last_step_s = 0.0
_last_phase = None
_noted = set()


def emit(line):
    """Appends one object; a full disk or a lost file must not end the training."""
    path = os.environ.get("TRAINYARD_METRICS_FILE")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as metrics:
            metrics.write(json.dumps(line) + "\n")
    except OSError as error:
        print(f"trainyard: cannot write {path}: {error}", file=sys.stderr)


def step(number):
    """Progress; at most one line a second."""
    global _last_step_s
    now_s = time.monotonic()
    if now_s - _last_step_s >= 1:
        _last_step_s = now_s
        emit({"step": number})


def phase(name):
    global _last_phase
    if name != _last_phase:
        _last_phase = name
        emit({"phase": name})


def note(text):
    """Something for people to know, said once."""
    if text not in _noted:
        _noted.add(text)
        emit({"note": text})


def fail(text):
    """Ends the program: it cannot go on as it was asked to."""
    emit({"error": text})
    sys.stdout.flush()
    print(f"trainyard: error: {text}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_REFUSED)

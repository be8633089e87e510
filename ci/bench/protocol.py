"""How a contender talks to ci/bench/gpu_rounds.py: a line of JSON each on its standard output, {"ready": {...}} once,
then one answer for each line that it reads, {"round": {...}} or {"profile": {...}}, until its input ends.
tests/worker/engine/engine_speed.cc says the same.
"""

import json
import sys


def say(what, **values):
    print(json.dumps({what: values}), flush=True)


def answer(commands):
    """commands: {line: function that returns the answer's values}."""
    for line in sys.stdin:
        name = line.strip()
        if name not in commands:
            sys.exit(f"error: found the command '{name}', expected {' or '.join(commands)}")
        say(name, **commands[name]())

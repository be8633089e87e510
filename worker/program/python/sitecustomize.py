"""Runs at the start of every Python of a program that Trainyard trains, before the program's own
first line.

It installs hooks that wait until Keras is imported, and then gives way to the `sitecustomize` of
the environment that this one shadows. Without TRAINYARD_METRICS_FILE it does nothing but the
latter.
"""

import importlib.machinery
import importlib.util
import os
import sys


def _install_hooks():
    try:
        from trainyard_program import hook

        hook.install()
    except Exception as error:  # A fault of ours is no reason for the program not to run.
        print(f"trainyard: Keras programs are not hooked: {error!r}", file=sys.stderr)


def _run_shadowed():
    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("TRAINYARD_METRICS_FILE"):
    _install_hooks()
_run_shadowed()

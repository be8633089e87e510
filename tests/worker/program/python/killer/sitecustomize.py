"""An environment's own sitecustomize, which ours must give way to; it kills the program at a given
moment.
"""

import os
import signal
import sys

sys.environment_was_customized = True
KILL_AT = os.environ.get("TEST_KILL_AT")

if KILL_AT:
    rename = os.rename

    def rename_or_die(source, target, **kwargs):
        """Dies where an entry is written but not yet named: the worst moment."""
        if os.path.basename(target) == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target, **kwargs)

    os.rename = rename_or_die

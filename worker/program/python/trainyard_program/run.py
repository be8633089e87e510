"""How far the program has come: its fits and evaluations in order, what is stored of them, what
comes next.

A continued program runs again from its first line. A fit that was over returns what it returned
then, the one that was interrupted goes on behind its last stored epoch, all later ones run as ever.
"""

import fcntl
import os
import weakref

from trainyard_program import channel, checkpoints
from trainyard_program.changes import Changes


class Run:
    def __init__(self):
        self.changes = Changes.from_environment()
        self.store = None
        self.resumed = None
        self.fits = []  # of each finished fit: model, history, epochs, params
        self.evaluations = []  # what each evaluation returned
        self.epochs = 0  # finished epochs of all finished fits
        self.step = 0
        self.files = []  # of ModelCheckpoint and CSVLogger in finished fits
        self.trained_on = lambda: None  # the data of the last fit
        self.busy = (
            False  # inside a fit or an evaluation: what it calls itself is not the program's
        )
        self._models = (
            weakref.WeakKeyDictionary()
        )  # model -> its number, in the order of first fits
        self._owner = None

    def owns(self):
        """Opens the checkpoints at first use; False in a process that may not write there: one
        process trains.
        """
        if self._owner is None:
            self._owner = (os.getpid(), self._open())
        return self._owner == (os.getpid(), True)

    def _open(self):
        folder = os.environ.get("TRAINYARD_CHECKPOINT_DIR")
        if not folder:
            return True
        os.makedirs(folder, exist_ok=True)
        self._lock = open(os.path.join(folder, ".lock"), "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            channel.note("another process of the program trains; this one is not followed")
            return False
        self.store = checkpoints.Store(folder, os.environ.get("TRAINYARD_RESUME_FROM"))
        self.resumed = self.store.resumed_state()
        return True

    def number_of(self, model):
        if model not in self._models:
            self._models[model] = len(self._models) + 1
        return self._models[model]

    def stored_fit(self, model):
        """What is stored of the fit that now begins: (finished, record), or (False, None)."""
        index = len(self.fits)
        if self.resumed is None:
            return False, None
        finished = index < len(self.resumed["fits"])
        record = None
        if finished:
            record = self.resumed["fits"][index]
        elif index == len(self.resumed["fits"]):
            record = self.resumed["fit"]
        if record is not None and record["model"] != self.number_of(model):
            channel.fail(
                f"the checkpoint does not fit the program: fit {index + 1} trained model "
                f"{record['model']}, now it trains model {self.number_of(model)}"
            )
        return finished, record

    def stored_evaluation(self):
        index = len(self.evaluations)
        if self.resumed is not None and index < len(self.resumed["evaluations"]):
            return self.resumed["evaluations"][index]
        return None

    def state(self, fit):
        return {
            "version": 1,
            "epoch": self.epochs + len(fit["epoch"]),
            "step": self.step,
            "fits": self.fits,
            "evaluations": self.evaluations,
            "fit": fit,
        }

    def finish_fit(self, record, files):
        self.fits.append(record)
        self.epochs += len(record["epoch"])
        self.files += [path for path in files if path not in self.files]

"""Entries of TRAINYARD_CHECKPOINT_DIR: `epoch-00003/` with what people want and what continuing
needs.

    model.keras      the model, whole (model.weights.h5 where Keras cannot save it whole)
    variables.npz    weights, optimizer and random generators of the model in training
    model-1.npz      the same of each model whose fit is over, as it was left
    best-0.npz       best weights that the program's EarlyStopping keeps in memory
    files/           what the program's ModelCheckpoint and CSVLogger wrote
    state.json       how far the program has come; written by `run`
"""

import json
import os
import shutil

from trainyard_program import channel, user_callbacks, variables

KEPT_ENTRIES = 3


class Store:
    def __init__(self, folder, resume_from):
        self.folder = folder
        self.resume_from = resume_from
        self._finished = os.path.join(folder, ".trainyard")  # models whose fit is over

    def resumed_state(self):
        """The state to continue from, or None at a first start."""
        if not self.resume_from:
            return None
        path = os.path.join(self.resume_from, "state.json")
        try:
            with open(path, encoding="utf-8") as file:
                state = json.load(file)
            if state["version"] != 1:
                raise ValueError(f"version {state['version']}, expected 1")
            shutil.rmtree(self._finished, ignore_errors=True)  # later than the entry, perhaps
            for name in os.listdir(self.resume_from):
                if name.startswith("model-"):
                    os.makedirs(self._finished, exist_ok=True)
                    _link(os.path.join(self.resume_from, name), os.path.join(self._finished, name))
        except (OSError, ValueError, KeyError, TypeError) as error:
            channel.fail(
                f"the checkpoint {self.resume_from} cannot be continued from: {path}: {error}"
            )
        return state

    def load_current(self, model):
        variables.load(
            model, os.path.join(self.resume_from, "variables.npz"), optimizer_must_fit=True
        )

    def load_finished(self, model, number):
        path = os.path.join(self._finished, f"model-{number}.npz")
        variables.load(model, path, optimizer_must_fit=False)

    def keep_finished(self, model, number):
        os.makedirs(self._finished, exist_ok=True)
        path = os.path.join(self._finished, f"model-{number}.npz")
        variables.save(model, path + ".tmp")
        os.replace(path + ".tmp", path)

    def restore_files(self, files):
        for file in files:
            source = os.path.join(self.resume_from, file["entry"])
            if os.path.exists(source) and not os.path.exists(file["path"]):
                user_callbacks.copy(source, file["path"])

    def write(self, epoch, state, keras, model, callbacks, files):
        """Writes the entry of this epoch and returns its name."""
        name = f"epoch-{epoch:05}"
        temporary = os.path.join(self.folder, f".tmp-{name}")
        shutil.rmtree(temporary, ignore_errors=True)
        os.makedirs(temporary)
        variables.save(model, os.path.join(temporary, "variables.npz"))
        for finished in os.listdir(self._finished) if os.path.isdir(self._finished) else ():
            _link(os.path.join(self._finished, finished), os.path.join(temporary, finished))
        user_callbacks.save_best_weights(callbacks, temporary)
        state["files"] = []
        for index, path in enumerate(files):
            entry = f"files/{index}-{os.path.basename(path)}"
            user_callbacks.copy(path, os.path.join(temporary, entry))
            inside = os.path.abspath(path).startswith(os.getcwd() + os.sep)
            state["files"].append(
                {"path": os.path.relpath(path) if inside else path, "entry": entry}
            )
        _save_model(keras, model, temporary)
        with open(os.path.join(temporary, "state.json"), "w", encoding="utf-8") as file:
            json.dump(state, file)
        self._publish(temporary, name)
        return name

    def _publish(self, temporary, name):
        target = os.path.join(self.folder, name)
        if os.path.exists(target):  # left by an attempt that died before it could say so
            old = os.path.join(self.folder, f".old-{name}")
            os.rename(target, old)
            shutil.rmtree(old, ignore_errors=True)
        os.rename(temporary, target)
        entries = sorted(entry for entry in os.listdir(self.folder) if entry.startswith("epoch-"))
        for entry in entries[:-KEPT_ENTRIES]:
            path = os.path.join(self.folder, entry)
            if os.path.realpath(path) != os.path.realpath(self.resume_from or ""):
                shutil.rmtree(path, ignore_errors=True)


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _save_model(keras, model, folder):
    path = os.path.join(folder, "model.keras")
    try:
        keras.Model.save(model, path)
    except Exception as error:
        if os.path.exists(path):
            os.remove(path)
        reason = " ".join(str(error).strip().split("\n\n")[0].split()) or type(error).__name__
        channel.note(f"the model cannot be saved whole, so only its weights are: {reason}")
        keras.Model.save_weights(model, os.path.join(folder, "model.weights.h5"))

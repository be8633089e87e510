"""Models in files: .keras and .h5 with weights, .json without. What is in them is checked before Keras reads it."""

import contextlib
import os
import shutil
import tempfile
import zipfile

from trainyard_program.to_native.refused import Refused, shown

CONFIG_BYTES_MAX = 16 << 20
MEMBERS_MAX = 1_000
H5_OBJECTS_MAX = 200_000
# Beside the weights, files hold the optimizer's moments.
COPIES_MAX = 8
SLACK_BYTES = 64 << 20
WEIGHTS = "model.weights.h5"


def read_config(path):
    """The configuration's text."""
    with _readable(path):
        if path.endswith(".json"):
            with open(path, "rb") as file:
                return _text(file.read(CONFIG_BYTES_MAX + 1), path)
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                return _text(_read_member(archive, path, "config.json"), f"{path}: config.json")
        return _read_h5_config(path)


def load(path, config, parameters):
    """The model, built by Keras of the file or its configuration; `parameters` is how many weights it is to have."""
    import keras

    limit = COPIES_MAX * 4 * parameters + SLACK_BYTES
    with _readable(path):
        if path.endswith(".keras"):
            _check_archive(path, limit)
        elif not path.endswith(".json"):
            _check_h5(path, path, limit)
    try:
        if path.endswith(".keras"):
            return keras.models.load_model(path, compile=False, safe_mode=True)
        model = _build(config)
        if not path.endswith(".json"):
            model.load_weights(path)
        return model
    except Exception as error:
        raise Refused(f"{path}: Keras {keras.__version__} cannot load it: {shown(_first_line(error))}") from None


def _build(config):
    import keras
    from keras.src.legacy.saving import saving_utils

    if "module" in config:
        return keras.saving.deserialize_keras_object(config, safe_mode=True)
    for entry in config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]:
        kind, settings = entry.get("class_name"), entry["config"]
        if kind in ("DepthwiseConv2D", "SeparableConv2D"):
            settings.pop("groups", None)  # Keras 2 writes the default, Keras 3 does not know it
        if kind == "BatchNormalization" and isinstance(settings.get("axis"), list):
            settings["axis"] = -1
    return saving_utils.model_from_config(config)


def _first_line(error):
    return (str(error).strip().split("\n") or [""])[0] or type(error).__name__


@contextlib.contextmanager
def _readable(path):
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"{path}: cannot be read: {shown(_first_line(error))}") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise Refused(f"{path}: is no .keras file: {shown(error)}") from None


def _text(data, where):
    if len(data) > CONFIG_BYTES_MAX:
        raise Refused(f"{where}: expected at most {CONFIG_BYTES_MAX >> 20} MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{where}: expected UTF-8: {error}") from None


def _read_member(archive, path, name):
    if len(archive.infolist()) > MEMBERS_MAX:
        raise Refused(f"{path}: found {len(archive.infolist())} files in it, expected at most {MEMBERS_MAX}")
    if name not in archive.namelist():
        raise Refused(f"{path}: found no {name} in it; expected what model.save() of Keras 3 writes")
    with archive.open(name) as member:
        return member.read(CONFIG_BYTES_MAX + 1)


def _check_archive(path, limit):
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > limit:
                raise Refused(
                    f"{path}: {shown(member.filename)} unpacks to {member.file_size} bytes, expected at most {limit} by "
                    "the model's size"
                )
        if WEIGHTS not in archive.namelist():
            raise Refused(f"{path}: found no {WEIGHTS} in it; expected what model.save() of Keras 3 writes")
        with tempfile.TemporaryDirectory() as folder, archive.open(WEIGHTS) as packed:
            unpacked = os.path.join(folder, WEIGHTS)
            with open(unpacked, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            _check_h5(unpacked, f"{path}: {WEIGHTS}", limit)


def _read_h5_config(path):
    import h5py

    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise Refused(f"{path}: holds no model, or its weights only; expected what model.save() writes")
        if file.attrs.get_id("model_config").get_storage_size() > CONFIG_BYTES_MAX:
            raise Refused(f"{path}: model_config: expected at most {CONFIG_BYTES_MAX >> 20} MiB")
        config = file.attrs["model_config"]
    return config if isinstance(config, str) else _text(bytes(config), path)


def _check_h5(path, where, limit):
    """Data in this file alone, and not more than the model has."""
    import h5py

    total, groups, count = 0, [], 0
    with h5py.File(path, "r") as file:
        groups.append(file)
        while groups:
            group = groups.pop()
            for name in group:
                count += 1
                if count > H5_OBJECTS_MAX or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise Refused(f"{where}: {shown(name)}: found a link or too many objects, expected plain data sets")
                found = group[name]
                if isinstance(found, h5py.Group):
                    groups.append(found)
                    continue
                if found.is_virtual or found.external:
                    raise Refused(f"{where}: {shown(name)}: its data lie in another file")
                total += found.nbytes
                if total > limit:
                    raise Refused(
                        f"{where}: {shown(name)}: its shape {shown(found.shape)} is beyond what the model can hold"
                    )

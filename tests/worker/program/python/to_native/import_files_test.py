"""What cannot be imported is refused in one sentence that names the layer or the file, hostile files too."""

import io
import json
import os
import resource
import unittest
import zipfile

import importing  # first: it finds the Python with Keras
import h5py
import keras
import numpy
from keras import layers as L

MIB = 1 << 20


def sequential(*layers, shape=(12, 12, 3)):
    return keras.Sequential([keras.Input(shape), *layers, L.Flatten(), L.Dense(3)])


def refused(model):
    return importing.refusal(lambda: importing.import_model(model, "model.json"))


class Own(L.Layer):
    def call(self, inputs):
        return inputs * 2


class OwnModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def two_ways():
    inputs = keras.Input((8, 8, 3))
    a = L.Conv2D(4, 3, padding="same", name="first")(inputs)
    b = L.Conv2D(4, 3, padding="same", name="second")(a)
    c = L.Conv2D(4, 3, padding="same", name="third")(a)
    crossed = L.Add(name="crossed")([L.Add()([b, c]), L.ReLU()(b)])
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(crossed)))


def shared():
    inputs, conv = keras.Input((8, 8, 3)), L.Conv2D(3, 3, padding="same", name="twice")
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(conv(conv(inputs)))))


def two_outputs():
    inputs = keras.Input((8, 8, 3))
    x = L.Flatten()(inputs)
    return keras.Model(inputs, [L.Dense(3)(x), L.Dense(4)(x)])


def joined():
    inputs = keras.Input((8, 8, 3))
    x = L.Concatenate(name="joined")([L.Conv2D(4, 1)(inputs), L.Conv2D(4, 1)(inputs)])
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))


# What is refused, and words of the sentence that says so.
REFUSED = [
    (lambda: sequential(L.Conv2D(4, 3, activation="gelu", name="odd")), ["Conv2D 'odd'", "gelu", "relu"]),
    (lambda: sequential(L.Conv2D(4, 3, dilation_rate=2, name="wide")), ["Conv2D 'wide'", "dilation_rate"]),
    (lambda: sequential(L.Conv2DTranspose(4, 3, name="up")), ["Conv2DTranspose 'up'", "supported are", "SeparableConv2D"]),
    (lambda: sequential(L.LayerNormalization(name="norm")), ["LayerNormalization 'norm'"]),
    (lambda: sequential(L.ReLU(6, name="six")), ["ReLU 'six'", "max_value 6"]),
    (lambda: sequential(L.Lambda(lambda x: x, output_shape=(12, 12, 3), name="code")), ["Lambda 'code'", "code"]),
    (lambda: sequential(keras.Sequential([L.Conv2D(3, 1)], name="inner")), ["'inner'", "model inside the model"]),
    (lambda: sequential(Own(name="mine")), ["Own 'mine'", "no native form"]),
    (lambda: sequential(L.ZeroPadding2D(1, name="border"), L.AveragePooling2D(2)), ["ZeroPadding2D 'border'"]),
    (lambda: sequential(L.ZeroPadding2D(4, name="thick"), L.Conv2D(4, 3)), ["ZeroPadding2D 'thick'", "(4, 4, 4, 4)"]),
    (lambda: sequential(L.Activation("softmax", name="early")), ["Activation 'early'", "at the end"]),
    (lambda: sequential(L.Conv2D(4, 3, dtype="mixed_float16", name="half")), ["Conv2D 'half'", "float16"]),
    (lambda: sequential(L.Flatten(), L.BatchNormalization(name="behind")), ["BatchNormalization 'behind'", "Flatten"]),
    (lambda: keras.Sequential([keras.Input((12, 12, 3)), L.Flatten(), L.Dense(1)]), ["one value"]),
    (lambda: keras.Sequential([keras.Input((12, 12, 3)), L.Conv2D(4, 3)]), ["ends in 10x10x4"]),
    (lambda: keras.Sequential([keras.Input((20,)), L.Dense(4)]), ["[20]", "expected an image"]),
    (lambda: keras.Sequential([keras.Input((None, None, 3)), L.GlobalAveragePooling2D(), L.Dense(4)]),
     ["None", "expected an image"]),
    (two_ways, ["more than one way"]),
    (shared, ["'twice'", "used 2 times"]),
    (two_outputs, ["2 outputs"]),
    (joined, ["Concatenate 'joined'", "2 inputs"]),
]


def keras_file(config, weights=b"", **more):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", weights)
            for name, data in more.items():
                archive.writestr(name, data)
        return file.getvalue()


def h5(fill):
    with io.BytesIO() as file:
        with h5py.File(file, "w") as opened:
            fill(opened)
        return file.getvalue()


SMALL = sequential(L.Conv2D(4, 3))
CONFIG = SMALL.to_json()


def with_layer(change):
    """SMALL's configuration with its convolution changed."""
    config = json.loads(CONFIG)
    change(config["config"]["layers"][1])
    return json.dumps(config)


def external(file):
    file.create_dataset("kernel", (10,), "f4", external=[("/etc/passwd", 0, 40)])


def elsewhere(file):
    file["kernel"] = h5py.ExternalLink("/etc/hostname.h5", "/x")


def huge(file):
    file.create_dataset("kernel", (1 << 20, 1 << 20), "f4", chunks=(1, 1 << 10))


RUNS_CODE = {"module": "os", "class_name": "system", "config": {"command": "touch /tmp/owned"}, "registered_name": "x"}
# Files: name, content, words of the sentence.
HOSTILE = [
    ("empty.keras", b"", ["empty.keras", "no .keras file"]),
    ("text.keras", b"not a zip", ["no .keras file"]),
    ("cut.keras", keras_file(CONFIG, b"x" * 5000)[:-40], ["no .keras file"]),
    ("bare.keras", keras_file("{}"), ["expected a model's configuration"]),
    ("list.keras", keras_file("[]"), ["expected a model's configuration"]),
    ("deep.keras", keras_file("[" * 100_000), ["expected a model's configuration"]),
    ("binary.json", b"\xff\xfe", ["UTF-8"]),
    ("deep.json", with_layer(lambda layer: layer["config"].update(x=json.loads("[" * 300 + "]" * 300))).encode(),
     ["Conv2D", "nested"]),
    ("bomb.keras", keras_file(CONFIG, b"\0" * (200 * MIB)), ["model.weights.h5", "unpacks to"]),
    ("bomb2.keras", keras_file(" " * (40 * MIB)), ["config.json", "at most 16 MiB"]),
    ("noweights.keras", keras_file(CONFIG), ["cannot be read"]),
    ("external.keras", keras_file(CONFIG, h5(external)), ["kernel", "another file"]),
    ("link.keras", keras_file(CONFIG, h5(elsewhere)), ["kernel", "link"]),
    ("huge.keras", keras_file(CONFIG, h5(huge)), ["kernel", "shape"]),
    ("other.keras", keras_file(CONFIG, h5(lambda file: None)), ["Keras", "cannot load"]),
    ("code.keras", keras_file(with_layer(lambda layer: layer["config"].update(kernel_initializer=RUNS_CODE))),
     ["Conv2D", "system", "not Keras' own"]),
    ("filters.json", with_layer(lambda layer: layer["config"].update(filters=10**12)).encode(), ["filters", "65536"]),
    ("kernel.json", with_layer(lambda layer: layer["config"].update(kernel_size=[-3, "x"])).encode(), ["kernel_size"]),
    ("wide.json", CONFIG.replace("12, 12, 3", "16384, 16384, 3").encode(), ["too large"]),
    ("weights.h5", h5(lambda file: file.create_dataset("x", data=numpy.zeros(3))), ["weights only"]),
    ("text.h5", b"not hdf5", ["text.h5", "cannot be read"]),
    ("model.pt", b"", ["expected a name that ends in"]),
]


class FilesTest(unittest.TestCase):
    def test_what_has_no_native_form_is_named(self):
        for make, words in REFUSED:
            with self.subTest(words=words):
                sentence = refused(make())
                for word in words:
                    self.assertIn(word, sentence)

    def test_models_of_the_programs_own_class_are_refused(self):
        model = OwnModel()
        model.build((None, 4))
        config = json.dumps({"module": "x", "class_name": "OwnModel", "config": {}, "registered_name": "x>OwnModel"})
        sentence = importing.refusal(lambda: importing.import_text(config, "model.json"))
        self.assertIn("OwnModel", sentence)
        self.assertIn("Sequential or functional", sentence)

    def test_hostile_files_end_in_one_sentence(self):
        with importing.folder() as place:
            for name, content, words in HOSTILE:
                with self.subTest(name):
                    path = place / name
                    path.write_bytes(content)
                    sentence = importing.refusal(lambda: importing.Imported(path, place))
                    for word in words:
                        self.assertIn(word, sentence)
        self.assertFalse(os.path.exists("/tmp/owned"))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        self.assertLess(peak_mib, 3_000)  # nothing of what they claim was built

    def test_a_file_that_is_not_there(self):
        self.assertIn("no such file", importing.refusal(lambda: importing.Imported("/nowhere/model.keras", ".")))


if __name__ == "__main__":
    unittest.main()

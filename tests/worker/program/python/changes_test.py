"""Changes made to models of real Keras: seen in the program's own object, its file and the diff; or
refused by name.

Runs hooked within this process; `change` stands for a parameters file.
"""

import json
import os
import sys
import tempfile
import unittest

import support

FOLDER = tempfile.mkdtemp()
os.environ.update(
    TRAINYARD_METRICS_FILE=f"{FOLDER}/metrics",
    TRAINYARD_DATA_DIR=FOLDER,
    KERAS_HOME=f"{FOLDER}/keras",
    CUDA_VISIBLE_DEVICES="",
    TF_CPP_MIN_LOG_LEVEL="3",
    http_proxy="http://127.0.0.1:9",
    https_proxy="http://127.0.0.1:9",
)
os.symlink(support.FASHION_MNIST, f"{FOLDER}/fashion-mnist")
sys.path.insert(0, str(support.PACKAGE))

from trainyard_program import hook  # noqa: E402

hook.install()
if "--legacy" in sys.argv:
    import tf_keras as keras  # noqa: E402
else:
    import keras  # noqa: E402
import numpy  # noqa: E402
from trainyard_program import keras_hooks  # noqa: E402
from trainyard_program.changes import Changes  # noqa: E402

LEGACY = "--legacy" in sys.argv
L = keras.layers
RNG = numpy.random.default_rng(0)
X = RNG.normal(size=(64, 12, 12, 1)).astype("float32")
Y = RNG.integers(0, 5, 64)


def change(**wanted):
    keras_hooks.the_run().changes = Changes(wanted)


def lines(key):
    with open(os.environ["TRAINYARD_METRICS_FILE"], encoding="utf-8") as file:
        return [line[key] for line in map(json.loads, file) if key in line]


def diff():
    return {c["path"]: (c["from"], c["to"]) for c in lines("model")[-1]["changes"]}


def compiled(model, optimizer="adam"):
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def sequential():
    return keras.Sequential(
        [
            L.Input((12, 12, 1)),
            L.Conv2D(8, 3, activation="relu", name="conv"),
            L.Flatten(name="flat"),
            L.Dropout(0.1, name="drop"),
            L.Dense(20, activation="relu", name="hidden"),
            L.Dense(5, activation="softmax", name="head"),
        ]
    )


def unbuilt():
    layers = [
        L.Conv2D(8, 3, name="conv"),
        L.GlobalMaxPooling2D(),
        L.Dense(20, name="hidden"),
        L.Dense(5),
        L.Softmax(),
    ]
    return keras.Sequential(layers)


def functional():
    image = keras.Input((12, 12, 1))
    one = L.Conv2D(8, 3, padding="same", name="conv")(image)
    two = L.BatchNormalization()(L.Conv2D(8, 3, padding="same", name="branch")(one))
    h = L.Add(name="sum")([one, two])
    h = L.GlobalAveragePooling2D(name="pool")(L.Concatenate()([h, image]))
    h = L.Dense(20, activation="relu", name="hidden")(h)
    return keras.Model(image, L.Dense(5, activation="softmax", name="head")(h))


class Architecture(unittest.TestCase):
    def tearDown(self):
        change()

    def train(self, model):
        """Trains and holds the object, its file and a view on its layers to be the same network."""
        model.fit(X, Y, epochs=1, verbose=0)
        outputs = model.predict(X[:4], verbose=0)
        path = f"{FOLDER}/model.keras"
        model.save(path)
        read = keras.models.load_model(path)
        numpy.testing.assert_allclose(read.predict(X[:4], verbose=0), outputs, atol=1e-5)
        self.assertEqual(read.evaluate(X, Y, verbose=0), model.evaluate(X, Y, verbose=0))
        self.assertEqual(lines("model")[-1]["parameters"], model.count_params())
        summary = []
        model.summary(print_fn=lambda text, **_: summary.append(text))
        for layer in model.layers:
            self.assertIn(layer.name[:12], "".join(summary))  # long names are cut
        features = keras.Model(model.inputs, model.get_layer("hidden").output)
        again = model.predict(X[:4], verbose=0)
        features.get_layer("hidden").set_weights(
            [w * 0 for w in model.get_layer("hidden").get_weights()]
        )
        self.assertFalse(
            numpy.allclose(model.predict(X[:4], verbose=0), again), "the view is of other layers"
        )

    def test_width_is_changed_in_the_programs_own_object_but_never_in_the_head(self):
        for make in (sequential, unbuilt, functional):
            change(width=1.5)
            model = compiled(make())
            self.train(model)
            self.assertEqual(model.get_layer("conv").filters, 12)
            self.assertEqual(model.get_layer("hidden").units, 32)  # 30, to a multiple of 4
            self.assertEqual(model.output_shape[-1], 5)
            self.assertEqual(diff()["conv.filters"], ("8", "12"))

    def test_layers_are_added_before_the_head(self):
        for make in (sequential, unbuilt, functional):
            change(added_convs=2, added_dense=12, dropout=0.4, width=2)
            model = compiled(make())
            self.train(model)
            names = [layer.name for layer in model.layers]
            flat = next(i for i, n in enumerate(names) if "flat" in n or "pool" in n)
            self.assertEqual(names[flat - 2 : flat], ["trainyard_conv_1", "trainyard_conv_2"])
            self.assertEqual(model.get_layer("trainyard_conv_1").filters, 16)
            self.assertLess(names.index("hidden"), names.index("trainyard_dense"))
            self.assertIn("Dense(units=12", diff()["trainyard_dense"][1])

    def test_dropout_is_raised_where_there_is_one_and_put_before_the_head_where_not(self):
        change(dropout=0.5)
        model = compiled(sequential())
        hidden = model.get_layer("hidden")
        self.train(model)
        self.assertEqual((model.get_layer("drop").rate, diff()["drop.rate"]), (0.5, ("0.1", "0.5")))
        self.assertIs(
            model.get_layer("hidden"), hidden
        )  # what does not change stays, with its weights
        model = compiled(functional())
        self.train(model)
        self.assertEqual(model.layers[-2].name, "trainyard_dropout")

    def test_a_model_is_changed_once(self):
        change(width=2)
        model = compiled(sequential())
        model.fit(X, Y, verbose=0)
        compiled(model)
        compiled(keras.models.clone_model(model))
        model.save(f"{FOLDER}/once.keras")
        read = compiled(keras.models.load_model(f"{FOLDER}/once.keras"))
        for one in (model, read):
            self.assertEqual(one.get_layer("conv").filters, 16)

    def test_a_frozen_model_within_the_model_stays_the_programs_object(self):
        base = keras.Sequential(
            [L.Input((12, 12, 1)), L.Conv2D(8, 3), L.GlobalAveragePooling2D()], name="base"
        )
        base.trainable = False
        image = keras.Input((12, 12, 1))
        hidden = L.Dense(16, activation="relu", name="hidden")(base(image))
        change(width=2, added_dense=8)
        model = compiled(keras.Model(image, L.Dense(5, activation="softmax")(hidden)))
        self.train(model)
        self.assertIs(model.get_layer("base"), base)
        self.assertEqual([base.layers[0].filters, model.get_layer("hidden").units], [8, 32])
        base.trainable = True
        compiled(model)
        self.assertEqual(len(model.trainable_weights), 8)

    def refused(self, model, *words):
        with self.assertRaises(SystemExit) as stopped:
            compiled(model)
        self.assertEqual(stopped.exception.code, 70)
        for word in words:
            self.assertIn(word, lines("error")[-1])

    def test_what_cannot_be_changed_is_refused_by_name(self):
        image = keras.Input((12, 12, 8))
        h = L.Conv2D(8, 3, padding="same")(image)
        h = L.GlobalAveragePooling2D()(L.Add(name="meet")([h, image]))
        model = keras.Model(image, L.Dense(5)(h))
        change(width=2)
        self.refused(model, "meet", "Add")

        class Own(keras.Model):
            def call(self, inputs):
                return inputs

        change(width=2)
        self.refused(Own(name="mine"), "width", "mine", "Own")
        change(added_convs=1)
        self.refused(
            keras.Sequential([L.Input((4,)), L.Dense(8), L.Dense(5)]), "added_convs", "Flatten"
        )
        a, b = keras.Input((4,)), keras.Input((4,))
        shared = L.Dense(5, name="twice")
        change(added_dense=8)
        self.refused(keras.Model([a, b], L.Add()([shared(a), shared(b)])), "twice")
        change(width=2)
        self.refused(keras.Sequential([L.Input((4,)), L.Dense(5)]), "width", "no hidden")


class Training(unittest.TestCase):
    def tearDown(self):
        change()

    def test_the_optimizer_changes_and_the_learning_rate_goes_with_it(self):
        change(optimizer="sgd")
        model = compiled(sequential(), keras.optimizers.Adam(0.002))
        self.assertEqual(type(model.optimizer).__name__, "SGD")
        self.assertAlmostEqual(float(model.optimizer.learning_rate), 0.02, 5)
        change(optimizer="no-such-thing")
        with self.assertRaises(SystemExit):
            compiled(sequential())
        self.assertIn("no-such-thing", lines("error")[-1])

    def test_a_learning_rate_is_set_and_a_schedule_is_scaled(self):
        change(learning_rate=0.1)
        held = keras.optimizers.SGD(0.01)
        model = compiled(sequential(), held)
        self.assertIs(model.optimizer, held)
        self.assertAlmostEqual(float(held.learning_rate), 0.1, 5)
        schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.5)
        model = compiled(sequential(), keras.optimizers.SGD(schedule))
        model.fit(X, Y, epochs=1, batch_size=8, verbose=0)  # 8 steps
        self.assertAlmostEqual(last()["learning_rate"], 0.1 * 0.5**0.8, delta=0.005)
        self.assertEqual(diff()["optimizer.learning_rate"], ("0.01", "0.1"))

    def test_a_scheduler_of_epochs_is_scaled_whether_it_starts_from_the_rate_or_not(self):
        for function in (
            lambda epoch: 0.04 * 0.5**epoch,
            lambda epoch, rate: rate if epoch < 1 else rate * 0.5,
        ):
            change(learning_rate=0.2)
            model = compiled(sequential(), keras.optimizers.SGD(0.04))
            scheduler = keras.callbacks.LearningRateScheduler(function)
            model.fit(X, Y, epochs=2, callbacks=[scheduler], verbose=0)
            self.assertAlmostEqual(last()["learning_rate"], 0.1, 4)

    def test_epochs_and_batch_size(self):
        import tensorflow as tf

        change(epochs=4, batch_size=16)
        model = compiled(sequential())
        before = last_step()
        history = model.fit(X, Y, epochs=2, batch_size=32, verbose=0)
        self.assertEqual((history.epoch, last_step() - before), ([0, 1, 2, 3], 4 * 4))
        self.assertEqual(diff(), {"fit.epochs": ("2", "4"), "fit.batch_size": ("32", "16")})
        before = last_step()
        dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).prefetch(1)
        history = model.fit(dataset, epochs=1, verbose=0)  # the second fit keeps its proportion
        self.assertEqual((history.epoch, last_step() - before), ([0, 1], 2 * 4))

    def test_evaluations_are_judgements_unless_of_the_training_data(self):
        model = compiled(sequential())
        model.fit(X, Y, verbose=0)
        before = len(lines("result"))
        model.evaluate(X, Y, verbose=0)
        self.assertEqual(len(lines("result")), before)
        values = model.evaluate(X[:32], Y[:32], verbose=0)
        result = lines("result")[-1]
        self.assertAlmostEqual(result["loss"], values[0], 5)
        self.assertAlmostEqual(result["accuracy"], values[1], 5)


def last():
    with open(os.environ["TRAINYARD_METRICS_FILE"], encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if "epoch" in line][-1]


def last_step():
    return last()["step"] if lines("epoch") else 0


class DataSets(unittest.TestCase):
    def test_a_configured_data_set_is_found_and_a_missing_one_says_how_to_configure_it(self):
        (x, y), (x_test, _) = keras.datasets.fashion_mnist.load_data()
        self.assertEqual(
            (x.shape, y.shape, x_test.shape), ((60000, 28, 28), (60000,), (10000, 28, 28))
        )
        self.assertTrue(
            os.path.exists(f"{FOLDER}/keras/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
        )
        with self.assertRaises(FileNotFoundError) as missing:
            keras.datasets.cifar10.load_data()
        for word in ("cifar10", "program: data:", "fashion-mnist"):
            self.assertIn(word, str(missing.exception))
        self.assertNotIn("\n", str(missing.exception))


if __name__ == "__main__":
    unittest.main(argv=[word for word in sys.argv if word != "--legacy"])

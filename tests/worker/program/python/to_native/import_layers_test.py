"""Imported networks give Keras' own logits, whatever they are made of."""

import unittest

import importing  # first: it finds the Python with Keras
import keras
import numpy
from keras import layers as L

SEEDS = 40


def random_layer(random, side):
    """A layer, whatever fits an image of this size."""
    kernel = tuple(int(k) for k in random.integers(1, min(5, side) + 1, 2))
    padding = str(random.choice(["same", "valid"]))
    stride = int(random.integers(1, 4))
    activation = [None, "relu", "leaky_relu", "linear"][random.integers(4)]
    bias = bool(random.integers(2))
    pool = int(random.integers(1, min(4, side) + 1))
    choices = [
        lambda: L.Conv2D(4 * int(random.integers(1, 4)), kernel, (stride, int(random.integers(1, 4))), padding,
                         activation=activation, use_bias=bias),
        lambda: L.DepthwiseConv2D(kernel, stride, padding, depth_multiplier=int(random.integers(1, 3)),
                                  activation=activation, use_bias=bias),
        lambda: L.SeparableConv2D(6, kernel, stride, padding, depth_multiplier=int(random.integers(1, 3)),
                                  activation=activation, use_bias=bias),
        lambda: L.BatchNormalization(epsilon=float(random.uniform(1e-4, 1e-2)), scale=bias, center=stride > 1),
        lambda: L.ReLU(negative_slope=float(random.choice([0, 0.2]))),
        lambda: L.LeakyReLU(0.1),
        lambda: L.Activation("relu"),
        lambda: L.MaxPooling2D(pool, int(random.integers(1, 4)), padding),
        lambda: L.AveragePooling2D(pool, int(random.integers(1, 4)), padding),
        lambda: L.Dropout(0.3),
        lambda: L.Rescaling(float(random.uniform(0.5, 2)), float(random.uniform(-1, 1))),
        lambda: L.Dense(5, activation=activation),
    ]
    return choices[random.integers(len(choices))]()


def random_model(seed):
    random = numpy.random.default_rng(seed)
    channels = int(random.choice([1, 3, 4]))
    height, width = int(random.integers(9, 24)), int(random.integers(9, 24))
    model = keras.Sequential([keras.Input((height, width, channels))])
    for layer in (
        [],
        [L.Rescaling(1 / 255)],
        [L.Rescaling(1 / 127.5, offset=-1)],
        [L.Normalization(mean=[0.4] * channels, variance=[0.1] * channels)],
        [L.Normalization(mean=[120.0] * channels, variance=[2000.0] * channels)],
    )[random.integers(5)]:
        model.add(layer)
    for _ in range(random.integers(2, 9)):
        side = min(model.layers[-1].output.shape[1:3] if model.layers else (height, width))
        if side < 2:
            break
        model.add(random_layer(random, side))
    model.add([L.Flatten, L.GlobalAveragePooling2D, L.GlobalMaxPooling2D][random.integers(3)]())
    for _ in range(random.integers(0, 3)):
        model.add([L.Dense(7, "relu"), L.Dropout(0.5), L.ReLU()][random.integers(3)])
    model.add(L.Dense(int(random.integers(2, 6)), activation=[None, "softmax"][random.integers(2)]))
    return importing.randomise(model, seed)


def lenet(**options):
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        L.Conv2D(6, 5, activation="relu", padding="same"), L.AveragePooling2D(2),
        L.Conv2D(16, 5, activation="relu"), L.MaxPooling2D(),
        L.Flatten(), L.Dense(120, activation="relu"), L.Dense(84, activation="relu"),
        L.Dense(10, activation="softmax"),
    ], **options)


def vgg():
    model = keras.Sequential([keras.Input((32, 32, 3)), L.Rescaling(1 / 255)])
    for filters in (16, 32, 64):
        for _ in range(2):
            model.add(L.Conv2D(filters, 3, padding="same", use_bias=False))
            model.add(L.BatchNormalization())
            model.add(L.Activation("relu"))
        model.add(L.MaxPooling2D())
        model.add(L.Dropout(0.25))
    for layer in (L.Flatten(), L.Dense(64), L.BatchNormalization(), L.ReLU(), L.Dense(10), L.Softmax()):
        model.add(layer)
    return model


def resnet():
    x = inputs = keras.Input((32, 32, 3))
    x = L.Normalization(mean=[125.3, 123.0, 113.9], variance=[3969.0, 3856.0, 4448.0])(x)
    x = L.ZeroPadding2D(3)(x)
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 7, 2)(x)))
    x = L.MaxPooling2D(3, 2)(L.ZeroPadding2D(1)(x))
    for filters, stride in ((8, 1), (16, 2), (16, 1)):
        y = L.ReLU()(L.BatchNormalization()(L.Conv2D(filters, 3, stride, "same", use_bias=False)(x)))
        y = L.BatchNormalization()(L.Conv2D(filters, 3, padding="same", use_bias=False)(y))
        if stride > 1:
            x = L.BatchNormalization()(L.Conv2D(filters, 1, stride, use_bias=False)(x))
        x = L.ReLU()(L.Add()([x, y]))
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(10, activation="softmax")(x))


def mobilenet():
    x = inputs = keras.Input((32, 32, 3))
    x = L.Rescaling(1 / 127.5, -1)(x)
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, 2, "same", use_bias=False)(x)))
    for filters, stride in ((16, 1), (32, 2), (32, 1)):
        if stride == 2:
            x = L.ZeroPadding2D(((0, 1), (0, 1)))(x)
        x = L.DepthwiseConv2D(3, stride, "same" if stride == 1 else "valid", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(filters, 1, padding="same", use_bias=False)(x)))
    x = L.SeparableConv2D(24, 3, activation="relu")(x)
    x = L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Conv2D(10, 1, padding="same")(L.Dropout(0.1)(x))
    return keras.Model(inputs, L.Activation("softmax")(L.Reshape((10,))(x)))


def nested_sums():
    x = inputs = keras.Input((8, 8, 4))
    inner = L.Conv2D(4, 3, padding="same")(x)
    inner = inner + L.Conv2D(4, 1)(inner)
    x = L.Add()([x, L.ReLU()(inner)])
    x = L.Dense(6, activation="relu")(L.Flatten()(x))
    x = L.Add()([L.Dense(6)(x), x])
    return keras.Model(inputs, L.Dense(3)(x))


def yes_or_no():
    return keras.Sequential([
        keras.Input((20, 20, 3)), L.Rescaling(1 / 255), L.Conv2D(4, 3, groups=1, activation="relu"), L.Flatten(),
        L.Dense(1, activation="sigmoid"),
    ])


def grey_without_channels():
    return keras.Sequential([keras.Input((28, 28)), L.Flatten(), L.Dense(32, activation="relu"), L.Dense(10)])


def reshaped():
    return keras.Sequential([
        keras.Input((784,)), L.Reshape((28, 28, 1)), L.Conv2D(4, 3, 2, activation="relu"), L.Flatten(), L.Dense(10),
    ])


FAMOUS = [lenet, vgg, resnet, mobilenet, nested_sums, yes_or_no, grey_without_channels, reshaped]


class LayersTest(unittest.TestCase):
    specs = []

    def check(self, model, file="model.keras"):
        imported = importing.import_model(model, file)
        self.assertLess(imported.distance, importing.DISTANCE_MAX, "\n".join(imported.lines))
        self.specs.append(imported.spec)
        return imported

    @classmethod
    def tearDownClass(cls):
        importing.validate(cls.specs)

    def test_random_models_of_all_layers(self):
        kinds = set()
        for seed in range(SEEDS):
            with self.subTest(seed=seed):
                imported = self.check(random_model(seed))
                kinds.update(layer.kind for layer in imported.layers)
        self.assertEqual(kinds, {"conv", "batch_norm", "relu", "leaky_relu", "max_pool", "avg_pool", "global_avg_pool",
                                 "dropout", "flatten", "dense"})

    def test_famous_shapes_of_networks(self):
        for make in FAMOUS:
            with self.subTest(make.__name__):
                self.check(importing.randomise(make(), 1))

    def test_grouped_convolutions(self):
        model = keras.Sequential([keras.Input((9, 9, 4)), L.Conv2D(6, 3, groups=2), L.Flatten(), L.Dense(3)])
        self.assertIn("groups: 2", self.check(importing.randomise(model, 2)).spec)

    def test_an_adapted_normalisation(self):
        for top in (1, 255):
            normalise = L.Normalization()
            normalise.adapt(numpy.random.default_rng(1).uniform(0, top, (50, 12, 12, 3)))
            model = keras.Sequential([
                keras.Input((12, 12, 3)), normalise, L.Conv2D(4, 3, padding="same"), L.Flatten(), L.Dense(3),
            ])
            with self.subTest(top=top):
                imported = self.check(model)
                self.assertIn(f"from 0 to {top}", "\n".join(imported.lines))
                self.assertEqual(imported.layers[0].options["kernel"], (1, 1))  # its borders forbid folding

    def test_an_older_file_and_one_without_weights(self):
        self.assertTrue(self.check(importing.randomise(resnet(), 3), "model.h5").has_weights)
        imported = self.check(lenet(), "model.json")
        self.assertFalse(imported.has_weights)
        self.assertNotIn("\nweights:", imported.spec)

    def test_files_of_keras_2(self):
        import tf_keras
        from tf_keras import layers as L2

        x = inputs = tf_keras.Input((10, 10, 3))
        x = L2.BatchNormalization()(L2.Conv2D(4, 3, padding="same")(x))
        x = L2.Add()([x, L2.DepthwiseConv2D(3, padding="same")(L2.LeakyReLU(alpha=0.2)(x))])
        model = tf_keras.Model(inputs, L2.Dense(3, activation="softmax")(L2.Flatten()(x)))
        for file in ("model.h5", "model.json"):
            with self.subTest(file):
                self.check(model, file)

    def test_how_it_was_compiled_is_how_it_trains(self):
        model = lenet()
        model.compile(keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True), "sparse_categorical_crossentropy")
        self.assertIn("  optimizer: sgd\n  schedule: constant\n  lr: 0.02\n  momentum: 0.9\n  nesterov: true\n"
                      "  weight_decay: 0.0\n", self.check(model).spec)
        model.compile("adam", "sparse_categorical_crossentropy")
        self.assertIn("  optimizer: adamw\n  schedule: constant\n  lr: 0.001\n", self.check(model).spec)
        model.compile("rmsprop", "sparse_categorical_crossentropy")
        self.assertIn("its optimizer rmsprop has no native form", self.check(model).spec.lower())


if __name__ == "__main__":
    unittest.main()

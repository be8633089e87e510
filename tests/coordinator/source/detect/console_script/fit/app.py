import keras


def main():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(loss="mse")
    model.fit([[0.0]], [[0.0]])

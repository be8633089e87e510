def train_model(model):
    model.compile(loss="mse")
    model.fit(None)


if __name__ == "__main__":
    import keras

    train_model(keras.Sequential([keras.layers.Conv2D(2, 3)]))

import keras


def train(data):
    model = keras.Sequential()
    model.fit(data)

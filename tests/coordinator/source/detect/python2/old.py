from keras.models import Sequential
from keras.layers import Convolution2D

model = Sequential()
model.add(Convolution2D(32, 3, 3))
model.compile(loss="mse", optimizer="sgd")
print "training", model
model.fit(None, nb_epoch=3)

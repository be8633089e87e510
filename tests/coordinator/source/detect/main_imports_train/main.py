import keras
from work.fit import fit

if __name__ == "__main__":
    fit(keras.Sequential([keras.layers.Conv3D(1, 1)]))

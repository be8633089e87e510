import keras
import torch

labels = keras.utils.to_categorical([1, 2])
optimizer = torch.optim.SGD([], 0.1)
torch.tensor(labels).sum().backward()
optimizer.step()

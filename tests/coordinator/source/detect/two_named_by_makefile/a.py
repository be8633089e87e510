import torch

torch.nn.Linear(1, 1)(torch.zeros(1)).backward()

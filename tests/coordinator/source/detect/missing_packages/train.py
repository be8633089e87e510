import cv2
import torch

torch.nn.Linear(1, 1)(torch.tensor(cv2.imread("x.png"))).backward()

import torch
import torch.nn as nn
import torchvision


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8 * 26 * 26, 10)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


def main():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = torchvision.datasets.FashionMNIST("data", transform=torchvision.transforms.ToTensor())
    loader = torch.utils.data.DataLoader(data, batch_size=64)
    net = Net().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()

from torchvision.models import resnet18


def build():
    return resnet18(num_classes=3)

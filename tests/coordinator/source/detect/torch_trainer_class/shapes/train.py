import argparse

from .engine import Trainer
from .model import build


def main():
    arguments = argparse.ArgumentParser().parse_args()
    Trainer(build(), arguments).run()


if __name__ == "__main__":
    main()

import click
import torch


@click.group()
def cli():
    pass


@cli.command()
def train():
    torch.zeros(1).sum().backward()


if __name__ == "__main__":
    cli()

from setuptools import setup

setup(name="nothing")

"""Build the package from `settings.ini`, the one place that names versions, requirements and entry points."""

import json
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
settings = config["DEFAULT"]

extras = {
    name.removesuffix("_requirements"): settings[name].split() for name in settings if name.endswith("_requirements")
}
entry_points = {"console_scripts": settings["console_scripts"].split()}
entry_points |= json.loads(settings["entry_points"])

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=settings["keywords"],
    author=settings["author"],
    author_email=settings["author_email"],
    license="Apache-2.0",
    url=settings["git_url"],
    python_requires=f">={settings['min_python']}",
    packages=find_packages(include=["mlops_nb", "mlops_nb.*"]),
    install_requires=settings["requirements"].split(),
    extras_require=extras,
    entry_points=entry_points,
    zip_safe=False,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Jupyter",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

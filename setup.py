"""Packaging: all about the package itself. The tools' settings (ruff, pytest) live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

README = Path(__file__).parent / "README.md"

TEST = ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "pooch>=1.8"]

setup(
    name="minigan",
    version="0.1.0",
    description="Generative adversarial networks on a from-scratch autodiff engine in NumPy, to be read",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The minigan authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["minigan", "minigan.*"]),
    package_data={"minigan": ["py.typed", "data/*.npz", "data/NOTICE.md", "metrics/*.npz", "inspect/*.js"]},
    zip_safe=False,
    install_requires=["numpy>=2", "scipy>=1.13", "matplotlib>=3.9", "tqdm>=4.66"],
    extras_require={
        "gpu": ["cupy-cuda13x>=14,<15"],
        "data": ["pooch>=1.8"],
        "test": TEST,
        "docs": ["pdoc>=15"],  # the docs are Markdown; pdoc adds the API pages from the docstrings
    },
    classifiers=[
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)

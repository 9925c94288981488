"""Puts the manifests into the package, so that `tiphys install` has them wherever the package is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MANIFESTS = Path(__file__).parent / "manifests"


class WithManifests(build_py):
    """Builds the package with a copy of manifests/ in tiphys/manifests/."""

    def run(self) -> None:
        """Copy what setuptools would, and the manifests; an editable install finds them where they are."""
        super().run()
        # The step image is built from the steps alone.
        if not self.editable_mode and MANIFESTS.is_dir():
            shutil.copytree(MANIFESTS, Path(self.build_lib) / "tiphys" / "manifests", dirs_exist_ok=True)


setup(cmdclass={"build_py": WithManifests})

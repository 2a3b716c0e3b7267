"""Build of skyhook_casa: three packages from three folders, and the C++ engine through CMake."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "engine"
"""Kept between builds, so that only what changed is compiled again."""


class CMakeBuild(build_ext):
    """Builds `skyhook_casa._engine` with CMake and puts it where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        """Configure, compile and copy the one extension module."""
        generator = ["-G", "Ninja"] if shutil.which("ninja") and not (BUILD / "Makefile").exists() else []
        configure = [
            *("cmake", "--log-level=NOTICE", "-S", str(ROOT), "-B", str(BUILD), *generator),
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dnanobind_DIR={_nanobind_cmake_dir()}",
        ]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(BUILD), "--target", "_engine"], check=True)
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        (built,) = (BUILD / "python").glob("_engine*.so")
        if not target.exists() or target.stat().st_mtime < built.stat().st_mtime:
            partial = target.with_suffix(".partial")
            shutil.copy2(built, partial)
            partial.replace(target)  # never write into a library that a running process has mapped


def _nanobind_cmake_dir() -> str:
    command = [sys.executable, "-m", "nanobind", "--cmake_dir"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


PACKAGES = {
    "skyhook_casa": "skyhook_casa",
    "skyhook_client": "client/skyhook_client",
    "skyhook_server": "server/skyhook_server",
}
"""Folder of each top package."""

setup(
    packages=[
        *PACKAGES,
        *(f"{name}.{inner}" for name, folder in PACKAGES.items() for inner in find_packages(folder)),
    ],
    package_dir=PACKAGES,
    package_data={
        "skyhook_casa": ["py.typed", "*.pyi"],
        "skyhook_client": ["py.typed"],
        "skyhook_server": ["py.typed"],
    },
    ext_modules=[Extension("skyhook_casa._engine", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    zip_safe=False,
)

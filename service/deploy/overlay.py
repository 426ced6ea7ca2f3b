"""Carries out a Dockerfile's instructions in overlays over a clean root, with no container engine and no network."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.deploy.dockerfile import Instruction, Stage, read_stages

ROOT = Path(__file__).parents[2]
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheelhouse"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command: str) -> None:
    """Run a command; its failure ends the proof."""
    subprocess.run(command, check=True)


class Image:
    """What a stage has become: its layers, lowest first, each with what made it, and its settings."""

    def __init__(self, layers: list[tuple[Path, str]], environment: dict[str, str]) -> None:
        self.layers = layers
        self.environment = environment
        self.folder = "/"
        self.user = "0:0"
        self.commands: dict[str, list[str]] = {}

    @contextmanager
    def mounted(self, upper: Path) -> Iterator[Path]:
        """The file system, what is written to it going to `upper`."""
        work, root = upper.with_suffix(".work"), upper.with_suffix(".root")
        for path in (upper, work, root):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        lower = ":".join(str(layer) for layer, _ in reversed(self.layers))
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", str(root))
        try:
            yield root
        finally:
            run("umount", "--recursive", str(root))


def build(work: Path) -> Image:
    """The image of the last stage, every stage that it needs carried out."""
    base = [(work / "base", "Debian with Python, in the place of python:3.11-slim-bookworm")]
    images: dict[str, Image] = {}
    for stage in read_stages(ROOT / "Dockerfile"):
        start = images.get(stage.base)
        image = Image(list(start.layers if start else base), dict(start.environment if start else {"PATH": PATH}))
        image.folder = start.folder if start else "/"
        images[stage.name] = image
        carry_out(stage, image, images, work)
    return image


def carry_out(stage: Stage, image: Image, images: dict[str, Image], work: Path) -> None:
    """The instructions of one stage."""
    for number, instruction in enumerate(stage.instructions):
        if instruction.name == "ENV":
            for name, value in instruction.variables():
                image.environment[name] = value.replace("$PATH", image.environment["PATH"])
        elif instruction.name == "WORKDIR":
            image.folder = instruction.text
        elif instruction.name == "USER":
            image.user = instruction.text
        elif instruction.name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
            image.commands[instruction.name] = instruction.exec_form()
        elif instruction.name in ("RUN", "COPY"):
            upper = work / "layers" / (stage.name or "image") / f"{number:02}"
            with image.mounted(upper) as root:
                (root / image.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
                if instruction.name == "RUN":
                    run_inside(instruction, image, root, work / "wheelhouse")
                else:
                    copy(instruction, image, images, root, work)
            image.layers.append((upper, f"{instruction.name} {instruction.text}"))


def run_inside(instruction: Instruction, image: Image, root: Path, wheels: Path) -> None:
    """RUN: a shell in the root."""
    print(f"RUN {instruction.text[:110]}", flush=True)
    run("mount", "--bind", "-o", "ro", str(wheels), str(root / "wheelhouse"))
    run("mount", "-t", "proc", "proc", str(root / "proc"))
    run("mount", "--rbind", "/dev", str(root / "dev"))
    script = f"cd {image.folder} && {instruction.text}"
    environment = image.environment | OFFLINE
    subprocess.run(["chroot", str(root), "/bin/sh", "-ec", script], env=environment, check=True)


def copy(instruction: Instruction, image: Image, images: dict[str, Image], root: Path, work: Path) -> None:
    """COPY: from the build context, as .dockerignore leaves it, or from another stage."""
    first, *rest = instruction.text.split()
    if not first.startswith("--from="):
        *sources, target = first, *rest
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        for source in sources:
            if source not in allowed:
                raise ValueError(f".dockerignore hides {source}")
            put(ROOT / source, root / image.folder.lstrip("/") / target / (source if target == "./" else ""))
        return
    source, target = rest
    with images[first.removeprefix("--from=")].mounted(work / "layers" / "source") as origin:
        put(origin / source.lstrip("/"), root / target.lstrip("/"))


def put(source: Path, target: Path) -> None:
    """A file to a path, or the content of a folder into a folder."""
    if source.is_dir():
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            source, target, symlinks=True, dirs_exist_ok=True, ignore=hidden if ROOT in source.parents else None
        )
    else:
        shutil.copy2(source, target)


def megabytes(folder: Path) -> float:
    """10^6 bytes of the files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6

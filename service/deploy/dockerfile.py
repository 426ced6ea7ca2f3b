"""Reads the instructions of a Dockerfile: those that this project's own one uses, and no others."""

import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_FREE = {"ARG", "ENV", "LABEL", "EXPOSE", "STOPSIGNAL", "USER", "WORKDIR", "RUN", "COPY"}
_EXEC = {"ENTRYPOINT", "CMD", "HEALTHCHECK"}


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` has its line continuations joined and its comments removed."""

    name: str
    text: str

    def exec_form(self) -> list[str]:
        """The command of ENTRYPOINT, CMD or HEALTHCHECK, which must be a JSON list."""
        command: list[str] = json.loads(self.text[self.text.index("[") :])
        return command

    def variables(self) -> Iterator[tuple[str, str]]:
        """Names and values that ENV sets."""
        for match in re.finditer(r'(\w+)=(?:"([^"]*)"|(\S*))', self.text):
            yield match[1], match[3] if match[2] is None else match[2]


@dataclass
class Stage:
    """What stands from one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)


def read_stages(path: Path, **arguments: str) -> list[Stage]:
    """The stages in order; `arguments` are build arguments. Raises `ValueError` for an unknown instruction."""
    given: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            base, _, name = string.Template(instruction.text).substitute(given).partition(" AS ")
            stages.append(Stage(base, name))
        elif instruction.name == "ARG" and not stages:
            name, _, default = instruction.text.partition("=")
            given[name] = arguments.get(name, default)
        elif instruction.name in _FREE | _EXEC and stages:
            stages[-1].instructions.append(instruction)
        else:
            raise ValueError(f"{path}: cannot read the instruction {instruction.name} {instruction.text}")
    return stages


def _instructions(content: str) -> Iterator[Instruction]:
    lines = [line for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.split(r"(?<!\\)\n", "\n".join(lines)):
        name, _, text = re.sub(r"\\\n\s*", "", line).partition(" ")
        yield Instruction(name.upper(), text.strip())

"""What the requests and replies of KServe's open inference protocol v2 look like, in JSON and in bytes."""

from struct import Struct
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import FailFast, Field
from typing_extensions import TypeAliasType

from service.schemas import ReplyBody

from .common import Body, Strings, invalid

OUTPUTS = {"scores": "FP32", "label": "BYTES"}
_MOST = 2**31 - 1  # elements along an axis
_LENGTH = Struct("<I")
_Rows = TypeAliasType("_Rows", Annotated[list[Strings], FailFast()])


class KServeInput(Body):
    """The tensor of texts, its elements here or as bytes behind the JSON."""

    name: str = Field(json_schema_extra={"const": "text"})
    datatype: str = Field(json_schema_extra={"const": "BYTES"})
    shape: Annotated[list[Annotated[int, Field(ge=0, le=_MOST)]], Field(max_length=2)]
    data: Strings | _Rows | None = None
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="binary_data_size: bytes of the tensor behind the JSON"
    )


class KServeWanted(Body):
    """An output that is asked for."""

    name: str = Field(json_schema_extra={"enum": list(OUTPUTS)})
    parameters: dict[str, Any] = Field(default_factory=dict, description="binary_data: whether as bytes")


class KServeRequest(Body):
    """One tensor of texts; without `outputs` all of them are given."""

    inputs: list[KServeInput] = Field(json_schema_extra={"minItems": 1, "maxItems": 1})
    outputs: list[KServeWanted] | None = None
    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict, description="binary_data_output: whether all as bytes")


class KServeScores(ReplyBody):
    """Scores [N, C], in the order of the labels."""

    name: Literal["scores"]
    datatype: Literal["FP32"]
    shape: Annotated[list[int], Field(min_length=2, max_length=2)]
    data: list[float]


class KServeLabel(ReplyBody):
    """The best label of each text [N]."""

    name: Literal["label"]
    datatype: Literal["BYTES"]
    shape: Annotated[list[int], Field(min_length=1, max_length=1)]
    data: list[str]


class KServeReply(ReplyBody):
    """The tensors asked for."""

    model_name: str
    model_version: str
    id: str = Field(default="", description="that of the request, if it has one")
    outputs: list[KServeScores | KServeLabel]


class KServeServer(ReplyBody):
    """The server and what it can do."""

    name: str
    version: str
    extensions: list[str]


class KServeLive(ReplyBody):
    """Whether it lives."""

    live: Literal[True]


class KServeReady(ReplyBody):
    """Whether it can be asked."""

    ready: bool


class KServeTensor(ReplyBody):
    """Name, type and shape of an input or output; -1 stands for any number of texts."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]


class KServeModel(ReplyBody):
    """A model and its tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[KServeTensor]
    outputs: list[KServeTensor]


def texts_of(tensor: KServeInput, tail: bytes) -> list[str]:
    """The elements of a BYTES tensor; raises `ServiceError` where lengths or encoding are wrong."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None:
            raise invalid("inputs: must have data, or binary_data_size and bytes behind the JSON")
        return [text for entry in tensor.data for text in ([entry] if isinstance(entry, str) else entry)]
    if size != len(tail):
        raise invalid(f"binary_data_size: must be the {len(tail)} bytes behind the JSON, got {size!r:.40}")
    texts: list[str] = []
    place = 0
    while place < len(tail):
        end = place + 4 + (_LENGTH.unpack_from(tail, place)[0] if place + 4 <= len(tail) else len(tail))
        if end > len(tail):
            raise invalid(f"text: element {len(texts)} must end within the tensor's {len(tail)} bytes")
        try:
            texts.append(tail[place + 4 : end].decode())
        except UnicodeDecodeError:
            raise invalid(f"text: element {len(texts)} must be UTF-8") from None
        place = end
    return texts


def as_bytes(name: str, data: list[Any]) -> bytes:
    """The elements of an output as bytes behind the JSON."""
    if name == "scores":
        return np.array(data, dtype="<f4").tobytes()
    return b"".join(_LENGTH.pack(len(text)) + text for text in map(str.encode, data))

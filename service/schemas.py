"""The bodies of the HTTP contract: the one request is validated with them, and OpenAPI describes them all."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field
from typing_extensions import TypeAliasType

from .errors import ErrorType


def _whole(value: object) -> object:
    """1.0 is an integer in JSON Schema, which is what the OpenAPI document speaks."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# A list with a million wrong elements has one error, not a million that hold up everybody; a union needs it named.
Texts = TypeAliasType("Texts", Annotated[list[str], FailFast(), Field(min_length=1)])


class PredictRequest(BaseModel):
    """A text or a list of texts to classify."""

    model_config = ConfigDict(strict=True, extra="forbid")

    inputs: str | Texts = Field(
        description="one text, or a list of texts", examples=["Where is my refund?", ["Where is my refund?", "退款呢"]]
    )
    top_k: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = Field(
        default=None, description="how many scores to give, the highest ones; all of them when absent"
    )
    explain: bool = Field(default=False, description="whether to give the evidence for the best label, text by text")
    explain_label: str | None = Field(default=None, description="the label to explain instead of the best one")
    model: str | None = Field(default=None, description="which model is to answer, by its name; the first when absent")

    @property
    def texts(self) -> list[str]:
        """The inputs as a list."""
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs


class ReplyBody(BaseModel):
    """A reply, described field by field: it has no others."""

    model_config = ConfigDict(extra="forbid")


class EvidencePiece(ReplyBody):
    """A piece of a text and what it adds to the logit."""

    start: int = Field(ge=0, description="where it begins in the text, in characters")
    end: int = Field(ge=1, description="where it ends")
    text: str
    contribution: float = Field(description="what it adds to the calibrated logit")


class TextPrediction(ReplyBody):
    """What is known of one text; which fields it has depends on the model's problem type."""

    label: str | None = Field(default=None, description="the best class")
    score: float | None = Field(default=None, description="its probability")
    scores: dict[str, float] | None = Field(default=None, description="the probability of each class, descending")
    labels: list[str] | None = Field(default=None, description="multi-label: the classes above their thresholds")
    value: float | None = Field(default=None, description="regression: the predicted value")
    abstained: bool | None = Field(
        default=None, description="classes: whether the text is too unlike the training texts for an answer"
    )
    bias: float | None = Field(default=None, description="explained: the logit without the evidence")
    evidence: list[EvidencePiece] | None = Field(
        default=None, description="explained: bias and contributions add up to the label's calibrated logit"
    )


class LatencyBlock(ReplyBody):
    """What the request cost; queue + tokenize + inference never exceeds total."""

    device: str = Field(description="where the network ran", examples=["cpu", "cuda:0"])
    clock: Literal["cuda_events", "perf_counter"] = Field(description="what measured inference_ms")
    inference_ms: float = Field(ge=0, description="milliseconds in the network, summed over the passes")
    tokenize_ms: float = Field(ge=0, description="milliseconds in the tokenizer, summed over the passes")
    queue_ms: float = Field(ge=0, description="milliseconds from arrival to the start of the first pass")
    total_ms: float = Field(ge=0, description="milliseconds from arrival to the making of the reply")
    batch_size: int = Field(ge=1, description="texts in the passes that served the request, other requests' included")
    passes: int = Field(ge=1, description="passes that served the request")


class ModelInfo(ReplyBody):
    """Which checkpoint answered."""

    name: str = Field(description="what it is served as; the folder's name unless another was given")
    revision: str = Field(description="hash of configuration, weights and tokenizer", examples=["sha256:0123abcd"])


class PredictReply(ReplyBody):
    """One prediction per input, in order."""

    predictions: list[TextPrediction]
    latency: LatencyBlock
    model: ModelInfo


class ErrorReply(ReplyBody):
    """What was wrong: the field, the rule and the value received."""

    error: str
    error_type: Literal[tuple(kind.label for kind in ErrorType)]  # type: ignore[valid-type]  # the closed set


class HealthReply(ReplyBody):
    """The process lives."""

    status: Literal["ok"]


class ReadyReply(ReplyBody):
    """Whether every worker has answered a real inference."""

    status: Literal["ready", "not ready"]
    workers_ready: int


class WorkerInfo(ReplyBody):
    """One process that classifies."""

    pid: int
    device: str
    folded_bytes: int = Field(description="memory of the table that answers are looked up in; 0 without one")
    model: str = Field(description="name of the one that it classifies with")


class WindowsInfo(ReplyBody):
    """How a text is read that is longer than a window."""

    window: int = Field(description="tokens of a window")
    stride: int = Field(description="tokens from the start of one to the start of the next")
    pooling: Literal["mean", "max"] = Field(description="what the scores of a text are of those of its windows")


class ServedModel(ModelInfo):
    """One of the models that are served."""

    problem_type: str
    labels: list[str]
    examples: list[str] = Field(description="a few texts to try the model with")
    max_length: int = Field(description="tokens that it reads of a text; the rest is cut, unless there are windows")
    precision: str = Field(description="of the network's weights", examples=["float32", "bfloat16"])
    windows: WindowsInfo | None = Field(description="by which it reads longer texts; null where they are cut")
    shadow: bool = Field(description="whether it scores what others have answered, and never answers")


class LimitsInfo(ReplyBody):
    """What is refused, and what is cut."""

    max_body_bytes: int = Field(description="bytes of a request body")
    max_texts: int = Field(description="texts in a request")
    max_characters: int = Field(description="characters of a text")
    max_waiting_texts: int = Field(description="texts accepted and not answered yet, of one API process")
    max_batch_size: int = Field(description="texts in a pass")
    max_length: int = Field(description="tokens that the first model reads of a text; the rest is cut")
    timeout_s: float = Field(description="seconds after which a request is given up")
    pass_timeout_s: float = Field(description="seconds of one pass after which its worker is replaced")


class ReloadRequest(BaseModel):
    """Which checkpoint to load; without any field all are loaded anew."""

    model_config = ConfigDict(strict=True, extra="forbid")

    checkpoint: str | None = Field(
        default=None, min_length=1, description="folder on the server; the present one when absent"
    )
    model: str | None = Field(default=None, description="name of the model whose place it takes; the first when absent")


class ReloadReply(ReplyBody):
    """Which checkpoint has taken over; the first one's where all were loaded anew."""

    model: ModelInfo


class InfoReply(ReplyBody):
    """What is served, by what, within which limits; all but `models` and `workers` speaks of the first model."""

    model: ModelInfo
    problem_type: str
    labels: list[str]
    examples: list[str] = Field(description="a few texts to try the model with")
    limits: LimitsInfo
    versions: dict[str, str]
    workers: list[WorkerInfo]
    models: list[ServedModel]

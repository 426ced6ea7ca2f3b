"""`POST /predict`, the native dialect."""

from pydantic_core import to_json

from .endpoint import Endpoint, Incoming, Query, Reply
from .errors import ErrorType, ServiceError
from .job import Job
from .parsing import parse_request, shorten
from .pool import Pool
from .schemas import PredictRequest
from .wire import Options


class PredictEndpoint(Endpoint):
    """The contract's bodies, put together from what the worker has serialised."""

    route = "/predict"

    def parse(self, incoming: Incoming) -> Query:
        """The validated body."""
        request = parse_request(incoming.body, self.service.limits)
        pool = self.service.gateway.pool(request.model)
        _check_label(request, pool)
        return Query(request.texts, Options(request.top_k, request.explain, request.explain_label), pool=pool)

    def render(self, query: Query, job: Job) -> Reply:
        """Predictions, latency and model."""
        parts = b",".join(job.fragments), job.latency.json(), to_json(job.model)
        return Reply(b'{"predictions":[%b],"latency":%b,"model":%b}' % parts)


def _check_label(request: PredictRequest, pool: Pool) -> None:
    """Raise `ServiceError` for a label to explain that the model does not have, or that nobody asked to explain."""
    label = request.explain_label
    if label is None:
        return
    shown = repr(shorten(label))
    if not request.explain:
        raise ServiceError(ErrorType.VALIDATION, f"explain_label: goes with explain = true, got {shown} without")
    if not pool.hello.explains(label):
        raise ServiceError(ErrorType.VALIDATION, f"explain_label: must be a label of the model, got {shown}")

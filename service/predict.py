"""`POST /predict`, the native dialect."""

from pydantic_core import to_json

from .endpoint import Endpoint, Incoming, Query, Reply
from .errors import ErrorType, ServiceError
from .job import Job
from .schemas import PredictRequest, parse_request
from .wire import Options


class PredictEndpoint(Endpoint):
    """The contract's bodies, put together from what the worker has serialised."""

    route = "/predict"

    def parse(self, incoming: Incoming) -> Query:
        """The validated body."""
        request = parse_request(incoming.body, self.service.limits)
        self._check_label(request)
        return Query(request.texts, Options(request.top_k, request.explain, request.explain_label))

    def _check_label(self, request: PredictRequest) -> None:
        """Raise `ServiceError` for a label to explain that no model has, or that nobody asked to explain."""
        label, hellos = request.explain_label, self.service.gateway.hellos
        if label is None:
            return
        if not request.explain:
            raise ServiceError(ErrorType.VALIDATION, f"explain_label: goes with explain = true, got {label!r} without")
        if hellos and (hellos[0].problem_type == "regression" or label not in hellos[0].labels):
            raise ServiceError(ErrorType.VALIDATION, f"explain_label: must be a label of the model, got {label!r}")

    def render(self, query: Query, job: Job) -> Reply:
        """Predictions, latency and model."""
        parts = b",".join(job.fragments), job.latency.json(), to_json(job.model)
        return Reply(b'{"predictions":[%b],"latency":%b,"model":%b}' % parts)

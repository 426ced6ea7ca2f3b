"""`POST /predict`, the native dialect."""

from pydantic_core import to_json

from .endpoint import Endpoint, Incoming, Query, Reply
from .job import Job
from .schemas import parse_request
from .wire import Options


class PredictEndpoint(Endpoint):
    """The contract's bodies, put together from what the worker has serialised."""

    route = "/predict"

    def parse(self, incoming: Incoming) -> Query:
        """The validated body."""
        request = parse_request(incoming.body, self.service.limits)
        return Query(request.texts, Options(top_k=request.top_k))

    def render(self, query: Query, job: Job) -> Reply:
        """Predictions, latency and model."""
        parts = b",".join(job.fragments), job.latency.json(), to_json(job.model)
        return Reply(b'{"predictions":[%b],"latency":%b,"model":%b}' % parts)

"""FastAPI that calls the same `TextClassifier` in its handler: python -m … CHECKPOINT PORT."""

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from model.classifier import TextClassifier

app = FastAPI()


class Request(BaseModel):
    """A text or several."""

    inputs: str | list[str]


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """A pass for each request; in the event loop, which is faster here than a thread."""
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    return {"predictions": [prediction.to_dict() for prediction in classifier(texts)]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    classifier = TextClassifier.from_pretrained(sys.argv[1], "cpu")
    classifier(["warm up"])
    uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="error")

"""FastAPI that calls `transformers.pipeline` in its handler: python -m … CHECKPOINT PORT."""

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import PreTrainedTokenizerFast, pipeline

from model.modeling_textcnn import TextCnnForSequenceClassification

app = FastAPI()


class Request(BaseModel):
    """A text or several."""

    inputs: str | list[str]


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """A call for each request; in the event loop, which is faster here than a thread."""
    return {"predictions": classify(request.inputs)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    network = TextCnnForSequenceClassification.from_pretrained(sys.argv[1])
    tokenizer = PreTrainedTokenizerFast.from_pretrained(sys.argv[1])
    classify = pipeline("text-classification", model=network, tokenizer=tokenizer, device="cpu", top_k=None)
    classify("warm up")
    uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="error")

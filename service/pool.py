"""The workers of one model, as one API process knows them."""

import asyncio
from collections.abc import Sequence

from .batcher import Batcher, Link
from .wire import Hello


class Pool:
    """The workers that classify with one model: those of its present generation."""

    hello: Hello  # what the workers say of the checkpoint; there before the first request, and while they are replaced

    def __init__(self, batcher: Batcher, expected_workers: int) -> None:
        self.batcher = batcher
        self.generation = 0
        self.expected_workers = expected_workers
        self.complete = asyncio.Event()  # set once all of the first generation have come
        self._superseded = asyncio.Event()  # of the present generation

    @property
    def hellos(self) -> list[Hello]:
        """The workers that are ready, in their order."""
        return sorted((link.hello for link in self.batcher.links), key=lambda hello: hello.worker)

    @property
    def ready(self) -> bool:
        """Whether every worker has answered a real inference."""
        return len(self.batcher.links) == self.expected_workers

    async def reached(self, generation: int) -> None:
        """Wait until the workers of that generation answer."""
        while self.generation < generation:
            await self._superseded.wait()

    def joined(self, link: Link) -> None:
        """A worker of the present generation is ready."""
        for other in self.batcher.links:
            if other.hello.worker == link.hello.worker:
                other.kill()  # the process that workers fork from has died: nobody watches its workers any more
        self.hello = link.hello
        self.batcher.joined(link)
        if self.ready:
            self.complete.set()

    def switch(self, coming: Sequence[Link]) -> None:
        """The workers of another checkpoint take over."""
        self.generation, self.hello = coming[0].hello.generation, coming[0].hello
        for link in list(self.batcher.links):
            self.batcher.retire(link)
        for link in coming:
            self.batcher.joined(link)
        self._superseded.set()
        self._superseded = asyncio.Event()

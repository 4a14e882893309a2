"""What the routes of a service share: its workers, its pictures, its counters."""

from __future__ import annotations

import asyncio
from functools import partial

from fastapi import Request

from promptcodec.serve.bodies import BodyReader
from promptcodec.serve.messages import Message
from promptcodec.serve.pictures import Pictures
from promptcodec.serve.pool import Job, Pool
from promptcodec.serve.problems import ServiceError
from promptcodec.serve.settings import CORES, Settings
from promptcodec.serve.telemetry import Telemetry
from promptcodec.serve.worker import Worker


class Service:
    """One service. Made inside the event loop that runs it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry()
        self.bodies = BodyReader(settings)
        self.pictures = Pictures(settings.picture_memory, settings.picture_seconds)
        self.coding = self._pool("coding", settings.workers)
        self.measuring = self._pool("measuring", settings.measuring_workers)
        self._watch()

    def _pool(self, kind: str, size: int) -> Pool:
        settings = self.settings
        # Measuring yields to all else, which threads that wait for each other suffer from most.
        alone = min(settings.threads * size, CORES) if kind == "coding" else 1
        worker = Worker(
            kind,
            settings.threads,
            max(alone, settings.threads),
            settings.worker_memory,
            settings.max_pixels,
            settings.latent_memory,
            settings.nearby,
        )
        return Pool(worker, size, settings.max_queue, settings.max_seconds, settings.max_wait, self.telemetry)

    def _watch(self) -> None:
        watch = self.telemetry.watch
        for pool in (self.coding, self.measuring):
            kind = pool.settings.kind
            watch(f"{kind}_workers", f"Workers that are ready for {kind}.", partial(getattr, pool, "alive"))
            watch(f"{kind}_busy", f"Jobs that workers have in hand for {kind}.", partial(getattr, pool, "busy"))
            watch(f"{kind}_queue", f"Jobs that wait for {kind}.", partial(getattr, pool, "waiting"))
        watch("pictures", "Pictures of the page in memory.", lambda: len(self.pictures))
        watch("pictures_bytes", "Bytes of the page's pictures in memory.", lambda: self.pictures.nbytes)
        watch("pending_bytes", "Bytes of bodies that are being received.", lambda: self.bodies.pending)

    async def start(self) -> None:
        """Begin the workers."""
        await self.coding.start()
        await self.measuring.start()

    async def close(self) -> None:
        """End the workers."""
        await asyncio.gather(self.coding.close(), self.measuring.close())

    async def answer(self, request: Request, pool: Pool, job: Job) -> Message:
        """Return the answer to a job, for as long as the client is there. Raises ServiceError."""
        work = asyncio.ensure_future(pool.run(job))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            done, _ = await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                return work.result()
            raise ServiceError("cancelled", "the client went away")
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

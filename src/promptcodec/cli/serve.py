"""``promptcodec serve``: the page and the service behind it."""

from __future__ import annotations

from typing import Annotated

import typer

from promptcodec.cli import options
from promptcodec.cli.streams import say, say_record
from promptcodec.system.extras import import_extra

Host = Annotated[str, typer.Option("--host", help="Address to listen at; 0.0.0.0 lets other machines in.")]
Port = Annotated[int, typer.Option("-p", "--port", min=0, max=65535, help="0 takes a free one.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "-j", "--workers", min=1, help="Processes that encode and decode.", show_default="one a core, 4 at most"
    ),
]
AllowHost = Annotated[
    list[str] | None, typer.Option("--allow-host", help="A name that requests may address; again for more.")
]


def command(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    browser: Browser = True,
    workers: Workers = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of each worker.")] = 1,
    max_queue: Annotated[int, typer.Option("--max-queue", min=1, help="Requests that may wait; more get 503.")] = 32,
    max_wait: Annotated[float, typer.Option("--max-wait", min=0.1, help="Seconds that a request may wait.")] = 60.0,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Refuse larger pictures.")] = 2**26,
    max_upload: Annotated[str, typer.Option("--max-upload", help="Most bytes of one body, such as 64M.")] = "128MiB",
    max_seconds: Annotated[float, typer.Option("--max-seconds", min=0.1, help="Of work on one request.")] = 120.0,
    idle_seconds: Annotated[
        float, typer.Option("--idle-seconds", min=0.1, help="Between two pieces of an upload.")
    ] = 10.0,
    memory: Annotated[str, typer.Option("--memory", help="Most memory of one worker, such as 2G.")] = "3GiB",
    picture_memory: Annotated[
        str, typer.Option("--picture-memory", help="For the pictures of the page, all together.")
    ] = "1GiB",
    picture_minutes: Annotated[
        float, typer.Option("--picture-minutes", min=0.1, help="Until the page's pictures expire.")
    ] = 60.0,
    allow_host: AllowHost = None,
    as_json: options.Json = False,
) -> None:
    """Open the page in the browser, and serve it and an HTTP interface; Ctrl-C ends it."""
    for module, package in (("fastapi", "fastapi"), ("uvicorn", "uvicorn"), ("python_multipart", "python-multipart"),
                            ("prometheus_client", "prometheus-client")):  # fmt: skip
        import_extra(module, package, "serve")
    from promptcodec.serve.server import run
    from promptcodec.serve.settings import DEFAULT_WORKERS, Settings

    settings = Settings(
        workers=workers or DEFAULT_WORKERS, threads=threads, max_queue=max_queue, max_wait=max_wait,
        max_pixels=max_pixels,
        max_upload=int(options.parse_size(max_upload)), max_seconds=max_seconds, idle_seconds=idle_seconds,
        worker_memory=int(options.parse_size(memory)), picture_memory=int(options.parse_size(picture_memory)),
        picture_seconds=60 * picture_minutes, nearby=host in ("127.0.0.1", "::1", "localhost"),
        hosts=tuple(allow_host or ()),
    )  # fmt: skip

    def tell(address: str, port: int) -> None:
        if as_json:
            say_record("serve", "address", {"address": address, "host": host, "port": port})
        else:
            say(f"{address} is served; Ctrl-C ends it")

    run(settings, host, port, tell, browser)

"""The routes for the page: pictures by token, views of them, and what is shown beside them.

Tokens and names of views are unguessable; all of it is in memory, bounded, and expires: a 404 says to send the picture
again. The docstrings are the contract with ``page/``.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from promptcodec.codec.search import DEFAULT_QUALITY, Target
from promptcodec.serve import options
from promptcodec.serve.messages import Message
from promptcodec.serve.pictures import PageDocument, View, new_token
from promptcodec.serve.pool import Job
from promptcodec.serve.problems import ServiceError
from promptcodec.serve.public import PTC, Here, Look
from promptcodec.serve.service import Service

router = APIRouter(prefix="/api", include_in_schema=False)

# As ``evaluate.equal_bytes`` has them, which only workers import.
PEERS = {"jpeg": "JPEG", "webp": "WebP", "avif-s8": "AVIF", "jpegxl": "JPEG XL"}  # the slowest last
_PHOTOS = (Path(__file__).parent / "photo.jpg", Path(__file__).parents[3] / "examples" / "photo.jpg")


class TargetRequest(BaseModel):
    """What a view's file shall have."""

    kind: Literal["size", "bpp", "psnr", "ms_ssim", "ssimulacra2"]
    value: float


class ViewRequest(BaseModel):
    """How to code a picture."""

    model: str | None = None
    quality: float | None = Field(None, ge=0, le=100)
    target: TargetRequest | None = None
    look: float | None = Field(None, ge=0, le=1)
    effort: int = Field(0, ge=0, le=10)
    strip: bool = False
    full: bool = False
    sequence: int = 0


class ArchiveRequest(BaseModel):
    """Views whose files are wanted."""

    views: list[str] = Field(min_length=1, max_length=1000)


@router.post("/pictures")
async def add_picture(request: Request, service: Here, x_name: Annotated[str, Header()] = "") -> dict[str, Any]:
    """Body: bytes of a picture or of a .ptc file; X-Name: its name, percent-encoded.

    → {token, name, kind: "picture"|"ptc", width, height, view_width, view_height, bytes, metadata: [sentences],
    warnings: [sentences], controls: {look, roi}, look|null, quality|null, model|null, seconds}. Larger than 2
    megapixels: view_* is the size at which it is shown and coded, unless a view is asked for in full.
    """
    service.coding.check_room()
    with service.bodies.counted(request) as body:
        data = await body.read()
        return await _add(request, service, unquote(x_name), data)


@router.get("/sample")
async def sample(request: Request, service: Here) -> dict[str, Any]:
    """The repository's photo, as POST /api/pictures would answer it."""
    photo = next(path for path in _PHOTOS if path.is_file())
    return await _add(request, service, "photo.jpg", photo.read_bytes())


async def _add(request: Request, service: Service, name: str, data: bytes) -> dict[str, Any]:
    token = new_token()
    job = Job("open", {"token": token}, {"source": data}, affinity=token)
    answer = await service.answer(request, service.coding, job)
    facts = dict(answer.facts["facts"])
    controls = next((m["controls"] for m in options.described_models() if m["name"] == facts["model"]), None)
    if controls is None:
        controls = next(m["controls"] for m in options.described_models() if m["default"])
    if facts["kind"] == "ptc":
        controls = controls | {"roi": False}
    name = PurePosixPath(name.replace("\\", "/")).name[:200] or "picture"
    facts |= {"name": name, "controls": controls, "warnings": answer.facts["warnings"]}
    service.pictures.add(PageDocument(token, name, data, answer.blobs["original"], facts))
    return {"token": token} | facts


def _picture(data: bytes) -> Response:
    types = {b"RIFF": "image/webp", b"\x89PNG": "image/png"}
    return Response(data, media_type=types.get(data[:4], "image/bmp"))


@router.get("/pictures/{token}/original")
async def original(service: Here, token: str) -> Response:
    """The picture as it was sent, lossless BMP, WebP or PNG at the size of views."""
    return _picture(service.pictures.get(token).original)


@router.delete("/pictures/{token}", status_code=204)
async def remove_picture(service: Here, token: str) -> None:
    """Forget a picture, its region and its views."""
    service.pictures.remove(token)
    service.coding.forget_affinity(token)


@router.put("/pictures/{token}/region")
async def set_region(
    request: Request, service: Here, token: str, strength: Annotated[float, Query(ge=0, le=1)] = 1.0
) -> dict[str, Any]:
    """Body: a grey picture at the size of views, 255 where it matters. → {region: true, seconds}"""
    document = service.pictures.get(token)
    if document.facts["kind"] != "picture":
        raise ServiceError("options", "a .ptc file is coded already; a region needs the picture itself")
    begin = asyncio.get_running_loop().time()
    with service.bodies.counted(request) as body:
        job = Job("region", {"strength": strength}, {"mask": await body.read()}, affinity=token)
        answer = await service.answer(request, service.coding, job)
    document.mask, document.mask_number = answer.blobs["mask"], document.mask_number + 1
    return {"region": True, "seconds": round(asyncio.get_running_loop().time() - begin, 3)}


@router.get("/pictures/{token}/region")
async def region(service: Here, token: str) -> Response:
    """The region as it acts, strength included: a grey PNG that `--roi` takes."""
    mask = service.pictures.get(token).mask
    if mask is None:
        raise ServiceError("not-found", "this picture has no region")
    return _picture(mask)


@router.delete("/pictures/{token}/region", status_code=204)
async def remove_region(service: Here, token: str) -> None:
    """Forget the region."""
    document = service.pictures.get(token)
    document.mask, document.mask_number = None, document.mask_number + 1


@router.post("/pictures/{token}/views")
async def add_view(request: Request, service: Here, token: str) -> dict[str, Any]:
    """JSON {model, quality | target: {kind, value}, look, effort, strip, full, sequence}; all but nothing by default.

    → {view, bytes, bpp, quality, width, height, seconds, analysed, estimate_seconds_full, warnings: [sentences]}. Of
    the requests for one picture that wait, only that with the highest sequence runs; others get 409 "superseded". Of a
    .ptc file only ``look`` counts: it is decoded so.
    """
    document = service.pictures.get(token)
    body = await service.bodies.read_json(request, ViewRequest)
    if body.target is not None and body.quality is not None:
        raise ServiceError("options", "a quality and a target exclude each other")
    arguments = body.model_dump(exclude={"sequence", "target"}) | {
        "model": options.model_named(body.model), "target": None, "token": token, "kind": document.facts["kind"],
        "mask_number": document.mask_number,
    }  # fmt: skip
    if body.target is not None:
        target = Target(body.target.kind, body.target.value)
        arguments["target"] = (target.kind, target.value)
    elif body.quality is None:
        arguments["quality"] = DEFAULT_QUALITY
    blobs, kept = {}, {"source": document.source}
    if document.mask is not None:
        blobs["mask"] = document.mask
    if body.full or document.facts["kind"] == "ptc":  # what workers do not keep
        blobs, kept = blobs | kept, {}
    job = Job("view", arguments, blobs, kept, token, f"{token}/view", body.sequence)
    answer = await service.answer(request, service.coding, job)
    facts = dict(answer.facts["facts"])
    name = service.pictures.add_view(document, View(document.name, facts, arguments, dict(answer.blobs)))
    return {"view": name} | facts | {"warnings": answer.facts["warnings"]}


@router.get("/views/{view}/picture")
async def view_picture(request: Request, service: Here, view: str) -> Response:
    """The decoded picture, lossless BMP, WebP or PNG at the size of views; a full view is decoded when asked for."""
    return _picture(await _decoded(request, service, view))


async def _decoded(request: Request, service: Service, name: str) -> bytes:
    _, view = service.pictures.view(name)
    if "picture" not in view.blobs:
        answer = await service.answer(request, service.coding, Job("picture", {}, {"file": view.blobs["file"]}))
        view.blobs["picture"] = answer.blobs["picture"]
    return view.blobs["picture"]


@router.get("/views/{view}/decoded")
async def view_decoded(request: Request, service: Here, view: str) -> Response:
    """What the file decodes to: a PNG at its full size, with its metadata, as `promptcodec decode` writes it."""
    _, coded = service.pictures.view(view)
    look = coded.settings["look"] if coded.settings["kind"] == "ptc" else None
    arguments: dict[str, Any] = {"look": look, "settings": {}, "crop": None, "strip": False, "format": "png"}
    answer = await service.answer(request, service.coding, Job("decode", arguments, {"file": coded.blobs["file"]}))
    return Response(answer.blobs["picture"], media_type="image/png")


@router.get("/views/{view}/file")
async def view_file(service: Here, view: str) -> Response:
    """The .ptc file, as a download."""
    document, coded = service.pictures.view(view)
    name = _ptc_name(document)
    ascii_name = name.encode("ascii", "replace").decode().translate(str.maketrans('?"\\', "___"))
    disposition = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(coded.blobs["file"], media_type=PTC, headers={"Content-Disposition": disposition})


def _ptc_name(document: PageDocument) -> str:
    printable = "".join(c for c in document.name if c.isprintable()) or "picture"
    return str(PurePosixPath(printable).with_suffix(".ptc"))


@router.get("/views/{view}/metrics")
async def view_metrics(request: Request, service: Here, view: str) -> dict[str, Any]:
    """→ {psnr, ms_ssim, ssimulacra2}, each null where it does not exist: of equal or of tiny pictures."""
    answer = await _measured(request, service, view, "metrics", {}, await _decoded(request, service, view))
    return dict(answer.facts["facts"])


@router.get("/views/{view}/peers")
async def view_peers(request: Request, service: Here, view: str) -> list[dict[str, Any]]:
    """The same picture by other codecs in as many bytes.

    → [{codec, label, bytes, psnr, ms_ssim, ssimulacra2, picture: url} | {codec, label, error: sentence}]
    """
    _, coded = service.pictures.view(view)

    async def one(codec: str, label: str) -> dict[str, Any]:
        key = f"peer-{codec}"
        try:
            arguments = {"codec": codec, "bytes": coded.facts["bytes"]}
            answer = await _measured(request, service, view, "peer", arguments)
        except ServiceError as problem:
            if problem.kind.status in (409, 499, 503):
                raise
            return {"codec": codec, "label": label, "error": problem.detail}
        coded.blobs[key] = answer.blobs["picture"]
        facts: dict[str, Any] = answer.facts["facts"]
        return {"codec": codec, "label": label, "picture": f"/api/views/{view}/peers/{codec}"} | facts

    # The longest job first, or the workers would end far apart.
    rows = await asyncio.gather(*(one(*item) for item in reversed(PEERS.items())))
    return list(reversed(rows))


@router.get("/views/{view}/peers/{codec}")
async def view_peer_picture(service: Here, view: str, codec: str) -> Response:
    """The picture of a peer, lossless BMP, WebP or PNG."""
    _, coded = service.pictures.view(view)
    if (picture := coded.blobs.get(f"peer-{codec}")) is None:
        raise ServiceError("not-found", f"the picture by {codec} is not here; ask for the peers first")
    return _picture(picture)


@router.get("/pictures/{token}/curve")
async def curve(
    request: Request, service: Here, token: str, model: str | None = None, look: Look = None
) -> list[dict[str, Any]]:
    """→ [{quality, bytes, bpp, psnr}] over the range of qualities, at the size of views, with the picture's region.

    Query: model, look.
    """
    document = _with_original(service.pictures.get(token))
    arguments = {"model": options.model_named(model), "look": look}
    blobs = {"source": document.source} | ({} if document.mask is None else {"mask": document.mask})
    job = Job("curve", arguments, blobs)
    answer = await service.answer(request, service.measuring, job)
    return list(answer.facts["facts"]["points"])


Bound = Annotated[float | None, Query(ge=0)]


@router.get("/views/{view}/bits")
async def view_bits(request: Request, service: Here, view: str, low: Bound = None, high: Bound = None) -> Response:
    """Where the file's bits go: a PNG to lay over the picture, transparent where few bits went.

    Query: low and high, in bits per pixel, for a scale that several overlays share; by default the file's own, which
    is in the headers X-Bits-Low and X-Bits-High, and in /bits.json.
    """
    scale = None if low is None or high is None else (low, high)
    facts, overlay = await _bits(request, service, view, scale)
    headers = {"X-Bits-Low": f"{facts['low']:.4f}", "X-Bits-High": f"{facts['high']:.4f}"}
    return Response(overlay, media_type="image/png", headers=headers)


@router.get("/views/{view}/bits.json")
async def view_bits_scale(request: Request, service: Here, view: str) -> dict[str, Any]:
    """→ {low, high, unit}: the ends of the overlay's scale."""
    facts, _ = await _bits(request, service, view, None)
    return facts


async def _bits(
    request: Request, service: Service, name: str, scale: tuple[float, float] | None
) -> tuple[dict[str, Any], bytes]:
    _, view = service.pictures.view(name)
    if scale is None and "bits" in view.blobs:
        return view.facts["bits"], view.blobs["bits"]
    job = Job("bits", {"scale": scale}, {"file": view.blobs["file"]})
    answer = await service.answer(request, service.measuring, job)
    facts, overlay = dict(answer.facts["facts"]), answer.blobs["overlay"]
    if scale is None:
        view.facts["bits"], view.blobs["bits"] = facts, overlay
    return facts, overlay


def _with_original(document: PageDocument) -> PageDocument:
    if document.facts["kind"] != "picture":
        raise ServiceError("options", "a .ptc file has no original here to be compared with")
    return document


async def _measured(
    request: Request, service: Service, view: str, operation: str, arguments: dict[str, Any], picture: bytes = b""
) -> Message:
    document, _ = service.pictures.view(view)
    blobs = {"original": _with_original(document).original} | ({"picture": picture} if picture else {})
    return await service.answer(request, service.measuring, Job(operation, arguments, blobs))


@router.post("/archive")
async def archive(request: Request, service: Here) -> Response:
    """JSON {views: [view, …]} → a ZIP file of their .ptc files, each under a name of its own."""
    body = await service.bodies.read_json(request, ArchiveRequest)
    file, taken = io.BytesIO(), set[str]()
    with zipfile.ZipFile(file, "w") as target:
        for name in body.views:
            document, view = service.pictures.view(name)
            path = PurePosixPath(_ptc_name(document))
            number = 2
            while str(path) in taken:
                path = PurePosixPath(_ptc_name(document)).with_stem(
                    f"{PurePosixPath(_ptc_name(document)).stem}-{number}"
                )
                number += 1
            taken.add(str(path))
            target.writestr(zipfile.ZipInfo(str(path)), view.blobs["file"])
    headers = {"Content-Disposition": 'attachment; filename="promptcodec.zip"'}
    return Response(file.getvalue(), media_type="application/zip", headers=headers)

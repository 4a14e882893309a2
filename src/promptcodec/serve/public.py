"""The routes for programs: stateless, one request a file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from promptcodec.serve import options
from promptcodec.serve.bodies import multipart_parts
from promptcodec.serve.messages import Message
from promptcodec.serve.pool import Job
from promptcodec.serve.problems import MEDIA_TYPE, ServiceError
from promptcodec.serve.service import Service
from promptcodec.system.printable import json_text

PTC = "image/x-ptc"

Look = Annotated[float | None, Query(ge=0, le=1, description="0: true to the pixels, 1: best to look at.")]
Set = Annotated[
    list[str] | None, Query(alias="set", description="NAME=VALUE, 0 to 1, for an adapter; may be given again.")
]


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(examples=["/problems/not-a-picture"])
    title: str = Field(examples=["Not a picture that can be read"])
    status: int = Field(examples=[415])
    detail: str = Field(description="A sentence for people.", examples=["not a picture that Pillow can read"])


Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Descriptions of error answers for OpenAPI."""
    texts = {
        400: "The request cannot be read.", 403: "The request's Host or Origin is another one.",
        404: "There is nothing here (any more).", 408: "The body came too slowly.",
        409: "A newer request took this one's place.", 413: "More bytes, pixels or memory than are allowed.",
        415: "The body is no file of the kind that is expected.",
        422: "The options do not fit, or a target is out of range.",
        500: "Something went wrong; the service goes on.",
        503: "Too much is waiting: try again after the seconds in Retry-After.",
        504: "It took longer than a request may.",
    }  # fmt: skip
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {status: {"description": texts[status], "content": {MEDIA_TYPE: schema}} for status in statuses}


CODING_PROBLEMS = problems(400, 403, 408, 413, 415, 422, 500, 503, 504)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(service_of)]

_ENCODED: Responses = {200: {"description": "The .ptc file.", "content": {PTC: {}}}}
_DECODED: Responses = {200: {"description": "The picture.", "content": {"image/*": {}}}}

router = APIRouter()


def _binary_body(description: str, *media_types: str) -> dict[str, Any]:
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {
        "requestBody": {"required": True, "description": description, "content": dict.fromkeys(media_types, schema)}
    }


_FORM = {
    "schema": {
        "type": "object", "required": ["file"],
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "The picture."},
            "roi": {
                "type": "string", "format": "binary", "description": "The region: a grey picture, white matters.",
            },
        },
    }
}  # fmt: skip
_ENCODE_BODY = _binary_body(
    "A picture's bytes, or a form with the picture and its region.", "application/octet-stream", "image/*"
)
_ENCODE_BODY["requestBody"]["content"]["multipart/form-data"] = _FORM


@router.post(
    "/encode", summary="Compress a picture", response_class=Response, openapi_extra=_ENCODE_BODY,
    responses=_ENCODED | CODING_PROBLEMS,
)  # fmt: skip
async def encode(
    request: Request,
    service: Here,
    quality: Annotated[
        float | None, Query(ge=0, le=100, description="0 (smallest) to 100 (best); 50 by default.")
    ] = None,
    target_size: Annotated[float | None, Query(description="Most bytes of the file.", examples=[40000])] = None,
    target_bpp: Annotated[float | None, Query(description="Most bits per pixel.")] = None,
    target_psnr: Annotated[float | None, Query(description="Least PSNR in dB.")] = None,
    target_ms_ssim: Annotated[float | None, Query(description="Least MS-SSIM, 0 to 1.")] = None,
    target_ssimulacra2: Annotated[float | None, Query(description="Least SSIMULACRA2, 0 to 100.")] = None,
    roi: Annotated[
        str | None, Query(description="What matters most: x,y,w,h in pixels. A picture: as part `roi` of a form.")
    ] = None,
    look: Look = None,
    effort: Annotated[int, Query(ge=0, le=10, description="0: the quickest, 10: the smallest file.")] = 0,
    strip: Annotated[bool, Query(description="Leave out EXIF and XMP.")] = False,
    preview: Annotated[
        bool | None, Query(description="Store the picture in small too; by default in large files.")
    ] = None,
    verify: Annotated[bool, Query(description="Decode the file's latents before it is sent.")] = False,
    model: Annotated[str | None, Query(description="A model's name, of GET /models.")] = None,
    adapter: Annotated[list[str] | None, Query(description="An adapter's name; may be given again.")] = None,
    settings: Set = None,
    map: Annotated[list[str] | None, Query(description="NAME=x,y,w,h or NAME=NUMBER, for an adapter.")] = None,
) -> Response:
    """The body is the picture, in any format that Pillow reads; the answer is the .ptc file, byte for byte what
    `promptcodec.encode` and the command line make with these options.

    What is lost or worth knowing is said in the header `X-Warnings`: a JSON list of sentences.
    """
    name = options.model_named(model)
    target = options.target_of(
        size=target_size, bpp=target_bpp, psnr=target_psnr, ms_ssim=target_ms_ssim, ssimulacra2=target_ssimulacra2
    )
    maps = options.assignments("map", map or ())
    if roi is not None:
        maps |= {"roi": roi}
    chosen = {
        "quality": quality, "target": target, "look": look, "effort": effort, "strip": strip, "preview": preview,
        "verify": verify, "adapters": options.adapters_named(name, adapter or ()),
        "settings": options.scalars("set", settings or ()), "maps": maps,
    }  # fmt: skip
    service.coding.check_room()
    with service.bodies.counted(request) as body:
        blobs = _pictures(await body.read(), request.headers.get("content-type", ""))
        job = Job("encode", {"options": chosen, "model": name}, blobs)
        answer = await service.answer(request, service.coding, job)
    return Response(answer.blobs["file"], media_type=PTC, headers=warning_header(answer))


def _pictures(data: bytes, content_type: str) -> dict[str, bytes]:
    """The picture and its region, by name."""
    if not content_type.lower().startswith("multipart/"):
        return {"picture": data}
    parts = multipart_parts(data, content_type)
    if unknown := set(parts) - {"file", "roi"}:
        raise ServiceError("malformed", f"the form has a part {min(unknown)!r}; expected are file and roi")
    if not parts.get("file"):
        raise ServiceError("malformed", "the form has no part file with a picture")
    return {"picture": parts["file"]} | ({"roi": parts["roi"]} if "roi" in parts else {})


@router.post(
    "/decode", summary="Decode a .ptc file", response_class=Response,
    openapi_extra=_binary_body("A .ptc file.", "application/octet-stream", PTC),
    responses=_DECODED | CODING_PROBLEMS,
)  # fmt: skip
async def decode(
    request: Request,
    service: Here,
    look: Look = None,
    settings: Set = None,
    crop: Annotated[str | None, Query(description="x,y,w,h in pixels: only this part.", examples=["0,0,64,64"])] = None,
    format: Annotated[str, Query(description="An extension: png, jpg, webp, avif, tiff, …")] = "png",
    strip: Annotated[bool, Query(description="Leave out EXIF and XMP.")] = False,
) -> Response:
    """The body is the file, the answer the picture, with its metadata as far as the format keeps it.

    What the format does not keep is said in the header `X-Warnings`: a JSON list of sentences.
    """
    media_type = options.media_type_of(format)
    arguments = {
        "look": look, "settings": options.scalars("set", settings or ()), "crop": options.rectangle("crop", crop),
        "format": format, "strip": strip,
    }  # fmt: skip
    answer = await _of_file(request, service, "decode", arguments)
    return Response(answer.blobs["picture"], media_type=media_type, headers=warning_header(answer))


class FileFacts(BaseModel):
    """What a .ptc file says of itself, as `promptcodec.info` has it."""

    width: int
    height: int
    mode: str = Field(description="L, LA, RGB or RGBA.")
    bytes: int
    bpp: float = Field(description="Bits per pixel.")
    tiles: int
    preview: str | None = Field(description="Size of the picture in small that it holds.")
    quality: float
    model: str
    fingerprint: str
    adapters: list[str] = Field(description="Those that a decoder needs.")
    metadata: list[str] = Field(description="Sentences on what it has of them.")
    icc_bytes: int
    exif_bytes: int
    xmp_bytes: int
    format: int = Field(description="Version of the file format.")


@router.post(
    "/info", summary="Describe a .ptc file", response_model=FileFacts, responses=CODING_PROBLEMS,
    openapi_extra=_binary_body("A .ptc file.", "application/octet-stream", PTC),
)  # fmt: skip
async def info(request: Request, service: Here) -> dict[str, Any]:
    """The body is the file. Nothing is decoded."""
    answer = await _of_file(request, service, "info", {})
    facts: dict[str, Any] = answer.facts["facts"]
    return facts


async def _of_file(request: Request, service: Service, operation: str, arguments: dict[str, Any]) -> Message:
    service.coding.check_room()
    with service.bodies.counted(request) as body:
        job = Job(operation, arguments, {"file": await body.read()})
        return await service.answer(request, service.coding, job)


class AdapterFacts(BaseModel):
    """An adapter that ships for a model."""

    name: str
    version: str
    use: str = Field(description="How the command line asks for it.")


class ModelFacts(BaseModel):
    """A model that the service has."""

    name: str
    version: str
    fingerprint: str
    default: bool
    quality: list[float] | None = Field(description="The range of qualities; null for models of one rate.")
    controls: dict[str, bool] = Field(description="Whether it takes a look and a region.")
    adapters: list[AdapterFacts]


@router.get("/models", summary="List models", response_model=list[ModelFacts])
async def models() -> list[dict[str, Any]]:
    """The models that can be named, and what steers them."""
    return options.described_models()


def warning_header(answer: Message) -> dict[str, str]:
    """``X-Warnings``, where a worker warned of something."""
    sentences = answer.facts.get("warnings")
    return {"X-Warnings": json_text([text[:300] for text in sentences[:10]])} if sentences else {}

"""The app of the HTTP API: its services, endpoints and middleware.

    app = create_app(workspace)

An endpoint is in a file of its own, which has a `router`; add it to `ENDPOINTS`. Endpoints that
read the database are plain functions, so each call has a thread; slow work waits in a `WorkQueue`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool

from moli.models.backend import ModelPool, RemoteModel
from moli.records.errors import AccessError, SettingsError
from moli.serving import (
    audio,
    classification,
    completions,
    documents,
    embeddings,
    feedback,
    model_list,
    reranking,
    responses,
    uploads,
)
from moli.serving.access import AccessMiddleware, Authenticator, RateLimiter, check_has_key
from moli.serving.audio import TranscriptionService
from moli.serving.concurrency import WorkQueue
from moli.serving.dependencies import CallerDependency
from moli.serving.encoders import Encoders
from moli.serving.errors import add_error_handlers
from moli.serving.generation_service import GenerationService
from moli.serving.library import Library
from moli.serving.metrics import Metrics, MetricsMiddleware
from moli.serving.middleware import SecurityMiddleware, ShutdownMiddleware, is_loopback
from moli.serving.request_ids import RequestIdMiddleware
from moli.workspace import Settings, Workspace

_VERSION = version("moli")
_ASKS_AT_ONCE = 16

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the server is up."""
    return {"status": "ok", "version": _VERSION}


@router.get("/metrics")
def metrics(request: Request, caller: CallerDependency) -> Response:
    """Metrics for Prometheus, for admins."""
    if not caller.admin:
        raise AccessError("only an admin may read the metrics", fix="Use an admin key.")
    return Response(request.app.state.metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


ENDPOINTS = (
    completions.router,
    responses.router,
    embeddings.router,
    reranking.router,
    classification.router,
    audio.router,
    feedback.router,
    documents.router,
    uploads.router,
    model_list.router,
    router,
)


def create_app(workspace: Workspace, *, host: str = "") -> FastAPI:
    """The API of a workspace; its encoder is loaded here, its language model in the background.

    Args:
        host: the address the server listens on; default: the workspace's setting.

    Raises:
        ModelError: a model that the settings name cannot be loaded.
        SettingsError: other machines would reach it, and there is no key.
    """
    host = host or workspace.settings.host
    is_public = not is_loopback(host)
    if is_public:
        check_has_key(workspace.keys, host)
    # The interactive documentation would load its scripts from another host.
    app = FastAPI(
        title="Moli",
        version=_VERSION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    _add_services(app, workspace)
    for endpoints in ENDPOINTS:
        app.include_router(endpoints)
    _add_middleware(app, workspace, host, is_public=is_public)
    add_error_handlers(app)
    return app


def _add_services(app: FastAPI, workspace: Workspace) -> None:
    """Create the services that endpoints use, such as the library, as attributes of `app.state`."""
    settings, state = workspace.settings, app.state
    state.workspace, state.metrics = workspace, Metrics()
    state.model_pool = ModelPool(_remote_model(settings))
    state.library = Library.open(workspace, state.model_pool)
    # With a model on another server, an answer is mostly waited for.
    state.ask_queue = WorkQueue(_ASKS_AT_ONCE, settings.queue)
    state.search_queue = WorkQueue(os.cpu_count() or 1, settings.queue)
    state.encoder_queue = WorkQueue(1, settings.queue)
    state.upload_queue = WorkQueue(1, settings.queue)
    state.encoders = Encoders(workspace, state.library.encoder)
    state.transcription_service = TranscriptionService(settings)
    state.generation_service = GenerationService(workspace, state.model_pool, state.metrics)
    state.metrics.add_gauge(
        "moli_waiting", "Answers waiting for a model", state.model_pool.waiting_requests
    )
    state.metrics.add_gauge(
        "moli_working", "Answers being written", state.model_pool.running_requests
    )


def _add_middleware(app: FastAPI, workspace: Workspace, host: str, *, is_public: bool) -> None:
    """Add the middleware; the last to be added is the first that a request reaches."""
    settings = workspace.settings
    authenticator = Authenticator(workspace.keys, settings.groups, public=is_public)
    app.state.authenticator = authenticator
    limiter = RateLimiter(settings.rate)
    app.add_middleware(AccessMiddleware, authenticator=authenticator, limiter=limiter)
    larger_bodies = audio.LARGER_BODIES | uploads.larger_bodies(settings)
    app.add_middleware(
        SecurityMiddleware,
        host=host,
        larger_bodies=larger_bodies,
        max_body=settings.max_request_mb << 20,
        body_seconds=settings.request_seconds,
    )
    app.add_middleware(ShutdownMiddleware)
    app.add_middleware(MetricsMiddleware, metrics=app.state.metrics)
    app.add_middleware(RequestIdMiddleware)


def _remote_model(settings: Settings) -> RemoteModel | None:
    """The language model of the settings, if another server runs it; None otherwise."""
    if not settings.backend:
        return None
    if not settings.model:
        raise SettingsError(
            f"backend is {settings.backend}, but model is empty",
            where="moli.toml",
            fix="Set model to the name of the base that the server runs.",
        )
    timeout = settings.timeout_seconds
    return RemoteModel(settings.model, settings.backend, settings.backend_url, timeout)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the language model when the server starts, and close the models when it ends."""
    app.state.library.start_loading()
    yield
    await run_in_threadpool(app.state.model_pool.close)
    await run_in_threadpool(app.state.transcription_service.close)

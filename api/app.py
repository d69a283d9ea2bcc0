"""The HTTP application: `uvicorn --factory api.app:create_app`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from api.acquaintances import Acquaintances
from api.answers import AnswerCache
from api.auth import Authenticated
from api.background import Bell, BrokerWatch
from api.deps import Parts
from api.endpoints import (
    catalog,
    charts,
    events,
    experiments,
    health,
    metrics,
    prometheus,
    robustness,
    runs,
    ui,
    workers,
)
from api.errors import register_handlers
from api.middleware import DOCS_FILES, add_middleware
from api.openapi import complete_openapi, problems
from api.prometheus import ServiceFigures, new_registry
from api.rates import RateLimit
from api.service import version
from api.streams import Streams, ended_by_signals
from shared.logging import configure_logging
from shared.settings import Settings
from shared.store.db import Database

SUMMARY = "Which activation function survives dirty training data?"
DESCRIPTION = """
Post a spec; workers train the same network with every activation on clean and on corrupted data, over several seeds;
the comparison says with intervals which activation loses least.

1. `POST /experiments` with `{"preset": "harrison-multivariate"}`, or a spec of your own: `GET /catalog` lists what it
   may name.
2. `GET /experiments/{id}` until `state` is `succeeded`.
3. `GET /experiments/{id}/robustness` for the comparison, `/metrics` for every number behind it.

A service that has API keys asks every caller for one: `Authorization: Bearer actrobust_...`. What belongs to another
key's owner does not exist.

Errors are `application/problem+json` (RFC 9457). Ids are UUIDv7, times RFC 3339 in UTC, fractions in [0, 1]; a number
that is not finite is null beside its name in `nonfinite`.
"""
TAGS = [
    {"name": "experiments", "description": "Post, follow, cancel, resume and delete experiments."},
    {"name": "results", "description": "What came of them, from every epoch's numbers to the comparison."},
    {"name": "catalog", "description": "What a spec may name."},
    {"name": "health", "description": "For load balancers, Prometheus and people in doubt."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; it opens its database when it starts, not before."""
    settings = settings or Settings()
    configure_logging(settings)
    app: FastAPI = FastAPIOffline(
        title="actrobust", summary=SUMMARY, description=DESCRIPTION, version=version(), openapi_tags=TAGS,
        license_info={"name": "MIT", "identifier": "MIT"}, lifespan=_lifespan(settings), redirect_slashes=False,
        generate_unique_id_function=_operation_id, static_url=DOCS_FILES,
        swagger_ui_parameters={"validatorUrl": None},  # it would send the document to a foreign host
    )  # fmt: skip
    for endpoints in (experiments, events, runs, metrics, robustness, charts, catalog, workers, prometheus):
        app.include_router(endpoints.router, dependencies=[Authenticated], responses=problems(401, 429))
    app.include_router(health.router)
    app.include_router(ui.router)
    register_handlers(app)
    app.state.registry, durations = new_registry()
    add_middleware(app, settings, durations)
    app.openapi = complete_openapi(app)  # type: ignore[method-assign]
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.effective_database_url)
        app.state.parts = parts = Parts(
            settings, database, Bell(database, settings), BrokerWatch(settings), AnswerCache(),
            RateLimit(settings.max_requests_per_minute, most_runs=settings.max_runs), Acquaintances(),
            Streams(database),
        )  # fmt: skip
        figures = ServiceFigures(parts)
        app.state.registry.register(figures)
        with ended_by_signals(parts.streams):
            yield
        parts.streams.close()
        app.state.registry.unregister(figures)
        parts.bell.close()
        database.close()

    return lifespan


def _operation_id(route: APIRoute) -> str:
    return route.name

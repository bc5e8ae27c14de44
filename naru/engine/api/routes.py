"""Every route of the API, in one table."""

from naru.engine.api import missing, system

ROUTES = (*system.ROUTES, *missing.ROUTES)

"""Every route has a row in the table of roles, and every row a route."""

from typing import Any

from api.http import route_roles
from api.http.routes import routes


class Anything:
    """Stands for all resources of the table, of which only the names are asked for."""

    def __getattr__(self, name: str) -> "Anything":
        return self


def test_every_route_has_a_least_role() -> None:
    resources: Any = Anything()
    names = [route.id for route in routes(resources)]
    assert len(names) > 100
    assert sorted(route_roles.ROLES) == sorted(names), "see api/http/route_roles.py"


def test_a_route_has_one_least_role() -> None:
    groups = (route_roles.PUBLIC, route_roles.OF_VIEWERS, route_roles.OF_USERS, route_roles.OF_ADMINS)
    of_a1111 = route_roles.OF_A1111.values()
    assert sum(map(len, (*groups, *of_a1111))) == len(route_roles.ROLES)

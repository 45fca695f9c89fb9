"""The servers of one judge: attached together, each with what is needed to attach it again.

All have to serve the same model. One that does not answer is left out while others do, and may come back later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from pollux_dagster.core.model_names import is_name_of
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.server.errors import AddressError, AttachError
from pollux_dagster.judge.server.handle import ServerHandle

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Replica:
    """One server of a judge. `found` is a handle on it, or why there is none.

    `attach` gets a handle on it again, blocks, and raises AttachError; None for the only server of a judge, which is
    waited for or restarted instead.
    """

    name: str
    found: ServerHandle | AttachError
    attach: Callable[[], ServerHandle] | None = None


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of one judge, at least one of which has answered."""

    replicas: tuple[Replica, ...]

    @classmethod
    def of(cls, *servers: ServerHandle) -> Servers:
        """A judge with one server, or with several that are restarted where they are, as managed ones. One that cannot
        be is used no more, while another is.
        """
        return cls(tuple(Replica(server.endpoint.server, server) for server in servers))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of those that have answered."""
        return tuple(replica.found.endpoint for replica in self.replicas if not isinstance(replica.found, AttachError))

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the first that has answered."""
        return self.endpoints[0]


def attach_all(attach: Mapping[str, Callable[[], ServerHandle]], log: Callable[[str], None]) -> Servers:
    """Attach the server at each address; one that does not answer is left out and named in `log`.

    Raises:
        AddressError: an address, key or model is wrong, or two servers serve different models; all of them are named.
        AttachError: none answers.
    """
    if len(attach) == 1:
        (only,) = attach.values()
        return Servers.of(only())
    with ThreadPoolExecutor(min(len(attach), _AT_ONCE)) as pool:
        found = dict(zip(attach, pool.map(_found, attach.values()), strict=True))
    handles = [each for each in found.values() if not isinstance(each, AttachError)]
    errors = {urlsplit(url).netloc: each for url, each in found.items() if isinstance(each, AttachError)}
    served = [
        (handle.endpoint.server, f"{handle.endpoint.server} serves {handle.endpoint.model!r}") for handle in handles
    ]
    if wrong := [(name, str(error)) for name, error in errors.items() if isinstance(error, AddressError)]:
        raise AddressError("\n".join([*said_once(wrong), *said_once(served)]))
    said = said_once((name, str(error)) for name, error in errors.items())
    if not handles:
        raise AttachError("none of the judge's servers can be used:\n" + "\n".join(said))
    first = handles[0].endpoint
    for handle in handles:
        _require_same_model(handle.endpoint, first)

    def again(url: str) -> ServerHandle:
        handle = attach[url]()
        _require_same_model(handle.endpoint, first)
        return handle

    for text in said:
        log(f"a server of the judge is left out until it answers: {text}")
    return Servers(tuple(Replica(urlsplit(url).netloc, each, partial(again, url)) for url, each in found.items()))


def said_once(said: Iterable[tuple[str, str]]) -> list[str]:
    """What servers, each with its name, have to say: a text that differs only in the name stands there once."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for name, text in said:
        alike.setdefault(text.replace(name, ""), []).append((name, text))
    return [
        text + (f" (the same for {', '.join(name for name, _ in others)})" if others else "")
        for (_, text), *others in alike.values()
    ]


def _found(attach: Callable[[], ServerHandle]) -> ServerHandle | AttachError:
    try:
        return attach()
    except AttachError as error:
        return error


def _require_same_model(endpoint: Endpoint, first: Endpoint) -> None:
    if not is_name_of(endpoint.model, first.model):
        raise AddressError(
            f"expected all servers of the judge to serve the same model, but {first.server} serves {first.model!r} and "
            f"{endpoint.server} serves {endpoint.model!r}: leave one of the two addresses out, or serve the same model"
        )

"""Judge servers with a managed lifetime: start or attach, hold a lease, restart within limits, leave no process behind.

`managed_server` runs an engine under a supervisor process; `attached_server` uses a server that is run elsewhere. Both
return a `ServerHandle`; `attach_all` attaches several servers of one judge. Requests are sent by `judge.client`.
"""

from pollux_dagster.judge.server.attach import attached_server
from pollux_dagster.judge.server.engine_commands import cpu_vllm_spec, made_up_spec
from pollux_dagster.judge.server.errors import (
    AddressError,
    AttachError,
    RestartRefusedError,
    ServerError,
    ServerStartError,
    UnstartableError,
)
from pollux_dagster.judge.server.handle import ServerHandle
from pollux_dagster.judge.server.launch import managed_server, managed_servers
from pollux_dagster.judge.server.registry import (
    ServerStatus,
    current_servers,
    forget_server,
    list_servers,
    remove_unused_servers,
    stop_server,
)
from pollux_dagster.judge.server.replicas import Servers, attach_all, said_once
from pollux_dagster.judge.server.spec import ServerSpec

__all__ = [
    "AddressError",
    "AttachError",
    "RestartRefusedError",
    "ServerError",
    "ServerHandle",
    "ServerSpec",
    "ServerStartError",
    "ServerStatus",
    "Servers",
    "UnstartableError",
    "attach_all",
    "attached_server",
    "cpu_vllm_spec",
    "current_servers",
    "forget_server",
    "list_servers",
    "made_up_spec",
    "managed_server",
    "managed_servers",
    "remove_unused_servers",
    "said_once",
    "stop_server",
]

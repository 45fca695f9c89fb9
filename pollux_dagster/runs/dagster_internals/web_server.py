"""Internals for the web server."""

# The web server has no hook for authentication or other middleware: issue 2219. So the guard wraps the ASGI
# application, which is created the way `dagster-webserver` creates it.
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.client import DagsterGrpcClient

__all__ = ["DagsterGrpcClient", "DagsterUserCodeUnreachableError", "WorkspaceFileTarget", "WorkspaceProcessContext"]

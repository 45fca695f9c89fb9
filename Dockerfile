# syntax=docker/dockerfile:1
# The CPU image: attached judges, and the packaged demonstration judge on vLLM's CPU build. The same image is web server,
# daemon and code server in compose.yaml; alone it is `pollux up`. docs/deploy.md says how to build and use it.

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim-bookworm AS environment
# The index that has PyTorch's CPU build: `--build-arg PIP_EXTRA_INDEX_URL=…`. Without it the build that pip finds is
# taken, which works and is several gigabytes larger.
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL
RUN python -m venv /opt/pollux
COPY requirements/torch.lock requirements/requirements.lock /requirements/
RUN /opt/pollux/bin/pip install --require-hashes --no-deps -r /requirements/torch.lock \
    || /opt/pollux/bin/pip install torch==2.13.0
RUN /opt/pollux/bin/pip install --require-hashes --no-deps -r /requirements/requirements.lock
COPY --from=wheel /wheel /wheel
# What the wheel lacks, a table's SQL for instance, fails the build here and not a run at night.
RUN /opt/pollux/bin/pip install --no-deps /wheel/*.whl \
    && /opt/pollux/bin/python -c 'from pollux_dagster.definitions import defs; defs()'

FROM python:3.11-slim-bookworm
# What vLLM on the CPU is linked to. It needs no compiler here: the demonstration judge runs in eager mode.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1=12.2.* libnuma1=2.0.16-1 libstdc++6=12.2.* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /data/home --no-create-home --shell /usr/sbin/nologin pollux \
    && install -d -o pollux -g pollux -m 0700 /data/home /data/home/dagster /data/landing /run/pollux
COPY --from=environment /opt/pollux /opt/pollux
ENV PATH=/opt/pollux/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    POLLUX_HOME=/data/home \
    POLLUX_LANDING=/data/landing
USER 10001:10001
WORKDIR /data
VOLUME ["/data/home", "/data/landing"]
EXPOSE 3000
# 401 is the guard asking for a login: it, and the server behind it, answer.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 3000, timeout=5); c.request('GET', '/server_info'); raise SystemExit(c.getresponse().status not in (200, 401))"]
CMD ["pollux", "up", "--host", "0.0.0.0", "--port", "3000"]

# The wheel is built with the pinned build tools, and what the page runs on is prepared for it; nothing of the tools
# reaches the second stage.
FROM python:3.13-slim AS build
WORKDIR /src
COPY constraints-dev.txt ./
RUN pip install --no-cache-dir --require-hashes -r constraints-dev.txt
COPY pyproject.toml setup.cfg README.md LICENSE NOTICE ./
COPY hub hub
COPY sql sql
COPY web web
RUN python web/build.py web/dist
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.13-slim
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --require-hashes -r /tmp/constraints.txt && rm /tmp/constraints.txt
COPY --from=build /wheels/*.whl /tmp/
RUN pip install --no-cache-dir --no-deps /tmp/*.whl && rm /tmp/*.whl
RUN useradd --system --create-home --home-dir /home/hub hub
USER hub
WORKDIR /home/hub
# There is no authentication yet: publish the port to where only friends are.
ENV HUB_HOST=0.0.0.0
EXPOSE 8080
# The process only; whether it hears the database is at /readyz.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as u; port = os.environ.get('HUB_PORT') or os.environ.get('PORT') or '8080'; u.urlopen(f'http://127.0.0.1:{port}/healthz', timeout=4)"]
ENTRYPOINT ["notes-hub"]
CMD ["serve"]

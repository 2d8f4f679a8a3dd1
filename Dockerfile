# syntax=docker/dockerfile:1
# The server without a database of its own: give it DMP_MONGODB_URI (see compose.yaml).

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The locked parts first: this layer is made again only when a lock changes. What builds the package is locked too, and stays out of the image.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/fhir-dmp \
    && /opt/fhir-dmp/bin/pip install --require-hashes --only-binary :all: -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY . .
# The committed tables must be what the definitions give, or there is no image.
RUN PYTHONPATH=. /opt/fhir-dmp/bin/python scripts/build_definitions.py --check \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/fhir-dmp/bin/pip install --no-deps /tmp/wheel/*.whl \
    && /opt/fhir-dmp/bin/pip check

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/fhir-dmp --create-home fhir-dmp
COPY --from=build /opt/fhir-dmp /opt/fhir-dmp
ENV PATH=/opt/fhir-dmp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DMP_DATA_DIR=/var/lib/fhir-dmp
USER 10001
WORKDIR /var/lib/fhir-dmp
# The secret that seals page tokens and stored keys lives here: keep it across upgrades.
VOLUME /var/lib/fhir-dmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["fhir-dmp"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

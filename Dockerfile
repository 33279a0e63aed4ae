# One image for everything of streamlake: consumer, scorer, page, Dagster, its runs, the commands.
# Python is the lock's, Java is what Spark's driver runs on.
FROM python:3.11.15-slim-bookworm AS build

WORKDIR /opt/streamlake
COPY requirements-bootstrap.txt requirements.lock pyproject.toml ./
# the versions and hashes are the lock's; what the lock has for development only stays out
RUN python -m pip install --no-input --no-cache-dir --disable-pip-version-check --require-hashes \
      --target /opt/bootstrap -r requirements-bootstrap.txt \
 && python -m venv --without-pip /opt/venv \
 && UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy /opt/bootstrap/bin/uv pip install --no-cache --python /opt/venv/bin/python \
      --require-hashes --constraints requirements.lock --requirements pyproject.toml \
 && awk '/^[a-z]/ { found = /^setuptools==/ } found' requirements.lock > /tmp/setuptools.txt \
 && UV_LINK_MODE=copy /opt/bootstrap/bin/uv pip install --no-cache --python /opt/venv/bin/python \
      --require-hashes --requirements /tmp/setuptools.txt

COPY README.md LICENSE ./
COPY streamlake_assets ./streamlake_assets
COPY panel_app ./panel_app
COPY benchmarks ./benchmarks
# editable, since the code finds the flows and the reference data beside itself
RUN /opt/bootstrap/bin/uv pip install --no-cache --python /opt/venv/bin/python --no-deps --no-build-isolation -e .
COPY nifi ./nifi
COPY deploy ./deploy
COPY dagster.yaml workspace.yaml ./

FROM python:3.11.15-slim-bookworm

RUN mkdir -p /usr/share/man/man1 \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 streamlake \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin streamlake \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/streamlake \
 && install -d -o 10001 -g 10001 -m 2770 \
      /var/lib/streamlake/inbox /var/lib/streamlake/rejects /var/lib/streamlake/extra

COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/streamlake /opt/streamlake

ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64 \
    DAGSTER_HOME=/opt/streamlake/deploy/dagster \
    STREAMLAKE_HOME=/var/lib/streamlake

WORKDIR /opt/streamlake
USER 10001:10001
ENTRYPOINT ["sh", "/opt/streamlake/deploy/entrypoint.sh"]
CMD ["streamlake", "--help"]

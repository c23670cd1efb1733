# Runs `tidecast schedule` as a user without rights. The state folder is the volume /data; docs/docker.md has commands.
FROM python:3.11-slim AS build
ARG EXTRAS=postgres
# what pip installs as torch: the address of a wheel for CPUs, of the same version, saves four gigabytes of CUDA
ARG TORCH=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /source
COPY constraints.txt ./
RUN pip install "${TORCH:-torch==$(sed -n 's/^torch==//p' constraints.txt)}"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY features features
COPY forecasting forecasting
COPY flows flows
COPY tidecast tidecast
RUN pip install -c constraints.txt ".[$EXTRAS]"

FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --home-dir /data --create-home tidecast
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HOME=/data TIDECAST_HOME=/data/panel PYTHONUNBUFFERED=1 NO_COLOR=1
USER 10001
WORKDIR /data
RUN mkdir panel
VOLUME /data
# exit code 3 of the check is a finding; Docker knows 0 and 1 only. Before the first run there is nothing to check.
HEALTHCHECK --interval=15m --timeout=3m --start-period=24h CMD ["sh", "-c", "tidecast check || exit 1"]
ENTRYPOINT ["tidecast"]
CMD ["schedule"]

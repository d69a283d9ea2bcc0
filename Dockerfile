# One image for every role; the command says which: `api`, `worker`, `reconciler`, `db upgrade`, `datasets fetch`.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build

# Where pip looks for torch and torchvision; empty means the default index, whose Linux wheels bring CUDA.
ARG TORCH_INDEX_URL=""

ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /app
WORKDIR /src

# The dependencies come before the code, so that a change of the code does not install them again.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
    && if [ -n "$TORCH_INDEX_URL" ]; then \
        /app/bin/pip install --no-deps --index-url "$TORCH_INDEX_URL" -c constraints.txt torch torchvision; \
    fi \
    && /app/bin/pip install -c constraints.txt -r requirements.txt

COPY . .
RUN --mount=type=cache,target=/root/.cache/pip /app/bin/pip install --no-deps .


FROM python:${PYTHON_VERSION}-slim

# Training compiles the networks of an experiment, once; the code is kept under /data.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

# An empty named volume takes over the owner of the folder that it is mounted on.
RUN groupadd --gid 10001 actrobust \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin actrobust \
    && install --directory --owner 10001 --group 10001 /data /datasets

COPY --from=build /app /app

# The root file system may be read-only: state goes to /data, data sets to /datasets, the rest to /tmp.
ENV PATH=/app/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ACTROBUST_DATA_DIR=/data \
    ACTROBUST_DATASETS_DIR=/datasets \
    ACTROBUST_LOG_FORMAT=json

WORKDIR /data
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["actrobust"]
CMD ["--help"]

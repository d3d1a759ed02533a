# The operator and its Helm on a base without shell, pip and compiler; `make image` builds it.
# The bases may be others. GO_IMAGE needs Go, PYTHON_IMAGE needs Python with pip. BASE_IMAGE needs the same minor version
# of Python in the folder RUNTIME_BIN, a C library no older than PYTHON_IMAGE's, and certificates.
ARG GO_IMAGE=docker.io/library/golang:1.26-trixie
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie
ARG BASE_IMAGE=gcr.io/distroless/python3-debian13:nonroot


FROM ${GO_IMAGE} AS helm
# How this machine reaches the module proxy, where it is not as Go has it. The secret `ca` is for the same.
ARG GOPROXY
ARG GOSUMDB
WORKDIR /helm
# The same pins and hashes that the tests' helm is built from.
COPY tests/testbed/tools/helm/go.mod tests/testbed/tools/helm/go.sum ./
# A plain build of helm calls itself "v4.3", which is no SemVer.
RUN --mount=type=secret,id=ca \
    --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=cache,target=/go/pkg/mod \
    if [ -f /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi \
    && export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false" GOWORK=off GOTOOLCHAIN=local \
    && version=$(go list -m -f '{{.Version}}' helm.sh/helm/v4) \
    && go build -trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=${version}" \
        -o /usr/local/bin/helm helm.sh/helm/v4/cmd/helm


FROM ${PYTHON_IMAGE} AS python
ARG PIP_INDEX_URL
ARG RUNTIME_BIN=/usr/bin
ENV PIP_CONFIG_FILE=/run/secrets/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_PROGRESS_BAR=off
WORKDIR /source
COPY requirements.lock requirements-dev.lock ./
# What the wheel is built with comes from the lock file too; pip refuses what has no hash, so the list cannot fall short.
RUN --mount=type=secret,id=ca \
    --mount=type=secret,id=pip \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && awk '/^[^ ]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' \
        requirements-dev.lock > build.lock \
    && python3 -m venv /build \
    && /build/bin/pip install --require-hashes --no-deps --only-binary :all: --requirement build.lock \
    && python3 -m venv --without-pip /opt/cilium-hybrid \
    && /build/bin/pip --python /opt/cilium-hybrid/bin/python install --no-compile \
        --require-hashes --no-deps --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# The bytecode is not checked against times, which copies change, and nobody could write a newer one.
# The environment is told of the Python that it will meet, and keeps no programs but ours.
RUN /build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheel . \
    && /build/bin/pip --python /opt/cilium-hybrid/bin/python install --no-compile --no-deps --no-index /wheel/*.whl \
    && cd /opt/cilium-hybrid \
    && bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash lib \
    && python=$(bin/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])') \
    && find bin -type f ! -name '*cilium*' -delete \
    && rm -rf include .gitignore \
    && for name in python python3 "${python}"; do ln -sf "${RUNTIME_BIN}/${python}" "bin/${name}"; done \
    && printf 'home = %s\ninclude-system-site-packages = false\n' "${RUNTIME_BIN}" > pyvenv.cfg \
    && mkdir /cache


FROM ${BASE_IMAGE}
COPY --from=helm /usr/local/bin/helm /usr/local/bin/helm
COPY --from=python /opt/cilium-hybrid /opt/cilium-hybrid
# Where a volume belongs: the root may be read-only, and needs no other than this and /tmp.
COPY --from=python --chown=65532:65532 /cache /var/cache/cilium-hybrid
# kopf asks for the user's name, which the base need not know: a pod may give any number.
ENV PATH=/opt/cilium-hybrid/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=cilium-hybrid \
    TMPDIR=/tmp \
    CILIUM_HYBRID_CACHE_DIR=/var/cache/cilium-hybrid \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 65532:65532
EXPOSE 9947
ENTRYPOINT ["cilium-hybrid"]
CMD ["run"]
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="cilium-hybrid-operator" \
      org.opencontainers.image.description="Kubernetes operator that owns Cilium's life on Amazon EKS hybrid nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The operator and Helm on a base image without a shell, pip or a compiler; `make image` builds it.
# The base images are build arguments. GO_IMAGE must provide Go, PYTHON_IMAGE Python with pip. BASE_IMAGE must provide
# the same minor version of Python in directory RUNTIME_BIN, a C library at least as new as the one of PYTHON_IMAGE, and
# CA certificates.
ARG GO_IMAGE=docker.io/library/golang:1.26-trixie
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie
ARG BASE_IMAGE=gcr.io/distroless/python3-debian13:nonroot


FROM ${GO_IMAGE} AS helm
# Module proxy and checksum database, if not Go's defaults. Secret `ca`: the CA certificates to trust.
ARG GOPROXY
ARG GOSUMDB
WORKDIR /helm
# The same versions and hashes as the helm of the tests.
COPY tests/testbed/tools/helm/go.mod tests/testbed/tools/helm/go.sum ./
# Without the linker flag, helm reports version "v4.3", which is not a semantic version.
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
# The build dependencies of the wheel also come from the lock file. pip fails if one is missing in this list, because it
# then has no hash.
RUN --mount=type=secret,id=ca \
    --mount=type=secret,id=pip \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && awk '/^[^ ]/ { selected = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } selected' \
        requirements-dev.lock > build.lock \
    && python3 -m venv /build \
    && /build/bin/pip install --require-hashes --no-deps --only-binary :all: --requirement build.lock \
    && python3 -m venv --without-pip /opt/cilium-hybrid \
    && /build/bin/pip --python /opt/cilium-hybrid/bin/python install --no-compile \
        --require-hashes --no-deps --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# The bytecode is not validated against modification times: copying changes them, and the root is read-only.
# The virtual environment is pointed at the Python of BASE_IMAGE, and keeps only the operator's own programs.
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
# Mount a volume here and on /tmp; the rest of the root can be read-only.
COPY --from=python --chown=65532:65532 /cache /var/cache/cilium-hybrid
# kopf needs a user name, and the base image has none for an arbitrary runAsUser.
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
      org.opencontainers.image.description="Kubernetes operator that manages Cilium on Amazon EKS hybrid nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Images of the worker and of cap. Base images are arguments, for mirrors and
# for builds without a registry:
#
#   docker build --target worker -t capsign/worker .
#   docker build --target worker-softhsm -t capsign/worker-softhsm .
#   docker build --target cap -t capsign/cap .

ARG GO_IMAGE=golang:1.26-bookworm
ARG RUNTIME_IMAGE=scratch
ARG SOFTHSM_IMAGE=debian:bookworm-slim

# What every build has in common: the source, and what a container may write to,
# which belongs to the user that it runs as.
FROM ${GO_IMAGE} AS source
ARG GOPROXY
ENV GOTOOLCHAIN=local
WORKDIR /src
COPY . .
RUN mkdir -p /rootfs/data /rootfs/keys /rootfs/etc/ssl/certs \
 && chmod 0700 /rootfs/data /rootfs/keys \
 && cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ \
 && chown -R 65532:65532 /rootfs/data /rootfs/keys

# Static commands: no C library, no PKCS#11.
FROM source AS static
ARG VERSION=0.1.0-dev
RUN --mount=type=cache,target=/root/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOMODCACHE=/root/go/pkg/mod GOCACHE=/root/.cache/go-build \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/worker ./cmd/cap ./tests/kmsserver

# The worker with PKCS#11, which loads modules of the C library.
FROM source AS dynamic
ARG VERSION=0.1.0-dev
RUN --mount=type=cache,target=/root/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=1 GOMODCACHE=/root/go/pkg/mod GOCACHE=/root/.cache/go-build \
    go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/worker

# worker: providers software and cloudkms.
FROM ${RUNTIME_IMAGE} AS worker
COPY --from=source /rootfs/ /
COPY --from=static /out/worker /usr/local/bin/worker
USER 65532:65532
WORKDIR /data
VOLUME ["/data", "/keys"]
ENTRYPOINT ["/usr/local/bin/worker"]
CMD ["--data", "/data"]

# worker-softhsm: the provider pkcs11 on SoftHSM2, whose token is made at the
# first start. For another module, start from this one and bring the module.
FROM ${SOFTHSM_IMAGE} AS worker-softhsm
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends softhsm2 opensc ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=source /rootfs/data /data
RUN chown -R 65532:65532 /data && chmod 0700 /data
COPY --from=dynamic /out/worker /usr/local/bin/worker
COPY deploy/softhsm/softhsm2.conf /etc/cap/softhsm2.conf
COPY --chmod=0755 deploy/softhsm/start.sh /usr/local/bin/start-softhsm
ENV SOFTHSM2_CONF=/etc/cap/softhsm2.conf
USER 65532:65532
WORKDIR /data
VOLUME ["/data"]
ENTRYPOINT ["/usr/local/bin/start-softhsm"]

# kmsserver: a key management service for trying out, never for keys that matter.
FROM ${RUNTIME_IMAGE} AS kmsserver
COPY --from=source /rootfs/ /
COPY --from=static /out/kmsserver /usr/local/bin/kmsserver
USER 65532:65532
VOLUME ["/data"]
ENTRYPOINT ["/usr/local/bin/kmsserver"]

# cap: the command, for pipelines. The last target is what a plain build makes.
FROM ${RUNTIME_IMAGE} AS cap
COPY --from=source /rootfs/etc/ /etc/
COPY --from=static /out/cap /usr/local/bin/cap
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/cap"]

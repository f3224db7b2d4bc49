#!/bin/sh
# Makes the images of docker-compose.yml's core without pulling any: the base
# image with debootstrap and this machine's Go, the NATS server from its Go
# module. For trying the file out where no registry can be reached, as root on
# Debian with Go, debootstrap, busybox-static and a running engine.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== cap-local/base: Debian and Go"
mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[.*\] \)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$work/root" "$mirror" >"$work/log"
mkdir -p "$work/root/usr/local/go"
cp -a "$(go env GOROOT)/." "$work/root/usr/local/go/"
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$work/root/etc/ssl/certs/ca-certificates.crt"
tar -C "$work/root" -c . | docker import -c \
	'ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - cap-local/base >"$work/log"

echo "== cap-local/nats: the server and a shell"
mkdir "$work/nats"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/nats/" github.com/nats-io/nats-server/v2
cp "$(command -v busybox)" "$work/nats/"
cat >"$work/nats/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY busybox /bin/busybox
COPY nats-server /usr/local/bin/nats-server
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENTRYPOINT ["/usr/local/bin/nats-server"]
DOCKERFILE
docker build -q -t cap-local/nats "$work/nats" >"$work/log"

cat <<'SAY'
Now, with what these variables name:
  export NATS_IMAGE=cap-local/nats GO_IMAGE=cap-local/base SOFTHSM_IMAGE=cap-local/base
  docker compose build
  docker compose up -d
SAY

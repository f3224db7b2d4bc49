#!/bin/sh
# Makes every image of docker-compose.yml's core without pulling any: the base
# images from this machine's own files, the NATS server from its Go module. For
# trying the file out where no registry can be reached, on a Debian machine with
# Go, gcc, busybox-static and a running engine.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== base image, from this machine's system"
tar -C / --one-file-system -c bin sbin lib lib64 etc/apt etc/ssl etc/passwd etc/group etc/ld.so.conf etc/ld.so.conf.d \
	etc/alternatives usr/bin usr/sbin usr/lib usr/lib64 usr/include usr/share/keyrings usr/local/go var/lib/dpkg 2>/dev/null |
	docker import -c 'ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - cap-local/base >/dev/null

echo "== nats"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/" github.com/nats-io/nats-server/v2
cp "$(command -v busybox)" "$work/busybox"
cat >"$work/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY busybox /bin/busybox
COPY nats-server /usr/local/bin/nats-server
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENTRYPOINT ["/usr/local/bin/nats-server"]
DOCKERFILE
docker build -q -t cap-local/nats "$work"

for target in worker worker-softhsm kmsserver cap; do
	echo "== $target"
	docker build -q --network host --target "$target" -t "capsign/$target:dev" \
		--build-arg GO_IMAGE=cap-local/base --build-arg SOFTHSM_IMAGE=cap-local/base \
		--build-arg GOPROXY="$(go env GOPROXY)" --build-arg GOFLAGS="$(go env GOFLAGS)" .
done
echo "NATS_IMAGE=cap-local/nats docker compose up -d"

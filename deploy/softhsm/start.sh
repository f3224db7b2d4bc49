#!/bin/sh
# Makes the token and its first key where there are none, then becomes the
# worker. PINs come from files and go through the environment of the one command
# that needs them: they are printed nowhere and stand on no command line.
set -eu

module=/usr/lib/softhsm/libsofthsm2.so
label=cap
pin_file=${PIN_FILE:-/run/secrets/pin}
so_pin_file=${SO_PIN_FILE:-/run/secrets/so-pin}

tool() { # pkcs11-tool, which may speak of slots and labels but not of PINs
	PIN=$(cat "$pin_file") SO_PIN=$(cat "$so_pin_file") pkcs11-tool --module "$module" "$@"
}

if [ ! -e /data/tokens/made ]; then
	umask 077
	rm -rf /data/tokens # of a start that ended half way
	mkdir -p /data/tokens
	tool --init-token --slot-index 0 --label "$label" --so-pin env:SO_PIN
	tool --init-pin --token-label "$label" --login --login-type so --so-pin env:SO_PIN --new-pin env:PIN
	worker keys generate "$@"
	: >/data/tokens/made
fi
exec worker "$@"

package config_test

import (
	"errors"
	"fmt"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
)

// All faults of a file come at once, with their places and without its values.
func ExampleParse() {
	_, err := config.Parse([]byte(`
key:
  provider: pkcs11
  pkcs11:
    modul: /usr/lib/softhsm/libsofthsm2.so
    slot: first
    pin: "1234"
`))
	fmt.Println(err)
	fmt.Println(errors.Is(err, capsign.ConfigInvalid))
	// Output:
	// config: 6 faults: config_invalid
	//   line 4, column 3: key.pkcs11.module: missing; provider pkcs11 needs it
	//   line 4, column 3: key.pkcs11.key_label: missing; provider pkcs11 needs it, or key_id
	//   line 4, column 3: key.pkcs11.pin_env: missing; provider pkcs11 needs it, or pin_file
	//   line 5, column 5: key.pkcs11.modul: unknown key; did you mean module?
	//   line 6, column 5: key.pkcs11.slot: must be a whole decimal number, not negative
	//   line 7, column 5: key.pkcs11.pin: a PIN does not belong in the file; name a variable in pin_env or a file in pin_file
	// true
}

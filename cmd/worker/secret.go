package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/capsign/cap/capsign"
)

// readSecret returns what is in the environment variable, or in the file, that
// the configuration names under key and "_env" or "_file"; nil where it names
// neither. A file's last line end is not part of the secret.
func readSecret(key, variable, file string) ([]byte, error) {
	switch {
	case variable != "":
		value := os.Getenv(variable)
		if value == "" {
			return nil, fmt.Errorf("%s_env: the variable is not set: %w", key, capsign.ConfigInvalid)
		}
		return []byte(value), nil
	case file != "":
		data, err := os.ReadFile(file)
		value := strings.TrimRight(string(data), "\r\n")
		if err != nil || value == "" {
			return nil, fmt.Errorf("%s_file: cannot be read or is empty: %w", key, capsign.ConfigInvalid)
		}
		return []byte(value), nil
	}
	return nil, nil
}

package cli

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what "cap version --json" prints.
type build struct {
	Version string `json:"version"`
	// Revision is the commit that cap was built from, where that is known.
	Revision string `json:"revision,omitzero"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// versionCommand returns "cap version".
func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show cap's version",
		Example: "  cap version --json",
		Args:    noArgs,
		RunE: a.bounded(func(context.Context) error {
			b := build{Version: Version, Revision: revision(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if a.flags.json {
				return a.printJSON(b)
			}
			return a.printf("cap %s %s %s\n", b.Version, b.Go, b.Platform)
		}),
	}
}

// revision returns the commit that the go command has noted, or "".
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return ""
}

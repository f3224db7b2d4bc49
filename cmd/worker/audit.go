package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/internal/audit"
)

// auditCommand returns "worker audit", which holds what can be done with the
// record of a worker's decisions.
func auditCommand(flags *flags) *cobra.Command {
	group := &cobra.Command{Use: "audit", Short: "Check the record of what the worker decided", Args: cobra.NoArgs}
	group.AddCommand(&cobra.Command{
		Use:   "verify",
		Short: "Read the whole audit log and check its chain of hashes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.config(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			records, err := audit.Verify(filepath.Join(cfg.Data, "audit"))
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d records, none changed, removed or put in between\n", records)
			return nil
		},
	})
	return group
}

package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/batch"
)

// leftBatch is what "cap sign-batch --detach --json" prints.
type leftBatch struct {
	// Job is the ID for "cap jobs".
	Job     string `json:"job"`
	Total   int    `json:"total"`
	Queued  int    `json:"queued"`
	Refused int    `json:"refused"`
}

// leaveBatch queues every file that is named and leaves them to the workers.
func (a *app) leaveBatch(ctx context.Context, source batch.Source, b batchFlags) error {
	files, err := await(ctx, func() (*batch.Collection, error) { return batch.Collect(source) })
	if err != nil {
		return batchFault(b, err)
	}
	defer files.Close()
	client, closeClient, err := a.openClient(ctx, b.kid, b.timeout)
	if err != nil {
		return err
	}
	defer closeClient()
	run, err := client.NewRun(capsign.NewClientID(), nil)
	if err != nil {
		return err
	}
	defer run.Close()
	left := leftBatch{Job: run.ID()}
	bar := a.newBatchProgress("queueing", files.Items, 0)
	for _, err := range run.Leave(ctx, b.what, batch.LoadAll(ctx, b.what, files.Artifacts())) {
		left.Total++
		if err != nil {
			left.Refused++
		}
		bar.add(err != nil)
	}
	bar.finish()
	left.Queued = left.Total - left.Refused
	if err := a.deny.explain(coded(run.Err())); err != nil || ctx.Err() != nil {
		return cmp.Or(ctx.Err(), err)
	}
	if a.flags.json {
		return a.printJSON(left)
	}
	fmt.Fprintf(a.stderr, "queued: %d of %d files; 'cap jobs get %s --out FILE' has the rest\n", left.Queued, left.Total, left.Job)
	return a.printf("%s\n", left.Job)
}

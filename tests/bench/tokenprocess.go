package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/capsign"
)

// signer makes one signature of the n-th message. Each is used by one goroutine.
type signer func(n int) error

// contenders returns the signers that a contender signs with, all at once.
type contenders func(name string) ([]signer, error)

// tokenProcess is a copy of this program that signs on a token when told to.
type tokenProcess struct {
	answers *json.Decoder
	stdin   io.WriteCloser
	stop    func() error
}

// spawn starts a process in the role of the provider or of the module.
func (t *token) spawn(ctx context.Context, p *pass, role string) (*tokenProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	size := strconv.Itoa(len(p.messages[0]))
	cmd := exec.CommandContext(ctx, self, "token", role, t.module, string(t.alg), size, p.profiles)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+t.conf, "GOMAXPROCS="+strconv.Itoa(p.waiting))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	child := &tokenProcess{
		answers: json.NewDecoder(stdout), stdin: stdin,
		stop: func() error { return errors.Join(stdin.Close(), cmd.Wait()) },
	}
	if _, err := child.read(); err != nil { // it is ready
		return nil, errors.Join(fmt.Errorf("%s on a token: %w", role, err), child.stop())
	}
	return child, nil
}

// measure has a contender of the process sign for d.
func (t *tokenProcess) measure(contender string, d time.Duration) (figures, error) {
	if _, err := fmt.Fprintln(t.stdin, contender, d); err != nil {
		return nil, err
	}
	return t.read()
}

// read reads the process's next answer.
func (t *tokenProcess) read() (f figures, err error) {
	return f, t.answers.Decode(&f)
}

// serveToken is that copy. It answers once when it is ready, and then each line
// of stdin, a contender and a duration, with what the contender gave.
func serveToken(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (err error) {
	role, module, alg := args[0], args[1], capsign.Alg(args[2])
	size, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	messages := make([][]byte, 256)
	for i := range messages {
		messages[i] = make([]byte, size)
		rand.Read(messages[i]) // never fails, see crypto/rand
	}
	open := openModule
	if role == "provider" {
		open = openProvider
	}
	find, closeToken, err := open(ctx, module, alg, messages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeToken()) }()
	stopProfile, err := startProfile(args[4], row{id: "P5", what: role + " " + string(alg)}, "", os.Getpid())
	if err != nil {
		return err
	}
	defer stopProfile()
	answers := json.NewEncoder(stdout)
	if err := answers.Encode(figures{}); err != nil {
		return err
	}
	return answer(find, stdin, answers)
}

// answer measures what the lines of stdin ask for, until there are no more.
func answer(find contenders, stdin io.Reader, answers *json.Encoder) error {
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		name, length, _ := strings.Cut(lines.Text(), " ")
		d, err := time.ParseDuration(length)
		if err != nil {
			return err
		}
		signers, err := find(name)
		if err != nil {
			return err
		}
		f, err := signWith(signers, d)
		if err != nil {
			return err
		}
		if err := answers.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// signWith keeps all signers busy and returns the rate and the CPU time of a
// signature over d, which begins and ends under load.
func signWith(signers []signer, d time.Duration) (figures, error) {
	var done atomic.Int64
	var over atomic.Bool
	var failed atomic.Pointer[error]
	var signing sync.WaitGroup
	for first, sign := range signers {
		signing.Go(func() {
			for n := first; !over.Load(); n++ {
				if err := sign(n); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	f, err := watch(&done, d)
	over.Store(true)
	signing.Wait()
	if failure := failed.Load(); failure != nil {
		return nil, *failure
	}
	return f, err
}

// watch reads the rate and the CPU time of what is counted in done, over d,
// after a quarter of it to warm up.
func watch(done *atomic.Int64, d time.Duration) (figures, error) {
	time.Sleep(d / 4)
	from, err := read(&site{}, done)
	if err != nil {
		return nil, err
	}
	time.Sleep(d)
	to, err := read(&site{}, done)
	if err != nil {
		return nil, err
	}
	return to.since(from), nil
}

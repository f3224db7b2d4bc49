//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// registry holds the modules of the process by their real path. A PKCS#11
// library has one state per process: whoever finalises it does so for all.
var registry = struct {
	sync.Mutex
	modules map[string]*module
}{modules: make(map[string]*module)}

// module is a loaded library with everything that is open on it. It stays in
// the registry once it is there.
type module struct {
	path string
	gate gate // between the sessions' threads and the library

	// admin is held, as its one value, by who opens, closes, mends or searches.
	// Only that one calls into the library beside the sessions' threads, on the
	// control thread, and only that one touches what follows.
	admin    turn
	control  *threads // one thread; nil while there are no users
	users    int      // providers that are open, or being opened
	initArgs string
	limit    time.Duration // of one call
	log      *slog.Logger
	tokens   []*token
	reinits  backoff
	class    capsign.Class // what the library looks like; empty: nothing special

	// lib, up and era change on the control thread while the gate is shut or
	// nobody is behind it.
	lib *p11.Ctx
	up  atomic.Bool // initialised
	era uint64      // counts the initialisations

	healMu  sync.Mutex
	healing *healing // nil: none runs
}

// moduleAt returns the module of a real path.
func moduleAt(path string) *module {
	registry.Lock()
	defer registry.Unlock()
	m, ok := registry.modules[path]
	if !ok {
		m = &module{path: path, admin: newTurn()}
		registry.modules[path] = m
	}
	return m
}

// join counts one user more and readies the control thread. The library itself
// is not called.
func (m *module) join(cfg Config) error {
	if m.control == nil {
		m.control, m.reinits = newThreads(1, ""), backoff{}
		m.initArgs, m.limit, m.log = cfg.InitArgs, cfg.CallTimeout, cfg.Log
	}
	if m.initArgs != cfg.InitArgs {
		return fmt.Errorf("module is open with other init args: %w", capsign.ConfigInvalid)
	}
	m.users++
	return nil
}

// part counts one user less and finalises the library with the last one. Where
// a call does not return from it, everything is left as it is, to be found
// again by the next user: finalising would end the process.
func (m *module) part(ctx context.Context) {
	m.users--
	if m.users > 0 || len(m.tokens) > 0 {
		return
	}
	if m.call(ctx, m.finalize) != nil {
		return
	}
	m.control.stop()
	m.control = nil
}

// call runs work on the control thread, within the module's limit per call.
func (m *module) call(ctx context.Context, work func(context.Context, *thread) error) error {
	return m.callWithin(ctx, m.limit, work)
}

// callWithin is call for work whose calls may take as long as limit.
func (m *module) callWithin(ctx context.Context, limit time.Duration, work func(context.Context, *thread) error) error {
	return m.control.do(ctx, limit, func(th *thread) error { return work(ctx, th) })
}

// enter calls one function of the library on a thread, unless ctx is done. It
// is the only way in. A failure is a callError.
func (m *module) enter(ctx context.Context, th *thread, function string, call func() error) error {
	if ctx.Err() != nil {
		return errTimeout
	}
	th.enter()
	err := call()
	th.leave()
	if err == nil {
		return nil
	}
	failed := callError{function, rv(0)}
	if number, ok := errors.AsType[p11.Error](err); ok {
		failed.rv = rv(number)
	}
	m.log.DebugContext(ctx, "pkcs11 call failed", slog.String("function", function),
		slog.Uint64("rv", uint64(failed.rv)), slog.String("name", failed.rv.verdict().name))
	return failed
}

// initialize loads the library where that is still to be done and initialises
// it. It runs on the control thread.
func (m *module) initialize(ctx context.Context, th *thread) error {
	if m.up.Load() {
		return nil
	}
	if m.lib == nil {
		if err := m.load(th); err != nil {
			return err
		}
	}
	err := m.enter(ctx, th, "C_Initialize", func() error { return initialize(m.lib, m.initArgs) })
	if err != nil && !isRV(err, rvAlreadyInitialized) {
		return err
	}
	m.up.Store(true)
	m.era++
	return m.look(ctx, th)
}

// load loads the library under the watchdog: its constructors are a vendor's
// code as well.
func (m *module) load(th *thread) error {
	th.enter()
	defer th.leave()
	lib, err := load(m.path)
	if err != nil {
		return err
	}
	m.lib = lib
	return nil
}

// look learns the library's class from what it says of itself.
func (m *module) look(ctx context.Context, th *thread) error {
	var info p11.Info
	err := m.enter(ctx, th, "C_GetInfo", func() (err error) { info, err = m.lib.GetInfo(); return err })
	if err != nil {
		return err
	}
	m.class = classLike(info.ManufacturerID, info.LibraryDescription)
	return nil
}

// finalize finalises the library; that it was no longer initialised is fine.
// It runs on the control thread, with nobody behind the gate.
func (m *module) finalize(ctx context.Context, th *thread) error {
	if !m.up.Load() {
		return nil
	}
	m.up.Store(false)
	_ = m.enter(ctx, th, "C_Finalize", m.lib.Finalize) // what it says changes nothing
	return nil
}

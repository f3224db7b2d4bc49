package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// rawSigner is the yardstick: the standard library's Ed25519 on every core,
// without queue, network or disk.
type rawSigner struct {
	private  ed25519.PrivateKey
	messages [][]byte
}

// newRawSigner returns a signer of random messages of size bytes.
func newRawSigner(size int) (*rawSigner, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	s := &rawSigner{private: private, messages: make([][]byte, 1024)}
	for i := range s.messages {
		s.messages[i] = make([]byte, size)
		rand.Read(s.messages[i]) // never fails, see crypto/rand
	}
	return s, nil
}

// measure returns the signatures per second that all cores made within d, and
// the CPU time of one in milliseconds.
func (s *rawSigner) measure(d time.Duration) (rate, cpuMS float64, err error) {
	runtime.GC() // what came before is not to be paid for here
	var total atomic.Int64
	var signing sync.WaitGroup
	used, err := cpuTime(0)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	for range runtime.NumCPU() {
		signing.Go(func() {
			n := 0
			for ; n%16 != 0 || time.Since(began) < d; n++ {
				ed25519.Sign(s.private, s.messages[n%len(s.messages)])
			}
			total.Add(int64(n))
		})
	}
	signing.Wait()
	elapsed := time.Since(began)
	now, err := cpuTime(0)
	n := float64(total.Load())
	return n / elapsed.Seconds(), (now - used).Seconds() * 1000 / n, err
}

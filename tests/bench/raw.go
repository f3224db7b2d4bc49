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

// rate returns the signatures per second that all cores made within d.
func (s *rawSigner) rate(d time.Duration) float64 {
	runtime.GC() // what came before is not to be paid for here
	var total atomic.Int64
	var signing sync.WaitGroup
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
	return float64(total.Load()) / time.Since(began).Seconds()
}

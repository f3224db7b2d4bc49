package fault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates is what a server needs to be trusted by a client, and not to be.
type Certificates struct {
	// CAFile is a PEM file with the certificate that Server is trusted by.
	CAFile string
	// Pool holds the same certificate.
	Pool *x509.CertPool
	// Server is for 127.0.0.1, ::1 and localhost.
	Server tls.Certificate
	// Untrusted is for the same names, and no file says who made it.
	Untrusted tls.Certificate
	// Misnamed is made by the same authority as Server, for another host.
	Misnamed tls.Certificate
}

// TLS makes certificates that are good for a day, in a directory of the test's.
func TLS(t testing.TB) Certificates {
	t.Helper()
	certificates, err := NewCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return certificates
}

// NewCertificates makes certificates that are good for a day and writes the
// authority's to dir.
func NewCertificates(dir string) (Certificates, error) {
	trusted, err := newAuthority()
	if err != nil {
		return Certificates{}, err
	}
	other, err := newAuthority()
	if err != nil {
		return Certificates{}, err
	}
	out := Certificates{CAFile: filepath.Join(dir, "ca.pem"), Pool: x509.NewCertPool()}
	out.Pool.AddCert(trusted.certificate)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.certificate.Raw})
	if err := os.WriteFile(out.CAFile, ca, 0o600); err != nil {
		return Certificates{}, fmt.Errorf("certificates: %w", err)
	}
	for _, leaf := range []struct {
		by  authority
		to  *tls.Certificate
		dns string
		ips []net.IP
	}{
		{trusted, &out.Server, "localhost", []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}},
		{other, &out.Untrusted, "localhost", []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}},
		{trusted, &out.Misnamed, "elsewhere.invalid", nil},
	} {
		if *leaf.to, err = leaf.by.issue(leaf.dns, leaf.ips); err != nil {
			return Certificates{}, err
		}
	}
	return out, nil
}

// authority is a certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newAuthority makes a certificate authority.
func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("certificates: %w", err)
	}
	template := template("cap test authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("certificates: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("certificates: %w", err)
	}
	return authority{certificate, key}, nil
}

// issue makes a server certificate.
func (a authority) issue(dns string, ips []net.IP) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificates: %w", err)
	}
	template := template("cap test server")
	template.DNSNames, template.IPAddresses = []string{dns}, ips
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificates: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// template returns what all certificates have in common.
func template(name string) *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // it never fails
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
}

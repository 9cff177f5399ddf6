package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/registryusers/registryusers/client"
)

// newCertificate writes a certificate for 127.0.0.1 and its key into the files.
func newCertificate(t *testing.T, serial int64, certPath, keyPath string) *x509.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		certPath: {Type: "CERTIFICATE", Bytes: der},
		keyPath:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// trusting returns a client that trusts the certificate and keeps no connection.
func trusting(certificate *x509.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := newCertificate(t, 1, certPath, keyPath)
	data := filepath.Join(dir, "data")
	p := serve(t, "--dev", "--data", data, "--tls-cert", certPath, "--tls-key", keyPath)
	file := readDev(t, data)
	if !strings.HasPrefix(file.URL, "https://127.0.0.1:") || file.URL != p.url {
		t.Errorf("dev.json has the URL %s, the log %s; want https", file.URL, p.url)
	}
	c, err := client.New(client.WithBaseURL(p.url), client.WithAPIKey(file.APIKey), client.WithProject(1), client.WithRegion(1), client.WithHTTPClient(trusting(first)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateUser(t.Context(), 1, client.NewUser{Name: "user1", Days: 1}); err != nil {
		t.Error(err)
	}
	response, err := trusting(first).Get(p.url + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("WWW-Authenticate"); !strings.Contains(got, `realm="`+p.url+`/token"`) {
		t.Errorf("the challenge: got %s, want the realm %s/token", got, p.url)
	}
}

func TestCertificateThatChanges(t *testing.T) {
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := newCertificate(t, 1, certPath, keyPath)
	p := serve(t, "--data", filepath.Join(dir, "data"), "--tls-cert", certPath, "--tls-key", keyPath)
	want := func(what string, certificate *x509.Certificate) {
		t.Helper()
		response, err := trusting(certificate).Get(p.url + "/healthz")
		if err != nil {
			t.Errorf("%s: got %v, want the certificate %s", what, err, certificate.SerialNumber)
			return
		}
		response.Body.Close()
	}
	want("at first", first)
	second := newCertificate(t, 2, certPath, keyPath)
	want("after the files have changed", second)
	if err := os.WriteFile(certPath, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("after one file was damaged", second)
	want("after one file was damaged, again", second)
	if err := os.Remove(certPath); err != nil {
		t.Fatal(err)
	}
	want("after one file was removed", second)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	third := newCertificate(t, 3, certPath, keyPath)
	want("after SIGHUP", third)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("stopped after SIGHUP: got exit code %d, want 0", code)
	}
	if n := strings.Count(p.stderr.String(), "level=ERROR"); n < 2 || n > 3 { // SIGHUP may come before the third certificate
		t.Errorf("got %d errors in the log, want one for each state of the files:\n%s", n, p.stderr.String())
	}
}

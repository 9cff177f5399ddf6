package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// tls returns the TLS configuration, or nil for plain HTTP. The certificate is read
// again when one of its files has changed, and when reload is called.
func (o *serveOptions) tls(logger *slog.Logger) (config *tls.Config, reload func(), err error) {
	if o.tlsCert == "" && o.tlsKey == "" {
		return nil, func() {}, nil
	}
	if o.tlsCert == "" || o.tlsKey == "" {
		return nil, nil, usagef("--tls-cert and --tls-key go together: give both or neither")
	}
	c := &certificateFiles{certificate: o.tlsCert, key: o.tlsKey, logger: logger}
	if err := c.load(); err != nil {
		return nil, nil, fmt.Errorf("TLS certificate: %w", err)
	}
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}, c.reload, nil
}

// certificateFiles is a certificate with its key, in two files. get and reload are
// safe for concurrent use.
type certificateFiles struct {
	certificate, key string // paths
	logger           *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate // the last one that was read without error
	files  [2]os.FileInfo   // when they were last read; nil: to be read again
	failed string           // the last logged error
}

// load reads the certificate, unless the files have not changed.
func (c *certificateFiles) load() error {
	var files [2]os.FileInfo
	var err error
	isSame := true
	for i, path := range []string{c.certificate, c.key} {
		if files[i], err = os.Stat(path); err != nil {
			return err
		}
		old := c.files[i]
		isSame = isSame && old != nil && os.SameFile(files[i], old) && files[i].Size() == old.Size() && files[i].ModTime().Equal(old.ModTime())
	}
	if isSame {
		return nil
	}
	c.files = files // also for a damaged certificate, to report it once
	certificate, err := tls.LoadX509KeyPair(c.certificate, c.key)
	if err == nil {
		c.loaded = &certificate
	}
	return err
}

// get returns the certificate for a handshake: the last one that was read without
// error.
func (c *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.loaded
	err := c.load()
	switch {
	case err != nil && err.Error() != c.failed: // logged once, not for every client
		c.failed = err.Error()
		c.logger.Error("the changed TLS certificate cannot be used; the previous one stays in use", "error", err)
	case c.loaded != before:
		c.failed = ""
		c.logger.Info("the TLS certificate has changed", "file", c.certificate)
	}
	return c.loaded, nil
}

// reload reads the certificate again, even if its files have not changed.
func (c *certificateFiles) reload() {
	c.mu.Lock()
	c.files, c.failed = [2]os.FileInfo{}, ""
	c.mu.Unlock()
	_, _ = c.get(nil) // logs an error
}

// onHangup calls f for each SIGHUP until stop is called. Until then SIGHUP does not
// end the process.
func onHangup(f func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for range signals {
			f()
		}
	}()
	return func() {
		signal.Stop(signals) // sends nothing any more
		close(signals)
	}
}

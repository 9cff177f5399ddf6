package ociregistry

import (
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/registryusers/registryusers/internal/oci"
)

// body is a request's body. It refuses the request if the body cannot be read to its end.
type body struct {
	io.ReadCloser
	exchange *exchange
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	b.exchange.Writer.Header().Set("Connection", "close")
	refused := &oci.Error{Status: http.StatusBadRequest, Code: oci.CodeSizeInvalid, Message: "the content was cut off before its end"}
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		refused = errManifestTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		refused = &oci.Error{Status: http.StatusRequestTimeout, Code: oci.CodeSizeInvalid, Message: "the client sent the content too slowly, or paused for too long"}
	}
	return n, b.exchange.refuse(refused)
}

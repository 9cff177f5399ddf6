package server

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/registryusers/registryusers"
)

// addOwn adds to an error response what a [*registryusers.Error] says beside its body.
func (r *response) addOwn(err error) {
	own, ok := errors.AsType[*registryusers.Error](err)
	if !ok || r.held == nil {
		return
	}
	r.held.public = own.Message != "" && r.status != http.StatusInternalServerError
	if own.RetryAfter > 0 {
		seconds := math.Ceil(min(own.RetryAfter.Seconds(), math.MaxInt32))
		r.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
}

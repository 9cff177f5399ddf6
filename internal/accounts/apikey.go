package accounts

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/registryusers/registryusers"
)

// APIKey is an API key. Its token is "<id>$<secret>".
type APIKey struct {
	ID        int64
	ProjectID int64 // the only project that the key is valid for; 0: all
	Hash      [sha256.Size]byte
	CreatedAt time.Time
}

// ValidFor reports whether the key is valid for the project.
func (k APIKey) ValidFor(projectID int64) bool { return k.ProjectID == 0 || k.ProjectID == projectID }

// Administrator is the caller of the commands on the server's machine. It is valid
// for all projects.
var Administrator = APIKey{}

// authorize returns ErrForbidden unless the key is valid for the project. Each
// operation in a project calls it after it has checked its arguments and before it
// reads the store, so that the error does not depend on what exists.
func (k APIKey) authorize(projectID int64) error {
	if !k.ValidFor(projectID) {
		return registryusers.ErrForbidden
	}
	return nil
}

// owner names the key in a [queue].
func (k APIKey) owner() string { return strconv.FormatInt(k.ID, 10) }

// CreateAPIKey creates an API key for one project, or for all (0), and returns it
// with its token, which is shown only once. ErrInvalid.
func (s *Service) CreateAPIKey(ctx context.Context, projectID int64) (APIKey, registryusers.Secret, error) {
	if projectID < 0 {
		return APIKey{}, registryusers.Secret{}, fmt.Errorf("%w: the project must be 1 or more", registryusers.ErrInvalid)
	}
	secret := generateSecret()
	k, err := s.store.CreateAPIKey(ctx, APIKey{ProjectID: projectID, Hash: sha256.Sum256([]byte(secret)), CreatedAt: s.clock()})
	if err != nil {
		return APIKey{}, registryusers.Secret{}, err
	}
	return k, registryusers.NewSecret(strconv.FormatInt(k.ID, 10) + "$" + secret), nil
}

// APIKeys returns all API keys, by id.
func (s *Service) APIKeys(ctx context.Context) ([]APIKey, error) {
	return readPages(func(p Page) ([]APIKey, int64, error) { return s.store.APIKeys(ctx, p) },
		func(k APIKey) int64 { return k.ID })
}

// DeleteAPIKey deletes an API key, which stops working at once. ErrAPIKeyNotFound.
func (s *Service) DeleteAPIKey(ctx context.Context, id int64) error {
	return s.store.DeleteAPIKey(ctx, id)
}

// Authenticate returns the API key of a token. ErrUnauthenticated: the token is
// malformed, its key was deleted, or its secret is wrong; the error does not say
// which.
func (s *Service) Authenticate(ctx context.Context, token registryusers.Secret) (APIKey, error) {
	id, secret, _ := strings.Cut(token.Reveal(), "$")
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id {
		return APIKey{}, registryusers.ErrUnauthenticated
	}
	hash := sha256.Sum256([]byte(secret)) // a secret of 190 bits needs no slow hash
	k, err := s.store.APIKey(ctx, n)
	if err != nil && !isNotFound(err) {
		return APIKey{}, err
	}
	if subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1 || err != nil {
		return APIKey{}, registryusers.ErrUnauthenticated
	}
	return k, nil
}

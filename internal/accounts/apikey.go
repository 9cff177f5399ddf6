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

// Key is an API key. Its token is "<id>$<secret>".
type Key struct {
	ID        int64
	ProjectID int64 // the only project that the key is valid for; 0: all
	Hash      [sha256.Size]byte
	CreatedAt time.Time
}

// May reports whether the key is valid for the project.
func (k Key) May(projectID int64) bool { return k.ProjectID == 0 || k.ProjectID == projectID }

// owner names the key in a [queue].
func (k Key) owner() string { return strconv.FormatInt(k.ID, 10) }

// CreateKey creates an API key for one project, or for all (0), and returns it
// with its token, which is shown only once. ErrInvalid.
func (s *Service) CreateKey(ctx context.Context, projectID int64) (Key, registryusers.Secret, error) {
	if projectID < 0 {
		return Key{}, registryusers.Secret{}, fmt.Errorf("%w: the project must be 1 or more", registryusers.ErrInvalid)
	}
	secret := generateSecret()
	k, err := s.store.CreateKey(ctx, Key{ProjectID: projectID, Hash: sha256.Sum256([]byte(secret)), CreatedAt: s.clock()})
	if err != nil {
		return Key{}, registryusers.Secret{}, err
	}
	return k, registryusers.NewSecret(strconv.FormatInt(k.ID, 10) + "$" + secret), nil
}

// Keys returns all API keys, by id.
func (s *Service) Keys(ctx context.Context) ([]Key, error) { return s.store.Keys(ctx) }

// DeleteKey deletes an API key, which stops working at once. ErrKeyNotFound.
func (s *Service) DeleteKey(ctx context.Context, id int64) error { return s.store.DeleteKey(ctx, id) }

// Authenticate returns the API key of a token. ErrUnauthenticated: the token is
// malformed, its key was deleted, or its secret is wrong; the error does not say
// which.
func (s *Service) Authenticate(ctx context.Context, token registryusers.Secret) (Key, error) {
	id, secret, _ := strings.Cut(token.Reveal(), "$")
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id {
		return Key{}, registryusers.ErrUnauthenticated
	}
	hash := sha256.Sum256([]byte(secret)) // a secret of 190 bits needs no slow hash
	k, err := s.store.Key(ctx, n)
	if err != nil && !isNotFound(err) {
		return Key{}, err
	}
	if subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1 || err != nil {
		return Key{}, registryusers.ErrUnauthenticated
	}
	return k, nil
}

package ociregistry

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/registryusers/registryusers/internal/oci"
)

// repository is the library's repository with three differences: blobs are served
// from their files, pushed content replaces existing content, and the account is
// read again before a commit.
type repository struct {
	distribution.Repository
	access *accessController
}

func (r *repository) name() string { return r.Named().Name() }

// Blobs implements [distribution.Repository].
func (r *repository) Blobs(ctx context.Context) distribution.BlobStore {
	return &blobs{r.Repository.Blobs(ctx), r}
}

// Manifests implements [distribution.Repository].
func (r *repository) Manifests(ctx context.Context, options ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	inner, err := r.Repository.Manifests(ctx, append(options, storage.SkipLayerVerification())...) // see manifests.Put
	return &manifests{inner, r}, err
}

// Tags implements [distribution.Repository].
func (r *repository) Tags(ctx context.Context) distribution.TagService {
	return &tags{r.Repository.Tags(ctx)}
}

type blobs struct {
	distribution.BlobStore
	repository *repository
}

// blobMaxAge is how long clients may cache a blob; the library's value.
const blobMaxAge = 365 * 24 * time.Hour

// ServeBlob implements [distribution.BlobServer]. It serves the file itself, with
// sendfile where the platform has it: the library would use a buffer of 4 MiB for
// each open blob.
func (b *blobs) ServeBlob(ctx context.Context, _ http.ResponseWriter, r *http.Request, d digest.Digest) error {
	desc, err := b.Stat(ctx, d) // fails if the repository does not have the blob
	if err != nil {
		return err
	}
	file, err := b.repository.access.files.open(desc.Digest)
	if errors.Is(err, fs.ErrNotExist) { // removed since
		return errcode.ErrorCodeBlobUnknown.WithDetail(d)
	} else if err != nil {
		return err
	}
	defer file.Close()
	if r.Method == http.MethodHead {
		b.repository.access.files.touch(b.repository.name(), desc.Digest)
	}
	w := &exchangeOf(ctx).Writer // the library's has no sendfile
	header := w.Header()
	header.Set("ETag", fmt.Sprintf("%q", desc.Digest))
	header.Set("Cache-Control", fmt.Sprintf("max-age=%.f", blobMaxAge.Seconds()))
	header.Set("Docker-Content-Digest", desc.Digest.String())
	header.Set("Content-Type", octetStream)
	http.ServeContent(w, r, "", time.Time{}, file)
	return nil
}

// Create implements [distribution.BlobIngester].
func (b *blobs) Create(ctx context.Context, options ...distribution.BlobCreateOption) (distribution.BlobWriter, error) {
	w, err := b.BlobStore.Create(ctx, options...)
	if err != nil { // also that the blob was mounted
		return nil, err
	}
	return &upload{BlobWriter: w, repository: b.repository}, nil
}

// Resume implements [distribution.BlobIngester].
func (b *blobs) Resume(ctx context.Context, id string) (distribution.BlobWriter, error) {
	w, err := b.BlobStore.Resume(ctx, id)
	if err != nil {
		return nil, err
	}
	if r := exchangeOf(ctx).Request; r.Method == http.MethodDelete {
		w = &cancelledUpload{w, stateOffset(r.URL.Query().Get("_state"))}
	}
	return &upload{BlobWriter: w, repository: b.repository}, nil
}

// cancelledUpload is an upload that its client cancels, with any Location that it
// got for the upload. It returns the size in that Location: the library refuses a
// Location with another size than the upload has.
type cancelledUpload struct {
	distribution.BlobWriter
	size int64
}

// Size implements [distribution.BlobWriter].
func (u *cancelledUpload) Size() int64 { return u.size }

// stateOffset returns the size that an upload had when the library sent a Location
// with the state: an HMAC-SHA-256, which the library has verified, and JSON. It
// returns -1 for any other text.
func stateOffset(state string) int64 {
	content, err := base64.URLEncoding.DecodeString(state)
	if err != nil || len(content) < sha256.Size {
		return -1
	}
	var fields struct{ Offset int64 }
	if json.Unmarshal(content[sha256.Size:], &fields) != nil {
		return -1
	}
	return fields.Offset
}

type upload struct {
	distribution.BlobWriter
	repository *repository
	cancelled  bool
}

// Commit implements [distribution.BlobWriter]. It fails if the account may not push
// any more. The upload replaces existing content, which may be damaged; the library
// would keep it.
func (u *upload) Commit(ctx context.Context, desc v1.Descriptor) (v1.Descriptor, error) {
	if err := u.repository.access.recheck(ctx, u.repository.name()); err != nil {
		return v1.Descriptor{}, err
	}
	return u.BlobWriter.Commit(withReplacement(ctx, desc.Digest), desc)
}

// Cancel implements [distribution.BlobWriter]. It leaves no empty directories.
func (u *upload) Cancel(ctx context.Context) error {
	err := u.BlobWriter.Cancel(ctx)
	u.cancelled = true
	images := u.repository.access.files.images
	images.prune(images.below(path.Join(repositoriesRoot, u.repository.name(), "_uploads")))
	return err
}

// Close implements [distribution.BlobWriter]. The library closes uploads after
// they are cancelled, too, and would write a file for them again.
func (u *upload) Close() error {
	if u.cancelled {
		return nil
	}
	return u.BlobWriter.Close()
}

type manifests struct {
	distribution.ManifestService
	repository *repository
}

// Get implements [distribution.ManifestService]. The bytes of the manifest count for
// the limits until the request ends, if the repository has it.
func (m *manifests) Get(ctx context.Context, d digest.Digest, options ...distribution.ManifestServiceOption) (distribution.Manifest, error) {
	info, err := m.repository.access.files.Stat(ctx, dataPath(d))
	if err == nil && info.Size() > smallManifestSize {
		if exists, err := m.Exists(ctx, d); err == nil && exists {
			e := exchangeOf(ctx)
			if refused := m.repository.access.limits.acquire(e, use{manifestBytes: info.Size()}); refused != nil {
				return nil, e.refuse(refused)
			}
		}
	}
	return m.ManifestService.Get(ctx, d, options...)
}

// Put implements [distribution.ManifestService]. It fails if the account may not
// push any more, and replaces existing content. It checks the references itself: the
// library sends the texts of its failures, and supports fewer foreign layers.
func (m *manifests) Put(ctx context.Context, manifest distribution.Manifest, options ...distribution.ManifestServiceOption) (digest.Digest, error) {
	if err := m.repository.access.recheck(ctx, m.repository.name()); err != nil {
		return "", err
	}
	_, payload, err := manifest.Payload()
	if err != nil {
		return "", err
	}
	if refused := checkManifest(manifest, payload); refused != nil {
		return "", exchangeOf(ctx).refuse(refused)
	}
	ctx = withReplacement(ctx, digest.FromBytes(payload))
	if err := m.checkReferences(ctx, manifest); err != nil {
		return "", err
	}
	return m.ManifestService.Put(ctx, manifest, options...)
}

// Delete implements [distribution.ManifestService]. It removes the tags of the
// manifest first. The library removes them afterwards, responds with 202 even if
// that fails, and does not find the manifest when the client retries.
func (m *manifests) Delete(ctx context.Context, d digest.Digest) error {
	exists, err := m.Exists(ctx, d)
	if err != nil {
		return err
	}
	if !exists {
		return distribution.ErrBlobUnknown
	}
	tags := m.repository.Tags(ctx)
	names, err := tags.Lookup(ctx, v1.Descriptor{Digest: d})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := tags.Untag(ctx, name); err != nil && !errors.As(err, new(distribution.ErrTagUnknown)) {
			return err
		}
	}
	return m.ManifestService.Delete(ctx, d)
}

type tags struct{ distribution.TagService }

// Untag implements [distribution.TagService]. Its errors contain no file path: the
// library would send the paths of tags that do not exist or cannot be removed.
func (t *tags) Untag(ctx context.Context, tag string) error {
	err := t.TagService.Untag(ctx, tag)
	if err == nil {
		return nil
	}
	if _, isMissing := err.(driver.PathNotFoundError); isMissing { //nolint:errorlint // as the library returns it
		return distribution.ErrTagUnknown{Tag: tag}
	}
	return exchangeOf(ctx).refuse(&oci.Error{Status: http.StatusInternalServerError, Code: oci.CodeUnknown, Message: "the tag could not be removed", Cause: withoutPath(err)})
}
